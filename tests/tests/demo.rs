//! The demo tells the truth and ends well, and its last lines are a file that can be served. Alone in its file: what it measures
//! should not be measured beside other tests.

use std::process::{Command, Output};

use portolan_tests::binary;

/// It measures, and complains of figures that a stalled machine alone can spoil. One run of so many is to be without any.
const TRIES: usize = 3;

fn demo() -> Output {
    let mut demo = Command::new(binary::portolan());
    let output = demo.args(["demo", "--seconds", "8", "--rate", "100"]);
    output.output().expect("portolan can be run")
}

#[test]
fn the_demo_ends_with_figures_and_a_file_to_copy() {
    let mut output = demo();
    for _ in 1..TRIES {
        if output.status.success() {
            break;
        }
        println!("{}", String::from_utf8_lossy(&output.stderr));
        output = demo();
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for figure in [
        "new connections failed",
        "first one served elsewhere",
        "stranded flows let go",
        "declared DOWN",
        "declared UP",
        "datagrams unanswered",
        "UDP flows moved",
    ] {
        assert!(said.contains(figure), "{figure} in {said}");
    }
    assert!(!said.contains('\x1b'), "a pipe is no terminal: {said}");

    let (_, file) = said
        .split_once("portolan.toml")
        .and_then(|(_, rest)| rest.split_once('\n'))
        .expect("it ends with a file");
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let path = directory.path().join("portolan.toml");
    std::fs::write(&path, file).expect("it is writable");
    let check = Command::new(binary::portolan())
        .arg("check")
        .arg("--config")
        .arg(&path)
        .output()
        .expect("portolan can be run");
    assert!(check.status.success(), "{check:?}\n{file}");
}
