//! From the archive of packages to the root tree, and stage 0's share of it.
//!
//! The chosen files are moved out of the extracted packages; then comes what the packages' own scripts would have made.
//! Owners do not matter: the squashfs gives every file to root, and nothing in it has the set-user-id bit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Base;
use super::choose::{Packages, Rules, closure, needed};
use super::modules;
use crate::progress::Step;
use crate::tool::Tool;

/// Folders that must exist in a root that cannot be written to.
const MOUNT_POINTS: [&str; 9] = [
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "mnt",
    "root",
    "var/tmp",
    "var/lib/ashlar",
];
/// The old places of merged /usr.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// What stage 0 needs to reach the root image.
const STAGE0_MODULES: [&str; 2] = ["loop", "squashfs"];
/// Applets of busybox that get no link: others do this work here, or nobody should.
const UNWANTED_APPLETS: [&str; 14] = [
    "init", "linuxrc", "halt", "poweroff", "reboot", "mdev", "uevent", "dpkg", "dpkg-deb", "rpm",
    "telnetd", "ftpput", "httpd", "su",
];

/// Fills `base` (all but the squashfs) from the archive; `work` is a folder for what lies between.
pub fn build(
    archive: &Path,
    rules: &Rules,
    overlay: &Path,
    work: &Path,
    base: &Base,
) -> Result<()> {
    let step = Step::start("Root tree of the base");
    let packages = work.join("packages");
    let tree = base.tree();
    for folder in [&packages, &tree] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Tool::new("tar")
        .args(["--extract", "--no-same-owner", "--exclude=./dev/*"])
        .arg(format!("--file={}", archive.display()))
        .directory(&packages)
        .show(&step)?;

    link("usr/lib", &packages.join("lib"))?;
    index_modules(&packages, &step)?;

    let mut all = walk(&packages)?;
    all.retain(|path| packages.join(path).is_symlink() || !packages.join(path).is_dir());
    let useless: Vec<_> = rules.useless(&all).collect();
    if !useless.is_empty() {
        bail!(
            "these lines of image/base/keep keep nothing; correct or delete them:\n{}",
            useless.join("\n")
        );
    }
    step.say("choosing files");
    let extracted = Extracted {
        modules: module_needs(&packages)?,
        root: packages.clone(),
    };
    let kept = closure(&all, rules, &extracted)?;
    take_boot_files(&packages, base)?;
    certificates(&packages, &tree)?;
    for path in &kept {
        place(&packages.join(path), &tree.join(path))?;
    }
    for folder in MOUNT_POINTS {
        fs::create_dir_all(tree.join(folder)).with_context(|| format!("cannot create {folder}"))?;
    }
    for name in MERGED {
        fs::create_dir_all(tree.join("usr").join(name))
            .with_context(|| format!("cannot create usr/{name}"))?;
        link(&format!("usr/{name}"), &tree.join(name))?;
    }
    for entry in walk(overlay)? {
        copy_entry(&overlay.join(&entry), &tree.join(&entry))?;
    }
    // The program and the facts about this release are appended to the squashfs later, as one folder at its top.
    link("../../program/ashlar", &tree.join("usr/bin/ashlar"))?;
    link("../../program/os-release", &tree.join("usr/lib/os-release"))?;
    link("../../../program/keys", &tree.join("usr/share/ashlar/keys"))?;
    applets(&tree)?;
    step.say("unpacking modules");
    unpack_modules(&tree, &step)?;
    modules::lighten(&tree)?;
    step.say("indexing libraries and modules");
    Tool::new("ldconfig").arg("-r").arg(&tree).show(&step)?;
    index_modules(&tree, &step)?;
    stage0(&tree, base)?;
    step.done(&format!("{} of {} files kept", kept.len(), all.len()));
    Ok(())
}

/// Every entry below a folder, folders included, as sorted paths relative to it. Links are not followed.
pub fn walk(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let full = root.join(&folder);
        for entry in
            fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))?
        {
            let entry = entry.with_context(|| format!("cannot list {}", full.display()))?;
            let path = folder.join(entry.file_name());
            if entry
                .file_type()
                .with_context(|| format!("cannot look at {}", path.display()))?
                .is_dir()
            {
                waiting.push(path.clone());
            }
            found.insert(path);
        }
    }
    Ok(found)
}

