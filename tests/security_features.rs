//! Every test that the tables of security features name exists, and every requirement has one or says that it has none.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::path::Path;

/// Names of the test functions in files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            // `#[test]`, perhaps more attributes, `fn name(`; in proptest's macro too.
            let tests = text.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            names.extend(tests.map(|(name, _)| name.trim().to_owned()));
        }
    }
}

#[test]
fn each_requirement_names_tests_that_exist_or_says_that_there_is_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    for folder in ["src", "tests", "protocols", "appliance-image/init/src"] {
        functions(&root.join(folder), &mut known);
    }
    assert!(known.len() > 500, "{} tests were found", known.len());
    let page = std::fs::read_to_string(root.join("src/manual/security-features.md")).unwrap();
    let (features, organisation) = page.split_once("## What asks the maker's organisation").unwrap();
    assert!(organisation.contains("CRA annex I, part II"));
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| requirement |");
    let rows: Vec<_> = features.lines().filter(is_row).collect();
    assert!(rows.len() >= 55, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        let tests: Vec<_> = cells.last().unwrap().split('`').skip(1).step_by(2).collect();
        if tests.is_empty() != row.contains("**not shown**") {
            wrong.push(format!("neither a test nor \"not shown\", or both: {row}"));
        }
        for test in tests {
            let exists = if test.contains('/') { root.join(test).is_file() } else { known.contains(test) };
            if !exists {
                wrong.push(format!("{test} of {}", cells[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // All of the requirements are there: seven groups of IEC 62443-4-2, thirteen properties of the CRA.
    for requirement in
        (1..=7).map(|group| format!("CR {group}.1")).chain(('a'..='m').map(|letter| format!("2{letter} ")))
    {
        assert!(rows.iter().any(|row| row.starts_with(&format!("| {requirement}"))), "no row for {requirement}");
    }
}
