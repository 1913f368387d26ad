//! Leaves out of kernel modules what loading them pays for and nothing here uses.
//!
//! Hardware hardly notices; emulated processors do, thirty modules before the API answers.
//!
//! - **Signatures.** The kernel checks the signature of each module that has one and loads those without one as well,
//!   unless it is locked down: a check that refuses nothing. Debian signs with ECDSA on P-384, two multiplications of a
//!   point for each module: a few milliseconds of a processor, 90 ms of an emulated one. The modules lie in the root
//!   image, inside the unified kernel image, whose signature covers them all. A kernel that is locked down, as Debian's is
//!   under Secure Boot, takes signed modules only: an image for it has to keep them, and all else as it was signed.
//!   (`Documentation/admin-guide/module-signing.rst`, `include/linux/module_signature.h`)
//! - **Types for BPF** (`.BTF`), which the kernel checks one by one. They serve BPF programs that call into a module;
//!   there are none. (`btf_module_notify` in `kernel/bpf/btf.c`)
//! - **The table of static calls** (`.static_call_sites`). Each place in it is patched to call its function directly, and
//!   each patch stops all processors three times; 800 places come with KVM. Places that are not in the table call
//!   through the trampoline, which is patched for all of them: one jump more. (`kernel/static_call_inline.c`)

use std::fs;
use std::mem::offset_of;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::elf::{FileHeader64, SectionHeader64};
use object::read::elf::{FileHeader, SectionHeader};

use super::walk;

const MARK: &[u8] = b"~Module signature appended~\n";
/// `struct module_signature`: eight bytes of kinds, then the signature's length, big-endian.
const DESCRIPTOR: usize = 12;
/// These become empty, with their relocations.
const SECTIONS: [&[u8]; 2] = [b".BTF", b".static_call_sites"];
const RELOCATIONS: &[u8] = b".rela";

type Header = FileHeader64<Endianness>;
type Section = SectionHeader64<Endianness>;

/// Does so with all modules of a tree.
pub fn lighten(tree: &Path) -> Result<()> {
    let mut modules = walk(tree)?;
    modules.retain(|path| path.extension().is_some_and(|end| end == "ko"));
    ensure!(!modules.is_empty(), "the tree holds no kernel module");
    for path in modules {
        let path = tree.join(path);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut module = unsigned(&content)
            .with_context(|| format!("{} has a damaged signature", path.display()))?
            .to_vec();
        empty(&mut module)
            .with_context(|| format!("{} is no module as they should be", path.display()))?;
        if module != content {
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

/// Empties [`SECTIONS`]: their sizes become 0, and so do the bytes they had, which then compress to nothing.
fn empty(module: &mut [u8]) -> Result<()> {
    for range in ranges(module)? {
        module
            .get_mut(range)
            .context("a section ends after the file")?
            .fill(0);
    }
    Ok(())
}

/// What of the module has to become 0.
fn ranges(module: &[u8]) -> Result<Vec<Range<usize>>> {
    let header = Header::parse(module).context("it is no ELF file")?;
    let endian = header.endian().context("it is no ELF file")?;
    let sections = header
        .sections(endian, module)
        .context("its sections can not be read")?;
    let table = usize::try_from(header.e_shoff(endian)).context("its sections are too far")?;
    let mut ranges = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let name = sections
            .section_name(endian, section)
            .context("a section has no name")?;
        if !SECTIONS.contains(&name.strip_prefix(RELOCATIONS).unwrap_or(name)) {
            continue;
        }
        if let Some((start, size)) = section.file_range(endian) {
            let start = usize::try_from(start).context("a section is too far")?;
            let size = usize::try_from(size).context("a section is too large")?;
            ranges.push(start..start.saturating_add(size));
        }
        let size = table + index * size_of::<Section>() + offset_of!(Section, sh_size);
        ranges.push(size..size + size_of::<u64>());
    }
    Ok(ranges)
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

    /// An ELF file of these sections, each of eight bytes `x`, and of the table of their names.
    fn elf(names: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut entries = vec![[0; 64]];
        let mut data = Vec::new();
        for name in names.iter().chain([&".shstrtab"]) {
            let mut entry = [0; 64];
            entry[..4].copy_from_slice(&u32::try_from(strings.len()).unwrap().to_le_bytes());
            strings.extend(name.bytes().chain([0]));
            let size = if *name == ".shstrtab" {
                strings.len()
            } else {
                8
            };
            entry[4] = if *name == ".shstrtab" { 3 } else { 1 };
            entry[24..32].copy_from_slice(&(64 + data.len() as u64).to_le_bytes());
            entry[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            entries.push(entry);
            if *name != ".shstrtab" {
                data.extend([b'x'; 8]);
            }
        }
        data.extend(strings);
        let mut header = [0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[40..48].copy_from_slice(&(64 + data.len() as u64).to_le_bytes());
        header[58] = 64;
        header[60] = u8::try_from(entries.len()).unwrap();
        header[62] = header[60] - 1;
        [&header[..], &data, entries.as_flattened()].concat()
    }

    fn sizes(module: &[u8]) -> Vec<(String, u64)> {
        let header = Header::parse(module).unwrap();
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, module).unwrap();
        let sections = sections.iter().skip(1).map(|section| {
            let name = sections.section_name(endian, section).unwrap();
            let name = String::from_utf8_lossy(name).into_owned();
            (name, section.sh_size(endian))
        });
        sections.filter(|(name, _)| name != ".shstrtab").collect()
    }

    #[test]
    fn what_nothing_uses_becomes_empty_and_the_rest_stays() {
        let names = [
            ".text",
            ".BTF",
            ".static_call_sites",
            ".rela.static_call_sites",
            ".rela.text",
        ];
        let mut module = elf(&names);
        empty(&mut module).unwrap();
        let expected = [8, 0, 0, 0, 8];
        let expected = names.map(str::to_owned).into_iter().zip(expected);
        assert_eq!(sizes(&module), expected.collect::<Vec<_>>());
        assert_eq!(&module[64..72], b"xxxxxxxx");
        assert_eq!(&module[72..96], [0; 24]);
        assert_eq!(&module[96..104], b"xxxxxxxx");
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(empty(&mut b"module".to_vec()).is_err());
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
    fn modules_of_a_tree_are_lightened_and_other_files_are_not() {
        let tree = tempfile::tempdir().unwrap();
        let module = elf(&[".text", ".BTF"]);
        let content = signed(&module, b"xy", 2);
        fs::write(tree.path().join("a.ko"), &content).unwrap();
        fs::write(tree.path().join("a.txt"), &content).unwrap();
        lighten(tree.path()).unwrap();
        let light = fs::read(tree.path().join("a.ko")).unwrap();
        assert_eq!(light.len(), module.len());
        assert_eq!(
            sizes(&light),
            [(".text".to_owned(), 8), (".BTF".to_owned(), 0)]
        );
        assert_eq!(fs::read(tree.path().join("a.txt")).unwrap(), content);
    }
}
