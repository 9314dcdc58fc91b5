//! Every test that the table of faults names exists.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::path::Path;

/// Names of the functions in files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().peekable();
            while let Some(line) = lines.next() {
                let next = lines.peek().and_then(|next| next.trim().strip_prefix("fn "));
                if line.trim() == "#[test]"
                    && let Some((name, _)) = next.and_then(|next| next.split_once('('))
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn each_row_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    functions(&root.join("src"), &mut known);
    functions(&root.join("tests"), &mut known);
    assert!(known.len() > 300, "{} tests were found", known.len());
    let page = std::fs::read_to_string(root.join("src/manual/fmea.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |")).collect();
    assert!(rows.len() >= 25, "{} rows", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        let tests: Vec<_> = cells.last().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            let exists = if test.starts_with("tests/") { root.join(test).is_file() } else { known.contains(test) };
            assert!(exists, "{test} of the row {row}");
        }
    }
}
