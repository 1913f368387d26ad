//! Which files of the packages stay: the globs of `keep`, then what those files need.
//!
//! Pure but for the reading of files: a set of paths goes in and a larger set comes out. Links bring what they point at,
//! ELF files bring the libraries they name (found by file name in the library folders), kernel modules bring the modules
//! they need, until nothing new comes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use globset::{GlobBuilder, GlobMatcher};

/// The parsed `keep` file: globs in order; the last match decides.
pub struct Rules {
    lines: Vec<(bool, String, GlobMatcher)>,
}

impl Rules {
    /// Parses one glob a line, `!` for taking away, `#` for comments.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (false, rest),
                None => (true, line),
            };
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .with_context(|| format!("image/base/keep: `{line}` is not a glob"))?;
            lines.push((keep, pattern.to_owned(), glob.compile_matcher()));
        }
        Ok(Self { lines })
    }

    /// Whether the path stays.
    pub fn keeps(&self, path: &Path) -> bool {
        let last = self
            .lines
            .iter()
            .rev()
            .find(|(_, _, glob)| glob.is_match(path));
        last.is_some_and(|(keep, _, _)| *keep)
    }

    /// The globs that keep nothing at all: a name that changed in the packages, or a slip of the pen.
    pub fn useless<'a>(&'a self, all: &'a BTreeSet<PathBuf>) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter(|(keep, _, glob)| *keep && !all.iter().any(|path| glob.is_match(path)))
            .map(|(_, pattern, _)| pattern.as_str())
    }
}

/// The extracted packages, as the choice needs to see them.
pub trait Packages {
    /// Where a link points, `None` for everything else.
    fn link(&self, path: &Path) -> Result<Option<PathBuf>>;
    /// The kernel modules a kernel module needs, nothing for other files.
    fn modules(&self, path: &Path) -> Vec<PathBuf>;
    /// The libraries an ELF file names, nothing for other files.
    fn libraries(&self, paths: &[PathBuf]) -> Result<BTreeSet<String>>;
}

/// Everything that stays: what the rules keep, what links point at, and the libraries all of it needs.
pub fn closure(
    all: &BTreeSet<PathBuf>,
    rules: &Rules,
    packages: &impl Packages,
) -> Result<BTreeSet<PathBuf>> {
    let by_name: BTreeMap<&str, &PathBuf> = all
        .iter()
        .filter(|path| path.starts_with("usr/lib"))
        .filter_map(|path| Some((path.file_name()?.to_str()?, path)))
        .filter(|(name, _)| name.contains(".so"))
        .collect();
    let mut chosen = BTreeSet::new();
    let mut fresh: Vec<PathBuf> = all
        .iter()
        .filter(|path| rules.keeps(path))
        .cloned()
        .collect();
    while !fresh.is_empty() {
        let mut next = BTreeSet::new();
        for path in &fresh {
            next.extend(packages.modules(path));
            if let Some(target) = packages.link(path)? {
                let target = resolve(path, &target);
                if all.contains(&target) {
                    next.insert(target);
                }
            }
        }
        for library in packages.libraries(&fresh)? {
            match by_name.get(library.as_str()) {
                Some(path) => next.insert((*path).clone()),
                None => bail!(
                    "no package in image/base/packages brings the library {library}, which a kept program needs"
                ),
            };
        }
        chosen.extend(fresh);
        fresh = next
            .into_iter()
            .filter(|path| !chosen.contains(path))
            .collect();
    }
    Ok(chosen)
}

/// The path inside the tree a link leads to, without `..` and without a leading `/`.
fn resolve(link: &Path, target: &Path) -> PathBuf {
    let start = if target.is_absolute() {
        Path::new("")
    } else {
        link.parent().unwrap_or(Path::new(""))
    };
    let mut result = start.to_path_buf();
    for part in target.components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => result.push(name),
            _ => {}
        }
    }
    // Merged /usr: the old places are links to the new ones.
    for old in ["bin", "sbin", "lib", "lib64"] {
        if result.starts_with(old) {
            return Path::new("usr").join(result);
        }
    }
    result
}

