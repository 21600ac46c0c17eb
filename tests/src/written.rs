//! A part of a file that code writes: between two marks, the same as the code says, or made so with `UPDATE_README=1`. Tests of other crates
//! have it by its path, since nothing may depend on this one.

use std::fs;
use std::path::Path;

/// Demands that README's part between the marks `<!-- NAME:begin -->` and `<!-- NAME:end -->` is this text, or writes it.
///
/// # Panics
/// When it is not, or when there is no such part.
pub(crate) fn is_in_readme(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).expect("README.md lies beside the crates");
    let (begin, end) = (
        format!("<!-- {name}:begin -->"),
        format!("<!-- {name}:end -->"),
    );
    let (before, rest) = readme.split_once(&begin).expect("where it begins");
    let (given, after) = rest.split_once(&end).expect("where it ends");
    let expected = format!("\n{}\n", text.trim_end());
    if std::env::var_os("UPDATE_README").is_some() {
        let written = format!("{before}{begin}{expected}{end}{after}");
        return fs::write(&path, written).expect("README.md can be written");
    }
    assert!(
        given == expected,
        "README's {name} are not the code's: run it with UPDATE_README=1"
    );
}
