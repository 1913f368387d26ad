//! The check of an image whose bytes are all here: its sum, what it is by our
//! own reading, what it is by QEMU's reading in a cage, then its final name.
//!
//! Both readings must agree ([`super::inspect`], [`super::qemu_img`]); what they
//! found is what the tools are told later, so that nothing is guessed from the
//! bytes of strangers again.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ashlar_api::{Bytes, ImageId};
use sha2::{Digest, Sha256};

use super::inspect::{FileSource, InspectError, inspect};
use super::library;
use super::qemu_img::{QemuImgError, second_opinion};
use super::work::Teller;
use crate::reconcile::chain;
use crate::state::schema::ImageContent;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// Why an image is refused, or could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file could not be read.
    #[error("the file of the image can not be read")]
    Read(#[source] io::Error),
    /// The bytes are not those that were promised.
    #[error("the file has the SHA-256 {found}, {wanted} was expected")]
    Sum {
        /// What was expected.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// It is no image that can be used.
    #[error(transparent)]
    Refused(InspectError),
    /// QEMU does not agree, or could not be asked.
    #[error(transparent)]
    SecondOpinion(QemuImgError),
    /// It could not be given its name.
    #[error("the image could not be given its name in the library")]
    Complete(#[source] io::Error),
    /// Somebody asked to stop.
    #[error("the check was stopped")]
    Stopped,
}

impl CheckError {
    /// What to do.
    fn remedy(&self) -> &'static str {
        match self {
            CheckError::Refused(error) => error.remedy(),
            CheckError::Sum { .. } => {
                "The file was changed on its way or is another one: compare it with its source and send it again."
            }
            CheckError::SecondOpinion(error) if error.is_about_the_image() => {
                "Convert it with `qemu-img convert -O qcow2 <file> <new file>` where it came from, and send the new file."
            }
            CheckError::Read(_) | CheckError::Complete(_) | CheckError::SecondOpinion(_) => {
                "Look at the health of the pool, then send the file again."
            }
            CheckError::Stopped => "",
        }
    }

    /// All of it, for the job.
    pub fn story(&self) -> String {
        format!("{}. {}", chain(self), self.remedy())
            .trim()
            .to_owned()
    }
}

/// Checks an image in a library; it may have its final name already.
pub async fn check(
    library: &Path,
    image: ImageId,
    wanted: Option<&str>,
    teller: &Teller,
) -> Result<ImageContent, CheckError> {
    teller.checking();
    let _place = teller.place().await;
    let (whole, partial) = library::paths(library, image);
    let is_whole = whole.exists();
    let path = if is_whole { whole } else { partial };
    let file = File::open(&path).map_err(CheckError::Read)?;
    let size = file.metadata().map_err(CheckError::Read)?.len();
    let found = sum_of(path, size, teller).await?;
    if let Some(wanted) = wanted
        && !wanted.eq_ignore_ascii_case(&found)
    {
        let wanted = wanted.to_ascii_lowercase();
        return Err(CheckError::Sum { wanted, found });
    }
    let looked = file.try_clone().map_err(CheckError::Read)?;
    let seen = blocking(move || {
        let source = FileSource::new(looked).map_err(CheckError::Read)?;
        inspect(&source).map_err(CheckError::Refused)
    })
    .await?;
    teller.tell(None, "Looking at the image");
    let virtual_size = second_opinion(&image.to_string(), file.into(), seen)
        .await
        .map_err(CheckError::SecondOpinion)?;
    if !is_whole {
        let library = library.to_owned();
        blocking(move || library::complete(&library, image).map_err(CheckError::Complete)).await?;
    }
    Ok(ImageContent {
        format: seen.format,
        size: Bytes(size),
        virtual_size,
        sha256: found,
    })
}

/// The SHA-256 of a file, which is on the disk when this returns.
async fn sum_of(path: PathBuf, size: u64, teller: &Teller) -> Result<String, CheckError> {
    let stop = StopOnDrop(Arc::default());
    let stopped = stop.0.clone();
    let teller = teller.clone();
    blocking(move || {
        let mut file = File::open(&path).map_err(CheckError::Read)?;
        file.sync_all().map_err(CheckError::Read)?;
        let mut sum = Sha256::new();
        let mut buffer = vec![0; PIECE];
        let mut done = 0;
        loop {
            if stopped.load(Ordering::Relaxed) {
                return Err(CheckError::Stopped);
            }
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    sum.update(&buffer[..count]);
                    done += count as u64;
                    teller.tell_bytes(done, Some(size), "Computing the checksum");
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CheckError::Read(error)),
            }
        }
        Ok(hex(&sum.finalize()))
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A thread can not be ended from outside; it looks at this.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckError> + Send + 'static,
) -> Result<T, CheckError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(CheckError::Stopped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Waker;
    use crate::reconcile::progress::Board;
    use crate::storage::observe::{Observed, Work};
    use crate::storage::plan::Subject;
    use crate::storage::work::Works;
    use std::time::Duration;

    async fn run(library: &Path, wanted: Option<String>) -> Work {
        let id = ImageId::from(uuid::Uuid::from_u128(1));
        let works = Works::new(Board::default(), Waker::default());
        let library = library.to_owned();
        works.start(Subject::Image(id), None, move |teller| async move {
            let checked = check(&library, id, wanted.as_deref(), &teller).await;
            checked.map(Some).map_err(|error| error.story())
        });
        for _ in 0..300 {
            let mut observed = Observed::default();
            works.look(&mut observed);
            match observed.images.remove(&id) {
                Some(Work::Running { .. }) | None => {}
                Some(ended) => return ended,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it did not end");
    }

    fn put(library: &Path, bytes: &[u8]) -> (PathBuf, PathBuf) {
        use std::io::Write;
        let (whole, partial) = library::paths(library, uuid::Uuid::from_u128(1).into());
        let mut file = library::open_partial(&partial).unwrap();
        file.set_len(0).unwrap();
        file.write_all(bytes).unwrap();
        (whole, partial)
    }

    #[tokio::test]
    async fn refuses_what_is_not_what_was_promised() {
        let directory = tempfile::tempdir().unwrap();
        let (whole, partial) = put(directory.path(), b"no disk at all");
        let Work::Failed { message } = run(directory.path(), Some("ab".repeat(32))).await else {
            panic!("it was accepted");
        };
        assert!(message.contains("was expected") && message.contains("send it again"));
        let Work::Failed { message } = run(directory.path(), None).await else {
            panic!("it was accepted");
        };
        assert!(message.contains("not an image"), "{message}");
        assert!(partial.exists() && !whole.exists());
    }

    /// With the real qemu-img, in its cage.
    #[tokio::test]
    async fn accepts_a_disk_and_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made.qcow2");
        let tool = std::process::Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&made)
            .arg("64M")
            .status()
            .unwrap();
        assert!(tool.success());
        let (whole, partial) = put(directory.path(), &std::fs::read(&made).unwrap());
        let Work::Done {
            content: Some(content),
        } = run(directory.path(), None).await
        else {
            panic!("it was refused");
        };
        assert_eq!(content.virtual_size, Bytes::mib(64));
        assert!(whole.exists() && !partial.exists());
        // Whole, but not told: the same once more.
        let sum = content.sha256.to_uppercase();
        let again = run(directory.path(), Some(sum)).await;
        let content = Some(content);
        assert_eq!(again, Work::Done { content });
    }
}
