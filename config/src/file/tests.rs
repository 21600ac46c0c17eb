//! What a file means, what is refused and where, and that no text makes the reader panic.

mod aws;
mod broken;
mod keys;
mod random;
mod rules;
mod valid;
mod values;

use std::path::Path;

use super::{FileErrors, Loaded, Problem};

/// Where the tests' files pretend to lie.
const FILE: &str = "/etc/portolan/portolan.toml";

fn parse(text: &str) -> Result<Loaded, FileErrors> {
    super::parse(text, Path::new(FILE))
}

fn load(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"))
}

fn errors(text: &str) -> Vec<Problem> {
    match parse(text) {
        Ok(_) => panic!("no error in\n{text}"),
        Err(errors) => errors.problems().to_vec(),
    }
}

/// Marks the place of an expected error or warning in a text.
const MARK: char = '¶';

/// The text without its marks, and their lines and columns.
fn unmark(marked: &str) -> (String, Vec<(usize, usize)>) {
    let mut text = String::new();
    let mut places = Vec::new();
    let (mut line, mut column) = (1, 1);
    for c in marked.chars() {
        match c {
            MARK => places.push((line, column)),
            '\n' => {
                text.push(c);
                (line, column) = (line + 1, 1);
            }
            '\u{feff}' => text.push(c),
            other => {
                text.push(other);
                column += 1;
            }
        }
    }
    (text, places)
}

/// An accelerator `a` on 192.0.2.1 with one listener, TCP 80, and these lines in it.
fn listener(lines: &str) -> String {
    format!(
        "[[accelerator]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n\
         [[accelerator.listener]]\nprotocol = \"TCP\"\nports = [80]\n{lines}\n"
    )
}

/// The same with one group in it, `r1`, and these lines in that.
fn group(lines: &str) -> String {
    listener(&format!(
        "[[accelerator.listener.endpoint_group]]\nregion = \"r1\"\n{lines}"
    ))
}

/// The same with this health check.
fn check(inner: &str) -> String {
    group(&format!(
        "health_check = {{ {inner} }}\nendpoints = [{{ address = \"web.internal:81\" }}]"
    ))
}

/// The same with these endpoints.
fn endpoints(inner: &str) -> String {
    group(&format!("endpoints = [{inner}]"))
}

/// The same with one endpoint at this address.
fn address(inner: &str) -> String {
    endpoints(&format!("{{ address = {inner} }}"))
}
