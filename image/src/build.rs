//! The whole way from sources to the disk image, doing only what changed.
//!
//! Each run ends with the key of what the disk was made from beside it: the base, the program's content, stage 0 and the
//! command line. The same key again means the same disk, and nothing is written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::place::{Place, version};
use crate::progress::Step;
use crate::sign::Keys;
use crate::stamp::Moment;
use crate::tool::Tool;
use crate::{base, disk, root, uki, web};

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The bootable disk, raw.
    pub disk: PathBuf,
}

/// Which program becomes PID 1.
#[derive(Clone, Debug)]
pub enum Program {
    /// The release build of `ashlar`, made from this checkout with the console inside.
    Ashlar,
    /// Any other program, statically linked or linked against what the base holds.
    Given(PathBuf),
}

/// Makes the disk image, or finds it made.
pub fn build(place: &Place, program: &Program) -> Result<Built> {
    let _lock = place.lock()?;
    let parts = parts(place, program)?;
    let disk = place.disk()?;
    let key_file = disk.with_extension("key");
    let key = key(&parts)?;
    if disk.exists() && fs::read_to_string(&key_file).is_ok_and(|old| old == key) {
        return Ok(Built { disk });
    }
    let work = tempfile::Builder::new()
        .prefix("disk-work-")
        .tempdir_in(place.output()?)
        .context("cannot make a work folder")?;
    let (squashfs, uki) = assemble(&parts, work.path(), &disk)?;
    for (from, name) in [(&squashfs, "root.squashfs"), (&uki, "ashlar.efi")] {
        fs::rename(from, place.output()?.join(name))
            .with_context(|| format!("cannot keep {name}"))?;
    }
    fs::write(&key_file, key).with_context(|| format!("cannot write {}", key_file.display()))?;
    Ok(Built { disk })
}

/// What a disk is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    base: base::Base,
    program: PathBuf,
    stage0: PathBuf,
    keys: Keys,
    moment: Moment,
    release: Release,
}

/// What is said of a release beside its parts.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// Words added to the kernel's command line.
    pub words: Vec<String>,
}

impl Parts {
    /// The same parts as another release.
    #[must_use]
    pub fn with(self, release: Release) -> Self {
        Self { release, ..self }
    }

    /// Kernel and root tree.
    pub fn base(&self) -> &base::Base {
        &self.base
    }

    /// What becomes PID 1.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The keys whose signatures the release trusts.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The time that everything in it bears.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// The version of the release.
    pub fn version(&self) -> &str {
        &self.release.version
    }
}

/// Makes the parts, or finds them made. The caller holds the lock.
pub fn parts(place: &Place, program: &Program) -> Result<Parts> {
    let (base, program) = match program {
        Program::Ashlar => ashlar(place)?,
        Program::Given(path) => (base::make(place)?, path.clone()),
    };
    Ok(Parts {
        base,
        program,
        stage0: stage0(place)?,
        keys: Keys::of(place)?,
        moment: Moment::of(place)?,
        release: Release {
            version: version().to_owned(),
            words: Vec::new(),
        },
    })
}

/// Makes a disk, and returns where in `work` its root image and its unified kernel image are. The same parts make the same
/// bits.
pub fn assemble(parts: &Parts, work: &Path, disk: &Path) -> Result<(PathBuf, PathBuf)> {
    let (squashfs, uki) = release(parts, work)?;
    let image = (uki.as_path(), parts.version());
    disk::make(&parts.base, image, parts.moment, work, disk)?;
    Ok((squashfs, uki))
}

/// Makes a release alone: its root image and its unified kernel image in `work`.
pub fn release(parts: &Parts, work: &Path) -> Result<(PathBuf, PathBuf)> {
    let squashfs = root::squashfs(parts, work)?;
    let initramfs = root::initramfs(&parts.base, &parts.stage0, &squashfs, work)?;
    let uki = uki::make(&parts.base, &initramfs, &parts.release, work)?;
    Ok((squashfs, uki))
}

/// The base, and the program with the console inside. What takes longest, the program's library, is compiled while the
/// rest is made: making the rest keeps one processor busy at most for half of its time.
fn ashlar(place: &Place) -> Result<(base::Base, PathBuf)> {
    let (base, library) = std::thread::scope(|scope| {
        let library = scope.spawn(|| {
            let step = Step::start("Program");
            released(place, &["--lib"]).show(&step)?;
            step.done("");
            anyhow::Ok(())
        });
        let base = base::make(place)
            .and_then(|base| web::make(place, web::Profile::Console).map(|()| base));
        (base, library.join())
    });
    let base = base?;
    library.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let step = Step::start("Program with the console");
    released(place, &["--bin", "ashlar"])
        .env("ASHLAR_CONSOLE_BUILD", web::built(place)?)
        .show(&step)?;
    // A copy, before another checkout with the same target directory can change it.
    let built = place.target().join("release/ashlar");
    let copy = place.output()?.join("ashlar");
    fs::copy(&built, &copy).with_context(|| format!("cannot copy {}", built.display()))?;
    step.done("");
    Ok((base, copy))
}

/// Cargo, about to build what `what` names of the program as released.
fn released(place: &Place, what: &[&str]) -> Tool {
    cargo(place)
        .args(["build", "--release", "--package", "ashlar"])
        .args(what)
}

fn cargo(place: &Place) -> Tool {
    Tool::new(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .directory(place.root())
}

/// The program of stage 0, static: it is all that the initramfs holds beside modules and the root image.
fn stage0(place: &Place) -> Result<PathBuf> {
    let step = Step::start("Stage 0");
    cargo(place)
        .args(["rustc", "--release", "--package", "ashlar-stage0"])
        .args(["--", "-C", "target-feature=+crt-static"])
        .show(&step)?;
    step.done("");
    Ok(place.target().join("release/ashlar-stage0"))
}

fn key(parts: &Parts) -> Result<String> {
    let mut hash = Sha256::new();
    for path in [&parts.program, &parts.stage0] {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(Sha256::digest(content));
    }
    hash.update(uki::COMMAND_LINE);
    hash.update(parts.base.key());
    hash.update(parts.moment.seconds());
    hash.update(root::os_release(parts.version()));
    hash.update(parts.release.words.join(" "));
    for path in parts.keys.public() {
        let key = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        hash.update(key);
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
