//! A bundle: a release as an appliance receives it (`appliance/src/update/bundle.rs` reads it).

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ashlar_api::Bytes;
use ashlar_api::Timestamp;
use ashlar_api::update::{Manifest, Version};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::build::{self, Parts, Program, Release};
use crate::place::{Place, version};
use crate::progress::{Step, mebibytes};
use crate::sign::Keys;
use crate::stamp::Moment;

/// What a bundle is to be.
#[derive(Args, Clone, Debug)]
pub struct BundleArguments {
    /// The version of the release [default: that of the sources]
    #[arg(long, value_name = "VERSION")]
    release: Option<Version>,
    /// The oldest version from which it can be reached in one step
    #[arg(long, value_name = "VERSION", default_value = "0.1.0")]
    from: Version,
    /// For whom it is meant
    #[arg(long, value_name = "NAME", default_value = "stable")]
    channel: String,
    /// A file that tells what is new
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// A word added to the kernel's command line; can be given several times
    #[arg(long = "kernel-argument", value_name = "WORD")]
    kernel_arguments: Vec<String>,
    /// Boot this program as PID 1 instead of building ashlar
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where to write it [default: below the target directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Makes a bundle as the command line wants it, and returns where it is.
pub fn run(place: &Place, arguments: &BundleArguments) -> Result<PathBuf> {
    let _lock = place.lock()?;
    let release = arguments.release.clone();
    let release = Release {
        version: release.map_or_else(|| version().to_owned(), |version| version.to_string()),
        words: arguments.kernel_arguments.clone(),
    };
    let program = arguments
        .program
        .clone()
        .map_or(Program::Ashlar, Program::Given);
    let parts = build::parts(place, &program)?.with(release);
    let notes = arguments.notes.as_ref().map(|path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    });
    let about = About {
        from: arguments.from.clone(),
        channel: arguments.channel.clone(),
        notes: notes.transpose()?.unwrap_or_default(),
    };
    let path = match &arguments.output {
        Some(path) => path.clone(),
        None => place
            .output()?
            .join(format!("ashlar-{}.ashlar", parts.version())),
    };
    make(place, &parts, &about, &path)?;
    Ok(path)
}

/// What a bundle says of its release.
#[derive(Clone, Debug)]
pub struct About {
    /// The oldest version from which it can be reached in one step.
    pub from: Version,
    /// For whom it is meant.
    pub channel: String,
    /// What is new.
    pub notes: String,
}

/// Makes a release and packs it. The caller holds the lock.
pub fn make(place: &Place, parts: &Parts, about: &About, path: &Path) -> Result<()> {
    let work = tempfile::Builder::new()
        .prefix("bundle-work-")
        .tempdir_in(place.output()?)
        .context("cannot make a work folder")?;
    let (_, uki) = build::release(parts, work.path())?;
    let keys = Keys::of(place)?;
    let step = Step::start("Bundle");
    let manifest = describe(&uki, parts, about)?;
    pack(&uki, &manifest, &keys, parts.moment(), path)?;
    step.done(&mebibytes(
        fs::metadata(path).context("the bundle is gone")?.len(),
    ));
    Ok(())
}

fn describe(uki: &Path, parts: &Parts, about: &About) -> Result<Manifest> {
    let mut sum = Sha256::new();
    let mut file = File::open(uki).with_context(|| format!("cannot open {}", uki.display()))?;
    let size = std::io::copy(&mut file, &mut sum).context("cannot read the release")?;
    let seconds: i64 = parts
        .moment()
        .seconds()
        .parse()
        .context("the time is no number")?;
    Ok(Manifest {
        version: parts
            .version()
            .parse()
            .context("the version of the release")?,
        channel: about.channel.clone(),
        architecture: std::env::consts::ARCH.to_owned(),
        from: about.from.clone(),
        made_at: Timestamp::from_second(seconds).context("the time of the release")?,
        size: Bytes(size),
        sha256: sum
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        notes: about.notes.clone(),
    })
}

fn pack(uki: &Path, manifest: &Manifest, keys: &Keys, moment: Moment, path: &Path) -> Result<()> {
    let text = serde_json::to_vec_pretty(manifest).context("cannot write the manifest")?;
    let signature = keys.sign(&text, &format!("Ashlar {}", manifest.version))?;
    let draft = path.with_extension("part");
    let file =
        File::create(&draft).with_context(|| format!("cannot create {}", draft.display()))?;
    let mut archive = tar::Builder::new(BufWriter::new(file));
    let seconds = moment.seconds().parse().context("the time is no number")?;
    let mut add = |name: &str, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(seconds);
        archive
            .append_data(&mut header, name, content)
            .with_context(|| format!("cannot add {name} to the bundle"))
    };
    add("manifest.json", text.len() as u64, &mut text.as_slice())?;
    add(
        "manifest.json.minisig",
        signature.len() as u64,
        &mut signature.as_bytes(),
    )?;
    let mut release = File::open(uki).with_context(|| format!("cannot open {}", uki.display()))?;
    add("ashlar.efi", manifest.size.0, &mut release)?;
    archive
        .into_inner()
        .and_then(|mut output| output.flush())
        .context("cannot write the bundle")?;
    fs::rename(&draft, path).with_context(|| format!("cannot write {}", path.display()))
}