struct Extracted {
    root: PathBuf,
    modules: BTreeMap<PathBuf, Vec<PathBuf>>,
}

impl Packages for Extracted {
    fn link(&self, path: &Path) -> Result<Option<PathBuf>> {
        let full = self.root.join(path);
        if !full.is_symlink() {
            return Ok(None);
        }
        Ok(Some(fs::read_link(&full).with_context(|| {
            format!("cannot read the link {}", full.display())
        })?))
    }

    fn modules(&self, path: &Path) -> Vec<PathBuf> {
        self.modules.get(path).cloned().unwrap_or_default()
    }

    fn libraries(&self, paths: &[PathBuf]) -> Result<BTreeSet<String>> {
        let mut programs = Vec::new();
        for path in paths {
            let full = self.root.join(path);
            // Kernel modules link nothing.
            if full.is_file()
                && !full.is_symlink()
                && !path.starts_with("usr/lib/modules")
                && is_elf(&full)?
            {
                programs.push(path);
            }
        }
        if programs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let output = Tool::new("readelf")
            .args(["--dynamic", "--wide"])
            .args(programs)
            .directory(&self.root)
            .output()?;
        Ok(needed(&output))
    }
}

fn is_elf(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(4)
        .read_to_end(&mut start)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(start == b"\x7fELF")
}

/// Kernel and EFI programs lie outside the root image.
fn take_boot_files(packages: &Path, base: &Base) -> Result<()> {
    let boot = packages.join("boot");
    let kernels: Vec<_> = walk(&boot)?
        .into_iter()
        .filter(|path| path.to_string_lossy().starts_with("vmlinuz-"))
        .collect();
    let [kernel] = kernels.as_slice() else {
        bail!(
            "expected one kernel in the packages, found {}",
            kernels.len()
        )
    };
    place(&boot.join(kernel), &base.kernel())?;
    let efi = packages.join("usr/lib/systemd/boot/efi");
    place(&efi.join("linuxx64.efi.stub"), &base.stub())?;
    place(&efi.join("systemd-bootx64.efi"), &base.boot_loader())
}

/// One bundle of all the trust anchors, as `update-ca-certificates` makes it.
fn certificates(packages: &Path, tree: &Path) -> Result<()> {
    let store = packages.join("usr/share/ca-certificates");
    let mut bundle = String::new();
    for path in walk(&store)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "crt"))
    {
        let path = store.join(path);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        bundle.push_str(text.trim_end());
        bundle.push('\n');
    }
    let target = tree.join("etc/ssl/certs/ca-certificates.crt");
    make_parent(&target)?;
    fs::write(&target, bundle).with_context(|| format!("cannot write {}", target.display()))
}

/// Links for the applets of busybox where no real program stands.
fn applets(tree: &Path) -> Result<()> {
    let busybox = tree.join("usr/bin/busybox");
    let list = Tool::new(&busybox.to_string_lossy())
        .arg("--list")
        .output()?;
    for name in list.lines().filter(|name| !UNWANTED_APPLETS.contains(name)) {
        if !tree.join("usr/sbin").join(name).exists() && !tree.join("usr/bin").join(name).exists() {
            link("busybox", &tree.join("usr/bin").join(name))?;
        }
    }
    Ok(())
}

/// Unpacks the modules: the root image packs them again, and unpacks them far quicker than each does itself.
fn unpack_modules(tree: &Path, step: &Step) -> Result<()> {
    let mut packed = walk(tree)?;
    packed.retain(|path| path.to_string_lossy().ends_with(".ko.xz"));
    if packed.is_empty() {
        return Ok(());
    }
    Tool::new("xz")
        .arg("--decompress")
        .args(packed)
        .directory(tree)
        .show(step)
}

/// Makes depmod's index of a tree with merged /usr.
fn index_modules(tree: &Path, step: &Step) -> Result<()> {
    Tool::new("depmod")
        .arg("-b")
        .arg(tree)
        .arg(kernel_version(tree)?)
        .show(step)
}

