//! The README's table of reliability and SECURITY.md's of guards name tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with('.') || name == "target"
        });
        if path.is_dir() && !hidden {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Checks the table between `<!-- NAME -->` and `<!-- /NAME -->` of `file`; how many tests it names.
fn check_table(file: &str, name: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(file)).unwrap();
    let (_, rest) = text.split_once(&format!("<!-- {name} -->")).unwrap();
    let (table, _) = rest.split_once(&format!("<!-- /{name} -->")).unwrap();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let all: Vec<_> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut checked = 0;
    for row in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 3, "{row}");
        let shown: Vec<_> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!shown.is_empty(), "no test in: {row}");
        for name in shown {
            let declared = format!("fn {name}(");
            let found = all.iter().filter(|text| text.contains(&declared)).count();
            assert!(found > 0, "no test is called {name}");
            checked += 1;
        }
    }
    checked
}

#[test]
fn every_test_the_tables_name_exists() {
    let reliability = check_table("README.md", "reliability");
    assert!(reliability >= 40, "{reliability}");
    let guards = check_table("SECURITY.md", "guards");
    assert!(guards >= 25, "{guards}");
}
