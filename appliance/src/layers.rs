//! The arrows between the parts of the program, held by a test: it reads the `use crate::…` lines (and paths in the
//! code) of every file and compares them with what each part may know.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part may use, beside itself. A part that is not here is unknown, and that is an error too.
const ALLOWED: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("init", &["sys"]),
    ("state", &["sys"]),
    ("reconcile", &["sys"]),
    ("network", &["reconcile", "state", "sys"]),
    ("storage", &["reconcile", "state", "sys"]),
    ("vm", &["reconcile", "state", "sys"]),
    ("service", &["reconcile", "state", "sys"]),
    (
        "health",
        &[
            "network",
            "reconcile",
            "service",
            "state",
            "storage",
            "sys",
            "vm",
        ],
    ),
    // Requests read statuses and hand over consoles and uploads; they plan and apply nothing.
    (
        "http",
        &[
            "health",
            "network",
            "reconcile",
            "service",
            "state",
            "storage",
            "sys",
            "vm",
        ],
    ),
    ("cli", &["sys"]),
    ("screen", &["sys"]),
    (
        "supervisor",
        &[
            "health",
            "http",
            "network",
            "reconcile",
            "screen",
            "service",
            "state",
            "storage",
            "sys",
            "vm",
        ],
    ),
    ("main", &["cli", "init", "network", "supervisor"]),
    ("layers", &[]),
];

fn part(file: &Path, root: &Path) -> String {
    let inside = file.strip_prefix(root).expect("a file of this tree");
    let first = inside.components().next().expect("not the root itself");
    first
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The parts named behind `crate::` in a text, also in `use crate::{a::b, c}`.
fn used(text: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => parts.extend(word(after)),
            Some(group) => {
                let (mut depth, mut start) = (0, true);
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && (c.is_alphanumeric() || c == '_') => {
                            parts.extend(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    parts
}

fn word(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn every_part_knows_only_what_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    files(&root, &mut sources);
    let mut wrong = Vec::new();
    for file in sources {
        let part = part(&file, &root);
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == part) else {
            wrong.push(format!(
                "{}: the part `{part}` is not in the table of layers",
                file.display()
            ));
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source file");
        for other in used(&text) {
            let known = ALLOWED.iter().any(|(name, _)| *name == other);
            if known && other != part && !allowed.contains(&other.as_str()) && part != "layers" {
                wrong.push(format!(
                    "{}: `{part}` may not use `{other}`",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_sees_what_is_used() {
    let found = used(
        "use crate::sys::fs;\nuse crate::{state::{Store, schema}, vm};\nlet x = crate::reconcile::chain(e);",
    );
    assert_eq!(
        found,
        ["reconcile", "state", "sys", "vm"]
            .map(str::to_owned)
            .into()
    );
}
