//! The arrows between the parts of the program, held by a look at their sources.
//!
//! The parts are modules of one crate, so the compiler lets any of them call any other. Here is what each may use; a
//! part that is not in the table may use nothing. An arrow is added with a reason in the commit, or not at all: the
//! domains, above all, never call one another.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A part, and the parts it may use beside itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("init", &["sys"]),
    ("state", &["sys"]),
    ("reconcile", &["state", "sys"]),
    // Looked at, too, where there is neither a state nor a supervisor.
    ("hardware", &["reconcile", "sys"]),
    ("network", &["reconcile", "state", "sys"]),
    ("storage", &["reconcile", "state", "sys"]),
    ("vm", &["reconcile", "state", "sys"]),
    ("service", &["reconcile", "state", "sys"]),
    ("update", &["reconcile", "state", "sys"]),
    // It gathers what the domains publish about themselves.
    (
        "health",
        &[
            "hardware",
            "network",
            "reconcile",
            "service",
            "state",
            "storage",
            "sys",
            "vm",
        ],
    ),
    ("cluster", &["state"]),
    // It reads what the domains publish, and hands over consoles and uploads; it plans and applies nothing.
    (
        "http",
        &[
            "hardware",
            "health",
            "network",
            "reconcile",
            "service",
            "state",
            "storage",
            "sys",
            "update",
            "vm",
        ],
    ),
    // It checks the hardware of a machine on which nothing of Ashlar runs yet.
    ("cli", &["hardware", "sys"]),
    ("screen", &["sys"]),
];
/// The composition root, and the choice of the role, know all parts.
const KNOW_ALL: &[&str] = &["lib", "supervisor"];

#[test]
fn parts_use_only_what_they_may() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files).unwrap();
    assert!(
        files.len() > 5,
        "the sources were not found in {}",
        sources.display()
    );
    let mut wrong = BTreeSet::new();
    for file in files {
        let part = part_of(&sources, &file).unwrap();
        if KNOW_ALL.contains(&part.as_str()) {
            continue;
        }
        let may = MAY_USE
            .iter()
            .find(|(name, _)| *name == part)
            .map_or(&[][..], |(_, may)| may);
        for used in parts_used(&fs::read_to_string(&file).unwrap()) {
            if used != part && !may.contains(&used.as_str()) {
                wrong.insert(format!("{part} uses {used} in {}", file.display()));
            }
        }
    }
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(
        wrong.is_empty(),
        "arrows that are not in the table:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn uses_are_found_in_all_their_forms() {
    let text = "use crate::state::Store;\nuse crate::{sys, network::plan};\nlet x = crate::vm::start();\n// crate::http is not used\n";
    let used: BTreeSet<_> = ["state", "sys", "network", "vm"].map(str::to_owned).into();
    assert_eq!(parts_used(text), used);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The module at the top to which a file belongs; `None` when it lies elsewhere.
fn part_of(sources: &Path, file: &Path) -> Option<String> {
    let inside = file.strip_prefix(sources).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The modules at the top that a source text names after `crate::`, comments left out.
fn parts_used(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n");
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => used.extend(heads_of_group(group)),
            None => used.extend(head(rest)),
        }
    }
    used
}

/// The first names of the members of `{a, b::c, d::{e, f}}`, given what follows the opening brace.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut member = String::new();
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(head(&std::mem::take(&mut member))),
            _ if depth == 0 => member.push(c),
            _ => {}
        }
    }
    heads.extend(head(&member));
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || *c == '_')
        .collect();
    // Names of types and macros at the top of the crate are not parts.
    (!name.is_empty()).then_some(name)
}