/// What each kernel module needs, by paths inside the tree, from an index made before.
fn module_needs(tree: &Path) -> Result<BTreeMap<PathBuf, Vec<PathBuf>>> {
    let folder = Path::new("usr/lib/modules").join(kernel_version(tree)?);
    let path = tree.join(&folder).join("modules.dep");
    let index =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = |line: &str| {
        let (module, needs) = line.split_once(':')?;
        let needs = needs
            .split_whitespace()
            .map(|need| folder.join(need))
            .collect();
        Some((folder.join(module), needs))
    };
    Ok(index.lines().filter_map(line).collect())
}

fn kernel_version(tree: &Path) -> Result<String> {
    let modules = tree.join("usr/lib/modules");
    let mut entries =
        fs::read_dir(&modules).with_context(|| format!("cannot list {}", modules.display()))?;
    let entry = entries
        .next()
        .context("the packages hold no kernel modules")?
        .context("cannot list the kernel modules")?;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// The modules in the order they must be loaded.
fn stage0(tree: &Path, base: &Base) -> Result<()> {
    let modules = tree.join("usr/lib/modules").join(kernel_version(tree)?);
    let index =
        fs::read_to_string(modules.join("modules.dep")).context("cannot read modules.dep")?;
    let mut order = String::new();
    let folder = base.stage0().join("modules");
    for path in load_order(&index, &STAGE0_MODULES)? {
        let name = Path::new(&path)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.with_context(|| format!("{path} in modules.dep has no name"))?;
        let target = folder.join(&name);
        make_parent(&target)?;
        fs::copy(modules.join(&path), &target).with_context(|| format!("cannot copy {path}"))?;
        order.push_str(&name);
        order.push('\n');
    }
    fs::write(folder.join("order"), order).context("cannot write the list of stage 0's modules")
}

/// The files to load, dependencies first, for the named modules, from the text of `modules.dep`.
fn load_order(index: &str, names: &[&str]) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for name in names {
        let line = index
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| {
                path.rsplit('/')
                    .next()
                    .and_then(|file| file.split('.').next())
                    == Some(name)
            });
        let (path, needs) = line.with_context(|| format!("the kernel has no module {name}"))?;
        // depmod lists what a module needs with the deepest last.
        for file in needs.split_whitespace().rev().chain([path]) {
            if !order.iter().any(|known| known == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

fn place(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

fn copy_entry(from: &Path, to: &Path) -> Result<()> {
    let kind =
        fs::symlink_metadata(from).with_context(|| format!("cannot look at {}", from.display()))?;
    if kind.is_dir() {
        return fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()));
    }
    make_parent(to)?;
    if kind.is_symlink() {
        let target = fs::read_link(from)
            .with_context(|| format!("cannot read the link {}", from.display()))?;
        return link(&target.to_string_lossy(), to);
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    let mode = if kind.permissions().mode() & 0o100 == 0 {
        0o644
    } else {
        0o755
    };
    fs::set_permissions(to, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    make_parent(path)?;
    symlink(target, path).with_context(|| format!("cannot make the link {}", path.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_what_they_need() {
        let index = "kernel/a/dm-mod.ko.xz: kernel/b/dax.ko.xz\nkernel/a/dm-thin-pool.ko.xz: kernel/a/dm-bufio.ko.xz kernel/a/dm-mod.ko.xz kernel/b/dax.ko.xz\nkernel/b/dax.ko.xz:\nkernel/a/dm-bufio.ko.xz: kernel/a/dm-mod.ko.xz kernel/b/dax.ko.xz\n";
        let order = load_order(index, &["dm-mod", "dm-thin-pool"]).unwrap();
        assert_eq!(
            order,
            [
                "kernel/b/dax.ko.xz",
                "kernel/a/dm-mod.ko.xz",
                "kernel/a/dm-bufio.ko.xz",
                "kernel/a/dm-thin-pool.ko.xz"
            ]
        );
    }

    #[test]
    fn an_unknown_module_is_an_error() {
        assert!(load_order("kernel/a/loop.ko.xz:\n", &["squashfs"]).is_err());
    }

    #[test]
    fn walking_sees_links_as_links() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        symlink("b", folder.path().join("a/c")).unwrap();
        let found: Vec<_> = walk(folder.path()).unwrap().into_iter().collect();
        assert_eq!(found, [PathBuf::from("a"), "a/b".into(), "a/c".into()]);
    }
}
