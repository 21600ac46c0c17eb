//! README's measured tables are those of the stored results. `UPDATE_README=1 cargo test --workspace --test readme` writes them.

use std::fs;
use std::path::Path;

use portolan_benches::readme;

#[path = "../../tests/src/written.rs"]
mod written;

#[test]
fn the_readme_tells_what_was_measured() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = fs::read_to_string(root.join("results/load.json"));
    let section = readme::section(&results.expect("results of a run"));
    written::is_in_readme("measured", &section.expect("results"));
}
