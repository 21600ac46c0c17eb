//! README's reference of keys is the code's. `UPDATE_README=1 cargo test -p portolan-config --test readme` writes it.

use std::fs;
use std::path::Path;

use portolan_config::file::reference_table;

const BEGIN: &str = "<!-- keys:begin -->";
const END: &str = "<!-- keys:end -->";

#[test]
fn the_readme_lists_the_keys_that_the_code_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).expect("README.md lies beside the crates");
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("README.md marks where the keys begin");
    let (given, after) = rest
        .split_once(END)
        .expect("README.md marks where the keys end");
    let expected = format!("\n{}\n", reference_table().trim_end());
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}"))
            .expect("README.md can be written");
        return;
    }
    assert!(
        given == expected,
        "README's keys are not the code's: run it with UPDATE_README=1"
    );
}