/// The needed libraries in the output of `readelf --dynamic --wide`.
pub fn needed(readelf: &str) -> BTreeSet<String> {
    readelf
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| Some(line.rsplit_once('[')?.1.strip_suffix(']')?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture;

    impl Packages for Fixture {
        fn link(&self, path: &Path) -> Result<Option<PathBuf>> {
            Ok(match path.to_str() {
                Some("usr/sbin/lvs") => Some("lvm".into()),
                Some("usr/lib/x/liba.so.1") => Some("liba.so.1.0".into()),
                _ => None,
            })
        }

        fn modules(&self, path: &Path) -> Vec<PathBuf> {
            let needed = |path: &Path| path == Path::new("m/a.ko");
            needed(path).then(|| "m/b.ko".into()).into_iter().collect()
        }

        fn libraries(&self, paths: &[PathBuf]) -> Result<BTreeSet<String>> {
            let needs = |path: &PathBuf| match path.to_str() {
                Some("usr/sbin/lvm") => Some("liba.so.1".to_owned()),
                Some("usr/lib/x/liba.so.1.0") => Some("libb.so.2".to_owned()),
                _ => None,
            };
            Ok(paths.iter().filter_map(needs).collect())
        }
    }

    fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn links_and_libraries_follow() {
        let all = set(&[
            "usr/sbin/lvs",
            "usr/sbin/lvm",
            "usr/lib/x/liba.so.1",
            "usr/lib/x/liba.so.1.0",
            "usr/lib/x/libb.so.2",
            "usr/lib/x/libc.so.3",
        ]);
        let rules = Rules::parse("usr/sbin/lvs").unwrap();
        let mut expected = all.clone();
        expected.remove(Path::new("usr/lib/x/libc.so.3"));
        assert_eq!(closure(&all, &rules, &Fixture).unwrap(), expected);
    }

    #[test]
    fn modules_bring_what_they_need() {
        let all = set(&["m/a.ko", "m/b.ko"]);
        let rules = Rules::parse("m/**\n!m/b.ko").unwrap();
        assert_eq!(closure(&all, &rules, &Fixture).unwrap(), all);
    }

    #[test]
    fn a_missing_library_is_an_error() {
        let all = set(&["usr/sbin/lvm"]);
        let error = closure(&all, &Rules::parse("usr/sbin/*").unwrap(), &Fixture).unwrap_err();
        assert!(error.to_string().contains("liba.so.1"));
    }

    #[test]
    fn the_last_match_decides() {
        let rules = Rules::parse("a/**\n!a/b/**\na/b/c\n").unwrap();
        assert!(rules.keeps(Path::new("a/x/y")));
        assert!(!rules.keeps(Path::new("a/b/d")));
        assert!(rules.keeps(Path::new("a/b/c")));
        assert!(!rules.keeps(Path::new("z")));
    }

    #[test]
    fn useless_globs_are_found() {
        let rules = Rules::parse("a/*\nb/*\n!c/*").unwrap();
        assert_eq!(rules.useless(&set(&["a/x"])).collect::<Vec<_>>(), ["b/*"]);
    }

    #[test]
    fn link_targets_stay_inside() {
        assert_eq!(
            resolve(Path::new("usr/sbin/lvs"), Path::new("/sbin/lvm")),
            Path::new("usr/sbin/lvm")
        );
        assert_eq!(
            resolve(Path::new("usr/a/b"), Path::new("../../usr/c")),
            Path::new("usr/c")
        );
    }

    #[test]
    fn reads_readelf() {
        let text = "File: usr/sbin/nft\n\nDynamic section at offset 0x5d48 contains 28 entries:\n  Tag        Type                         Name/Value\n 0x0000000000000001 (NEEDED)             Shared library: [libnftables.so.1]\n 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n 0x000000000000000c (INIT)               0x2000\n";
        assert_eq!(
            needed(text),
            ["libc.so.6".to_owned(), "libnftables.so.1".to_owned()].into()
        );
    }
}
