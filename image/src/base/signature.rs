//! Takes the signatures off kernel modules.
//!
//! The kernel checks the signature of each module that has one and loads those without one as well, unless it is locked
//! down: a check that refuses nothing. Debian signs with ECDSA on P-384, two multiplications of a point for each module:
//! a few milliseconds of a processor, 90 ms of an emulated one, and the way to the API has 30 modules. The modules
//! lie in the root image, inside the unified kernel image, whose signature covers them all.
//!
//! A kernel that is locked down, as Debian's is under Secure Boot, takes signed modules only: an image for it has to keep
//! them. What is appended to a module: `Documentation/admin-guide/module-signing.rst`, `include/linux/module_signature.h`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::walk;

const MARK: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature`: eight bytes of kinds, then the signature's length, big-endian.
const DESCRIPTOR: usize = 12;

/// Unsigns all modules of a tree.
pub fn remove(tree: &Path) -> Result<()> {
    let mut modules = walk(tree)?;
    modules.retain(|path| path.extension().is_some_and(|end| end == "ko"));
    ensure!(!modules.is_empty(), "the tree holds no kernel module");
    for path in modules {
        let path = tree.join(path);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let module = unsigned(&content)
            .with_context(|| format!("{} has a damaged signature", path.display()))?;
        if module.len() < content.len() {
            fs::write(&path, module).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The module itself; nothing when its signature is longer than the file.
fn unsigned(content: &[u8]) -> Option<&[u8]> {
    let Some(rest) = content.strip_suffix(MARK) else {
        return Some(content);
    };
    let (rest, descriptor) = rest.split_at_checked(rest.len().checked_sub(DESCRIPTOR)?)?;
    let length = u32::from_be_bytes(*descriptor.last_chunk()?);
    let length = usize::try_from(length).ok()?;
    rest.get(..rest.len().checked_sub(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(module: &[u8], signature: &[u8], length: u32) -> Vec<u8> {
        [
            module,
            signature,
            &[0, 0, 2, 0, 0, 0, 0, 0],
            &length.to_be_bytes(),
            MARK,
        ]
        .concat()
    }

    #[test]
    fn a_signature_is_taken_off_whole() {
        let content = signed(b"\x7fELF module", b"0123456789", 10);
        assert_eq!(unsigned(&content), Some(&b"\x7fELF module"[..]));
        assert_eq!(unsigned(b"\x7fELF module"), Some(&b"\x7fELF module"[..]));
    }

    #[test]
    fn a_signature_longer_than_the_file_is_damaged() {
        assert_eq!(unsigned(&signed(b"abc", b"", 4)), None);
        assert_eq!(unsigned(MARK), None);
    }

    #[test]
    fn modules_of_a_tree_are_unsigned_and_other_files_are_not() {
        let tree = tempfile::tempdir().unwrap();
        let content = signed(b"module", b"xy", 2);
        fs::write(tree.path().join("a.ko"), &content).unwrap();
        fs::write(tree.path().join("a.txt"), &content).unwrap();
        remove(tree.path()).unwrap();
        assert_eq!(fs::read(tree.path().join("a.ko")).unwrap(), b"module");
        assert_eq!(fs::read(tree.path().join("a.txt")).unwrap(), content);
    }
}
