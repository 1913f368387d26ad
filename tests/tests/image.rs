//! The image itself, without booting it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_image::build::{self, Program};
use ashlar_image::place::Place;

const BLOCK: usize = 1 << 20;
/// FAT tells times in steps of two seconds, all others in smaller ones.
const CLOCK: Duration = Duration::from_secs(3);

/// Whoever has the sources can find out whether an image is made from them.
#[test]
fn the_same_sources_make_the_same_bits() -> Result<()> {
    let place = Place::find()?;
    let _lock = place.lock()?;
    let parts = build::parts(&place, &Program::Ashlar)?;
    let mut disks = Vec::new();
    for number in 0..2 {
        let work = tempfile::tempdir_in(place.output()?).context("cannot make a work folder")?;
        let disk = work.path().join(format!("{number}.img"));
        build::assemble(&parts, work.path(), &disk)?;
        disks.push((disk, work));
        std::thread::sleep(CLOCK);
    }
    let [(one, _), (other, _)] = disks.as_slice() else {
        anyhow::bail!("two disks are wanted");
    };
    let first = differs_at(one, other)?;
    ensure!(first.is_none(), "they differ, first in the MiB {first:?}");
    Ok(())
}

/// The first block in which two files differ.
fn differs_at(one: &Path, other: &Path) -> Result<Option<usize>> {
    let open = |path: &Path| {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        anyhow::Ok(BufReader::with_capacity(BLOCK, file))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for block in 0.. {
        left.clear();
        right.clear();
        let size = u64::try_from(BLOCK)?;
        (&mut one).take(size).read_to_end(&mut left)?;
        (&mut other).take(size).read_to_end(&mut right)?;
        if left != right {
            return Ok(Some(block));
        }
        if left.is_empty() {
            break;
        }
    }
    Ok(None)
}
