//! README's reference of keys is the code's. `UPDATE_README=1 cargo test -p portolan-config --test readme` writes it.

use portolan_config::file::reference_table;

#[path = "../../tests/src/written.rs"]
mod written;

#[test]
fn the_readme_lists_the_keys_that_the_code_reads() {
    written::is_in_readme("keys", &reference_table());
}
