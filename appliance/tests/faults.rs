//! Every fault that can be told stands on the page that says what to do, and no other.
//!
//! Faults are made where they are noticed, in every part of the program, so there is no list of them to go through.
//! This looks for the places in the sources where a code is written.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Services end with a name that is only known when they run.
const OF_SERVICES: &str = "service-…";
/// What stands before a code.
const BEFORE: [&str; 4] = ["code:", "code =", "fault(", "critical("];

#[test]
fn every_fault_stands_on_the_page() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&home.join("src"), &mut files).unwrap();
    let mut told = BTreeSet::from([OF_SERVICES.to_owned()]);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        if text.contains("Fault") {
            told.extend(codes(&text));
        }
    }
    assert!(told.len() > 40, "few codes were found: {told:?}");
    let page = fs::read_to_string(home.join("../docs/troubleshooting.md")).unwrap();
    let described: BTreeSet<String> = page.lines().filter_map(row).collect();
    let missing: Vec<_> = told.difference(&described).collect();
    let unknown: Vec<_> = described.difference(&told).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/troubleshooting.md lacks {missing:?}, and describes {unknown:?}, which nothing tells"
    );
}

#[test]
fn codes_are_found_in_all_their_forms() {
    let text = r#"
        Story { code: "one", title: "no-code".to_owned() }
        fault(
            "two",
            Severity::Warning,
            "other-text",
        )
        critical("three-words", format!("{x}"))
        Phase::Failed => ("four", Severity::Critical, x),
        fn code(&self) -> &'static str {
            match self {
                Way::Five(..) => "five-six",
            }
        }
        fn other() { match self { Way::Five => "nothing" } }
        #[cfg(test)]
        mod tests { code: "seven" }
    "#;
    let found: Vec<String> = codes(text).into_iter().collect();
    assert_eq!(found, ["five-six", "four", "one", "three-words", "two"]);
}

/// The code in a line of the table.
fn row(line: &str) -> Option<String> {
    let (code, _) = line.strip_prefix("| `")?.split_once("` |")?;
    Some(code.to_owned())
}

/// The codes of faults in a source text, its tests left out.
fn codes(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let words: Vec<&str> = code.split_whitespace().collect();
    let flat = words.join(" ");
    let mut found = BTreeSet::new();
    for (at, _) in flat.match_indices('"') {
        let (before, after) = (flat[..at].trim_end(), &flat[at + 1..]);
        let Some((literal, rest)) = after.split_once('"') else {
            continue;
        };
        let is_code = BEFORE.iter().any(|word| before.ends_with(word))
            || rest.starts_with(", Severity::")
            || (before.ends_with("=>") && function(before) == "code");
        if is_code && is_kebab(literal) {
            found.insert(literal.to_owned());
        }
    }
    found
}

/// The name of the last function that begins in a text.
fn function(text: &str) -> &str {
    let (_, last) = text.rsplit_once("fn ").unwrap_or_default();
    last.split(['(', '<']).next().unwrap_or_default()
}

fn is_kebab(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
            files.push(path);
        }
    }
    Ok(())
}
