//! What README shows can be done as it stands.

use std::process::Command;

use portolan_tests::binary;

fn readme() -> String {
    std::fs::read_to_string(binary::root().join("README.md")).expect("README.md is there")
}

#[test]
fn its_file_is_valid() {
    let readme = readme();
    let (_, rest) = readme.split_once("<<'TOML'\n").expect("it writes a file");
    let (file, _) = rest.split_once("\nTOML\n").expect("the file ends");
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let path = directory.path().join("portolan.toml");
    std::fs::write(&path, file).expect("it is writable");
    let check = Command::new(binary::portolan())
        .arg("check")
        .arg("--config")
        .arg(&path)
        .output()
        .expect("portolan can be run");
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn every_command_that_it_names_is_there() {
    let readme = readme();
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `portolan "));
    let mut named = 0;
    for row in rows {
        let command = row
            .split([' ', '`'])
            .next()
            .expect("a row names its command");
        let help = Command::new(binary::portolan())
            .args([command, "--help"])
            .output()
            .expect("portolan can be run");
        assert!(help.status.success(), "portolan {command}: {help:?}");
        named += 1;
    }
    assert!(named >= 6, "{named} commands in README's table");
}
