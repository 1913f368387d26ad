//! Room on the drive for the state.
//!
//! Invariant: a full drive never locks anybody out. Starting the log, signing in
//! and deleting all write a little, so room for them is put by while there is
//! plenty, as a file of zeros, and given back when the drive is full. What makes
//! something new is refused before that room is touched.
//!
//! ```text
//!   room   plenty ─────────── to create ───────── to write ──── 0
//!          put some by        deletions, sign-in   what was put by
//!                             and the like only    is given back
//! ```
//!
//! Files that were set aside long ago are the only ones that may go by
//! themselves, and only when a start finds the drive nearly full.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

/// With this much room, some is put by.
const PLENTY: Bytes = Bytes::mib(128);
/// Under this much room nothing new is made, so that there is room to delete.
pub const TO_CREATE: Bytes = Bytes::mib(32);
/// Under this much room nothing is written: SQLite needs it to keep its files whole.
const TO_WRITE: Bytes = Bytes::mib(4);
/// What is put by. ext4 keeps up to 16 MiB for its own books and a hundredth for root, and counts neither as free.
const PUT_BY: Bytes = Bytes::mib(48);
/// The file that holds it; empty once it was given back.
const RESERVE: &str = "reserve";
/// In the name of each file that was set aside.
pub const ASIDE: &str = ".aside-";

/// What the room is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// To make something new.
    ToCreate,
    /// To change or delete something, to sign in, to say how something is.
    ToWrite,
}

/// Before the databases are opened: puts room by, or gives back what is needed to open them.
pub fn prepare(directory: &Path) {
    let Some(room) = left(directory) else { return };
    if room >= PLENTY {
        put_by(directory);
        return;
    }
    if room < TO_CREATE {
        for file in set_aside(directory) {
            tracing::warn!(file = %file.display(), "the drive is nearly full: removed what was set aside");
            let _ = fs::remove_file(&file);
        }
    }
    if left(directory).is_some_and(|room| room < TO_WRITE) {
        give_back(directory);
    }
}

/// Whether there is room; how much there is when there is too little.
pub fn ask(directory: &Path, needs: Needs) -> Result<(), Bytes> {
    let Some(mut room) = left(directory) else {
        return Ok(());
    };
    if room >= PLENTY {
        put_by(directory);
        return Ok(());
    }
    // What was given back is not for new things: it is to be put by again first.
    let owed = match is_given_back(directory) {
        true => PUT_BY.0,
        false => 0,
    };
    if room < TO_WRITE && needs == Needs::ToWrite && give_back(directory) {
        room = left(directory).unwrap_or(room);
    }
    let needed = match needs {
        Needs::ToCreate => Bytes(TO_CREATE.0 + owed),
        Needs::ToWrite => TO_WRITE,
    };
    if room >= needed { Ok(()) } else { Err(room) }
}

fn left(directory: &Path) -> Option<Bytes> {
    let there = statvfs(directory).ok()?;
    Some(Bytes(
        there
            .blocks_available()
            .saturating_mul(there.fragment_size()),
    ))
}

fn put_by(directory: &Path) {
    let path = directory.join(RESERVE);
    if path.exists() && !is_given_back(directory) {
        return;
    }
    let size = i64::try_from(PUT_BY.0).unwrap_or(i64::MAX);
    let made = File::create(&path).and_then(|file| {
        fallocate(&file, FallocateFlags::empty(), 0, size).map_err(io::Error::from)
    });
    if let Err(error) = made {
        tracing::warn!("put room by for the state: {error}");
        let _ = fs::remove_file(&path);
    }
}

/// True when there was something to give back.
fn give_back(directory: &Path) -> bool {
    let path = directory.join(RESERVE);
    if !path.exists() || is_given_back(directory) {
        return false;
    }
    let emptied = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(0));
    match emptied {
        Ok(()) => tracing::warn!(
            "the drive is full: the room put by is given back, to delete and to sign in"
        ),
        Err(error) => tracing::warn!("give the room put by back: {error}"),
    }
    is_given_back(directory)
}

fn is_given_back(directory: &Path) -> bool {
    fs::metadata(directory.join(RESERVE)).is_ok_and(|file| file.len() == 0)
}

/// The files that were set aside.
fn set_aside(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().contains(ASIDE));
    named.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::Small;

    #[test]
    fn what_was_put_by_lets_the_full_drive_be_used() {
        let Some(small) = Small::new(200) else { return };
        let folder = small.path();
        prepare(folder);
        assert!(folder.join(RESERVE).exists() && !is_given_back(folder));
        let filler = folder.join("filler");
        let rest = left(folder).expect("asked").0;
        fs::write(&filler, vec![1; usize::try_from(rest).expect("small")]).expect("written");
        assert_eq!(left(folder), Some(Bytes(0)));
        assert_eq!(ask(folder, Needs::ToCreate), Err(Bytes(0)));
        assert!(!is_given_back(folder), "nobody needed it yet");
        assert_eq!(ask(folder, Needs::ToWrite), Ok(()));
        assert_eq!(ask(folder, Needs::ToCreate), Err(PUT_BY));
        fs::remove_file(filler).expect("removed");
        assert_eq!(ask(folder, Needs::ToCreate), Ok(()));
        assert!(!is_given_back(folder), "room is put by again");
    }

    #[test]
    fn what_was_set_aside_goes_when_the_drive_is_full_and_not_before() {
        let Some(small) = Small::new(48) else { return };
        let folder = small.path();
        let (old, state) = (folder.join("raft.db.aside-17"), folder.join("raft.db"));
        fs::write(&old, vec![1; 8 << 20]).expect("written");
        fs::write(&state, [1]).expect("written");
        prepare(folder);
        assert!(old.exists());
        fs::write(folder.join("filler"), vec![1; 36 << 20]).expect("written");
        prepare(folder);
        assert!(!old.exists() && state.exists());
    }
}
