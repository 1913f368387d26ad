//! The screen of a machine: viewers and pictures.
//!
//! QEMU's VNC server listens nowhere. A viewer is one end of a socket pair whose
//! other end QEMU is handed through its monitor, so nothing but the supervisor
//! can reach a screen. A picture is drawn into memory that QEMU is handed the
//! same way; it needs no file that it could write.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::json;
use tokio::net::UnixStream;

use super::qmp::{Qmp, QmpError};

/// How long drawing a picture may take.
const PICTURE_LIMIT: Duration = Duration::from_secs(20);
/// The largest picture that is passed on.
const LARGEST: u64 = 64 << 20;

/// Why a screen can not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// QEMU did not do it.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Something could not be prepared.
    #[error("cannot {step} for the screen")]
    Prepare {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// What came back is no picture.
    #[error("QEMU drew no picture of the screen")]
    NoPicture,
}

fn failed(step: &'static str) -> impl Fn(std::io::Error) -> ScreenError {
    move |source| ScreenError::Prepare { step, source }
}

/// Opens a viewer: a stream that speaks the protocol of VNC, without a password.
pub async fn connect(qmp: &Qmp) -> Result<UnixStream, ScreenError> {
    let failed = failed("make a pair of sockets");
    let (ours, theirs) = StdStream::pair().map_err(&failed)?;
    ours.set_nonblocking(true).map_err(&failed)?;
    let ours = UnixStream::from_std(ours).map_err(&failed)?;
    // One name for every viewer would let two that come at once swap their sockets.
    let name = format!("viewer-{}", theirs.as_raw_fd());
    qmp.run_with_fd("getfd", json!({ "fdname": name }), theirs.into())
        .await?;
    let client = json!({ "protocol": "vnc", "fdname": name, "skipauth": true });
    if let Err(error) = qmp.run("add_client", client).await {
        // It keeps the socket otherwise.
        let _ = qmp.run("closefd", json!({ "fdname": name })).await;
        return Err(error.into());
    }
    Ok(ours)
}

/// Draws the screen as it is now, as PNG.
pub async fn picture(qmp: &Qmp) -> Result<Vec<u8>, ScreenError> {
    let memory = memfd_create("screen", MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| failed("get memory")(errno.into()))?;
    // QEMU wants a descriptor that can only be written.
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let writable: OwnedFd = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(failed("open memory"))?
        .into();
    let set = qmp.add_file(writable).await?;
    let file = format!("/dev/fdset/{set}");
    let drawing = json!({ "filename": file, "format": "png" });
    let drawn = qmp.run_within("screendump", drawing, PICTURE_LIMIT).await;
    // A set that can not be removed ends with QEMU.
    let _ = qmp.run("remove-fd", json!({ "fdset-id": set })).await;
    drawn?;
    let mut picture = Vec::new();
    let mut memory = File::from(memory);
    memory
        .rewind()
        .and_then(|()| memory.take(LARGEST).read_to_end(&mut picture))
        .map_err(failed("read the picture"))?;
    if !picture.starts_with(b"\x89PNG") {
        return Err(ScreenError::NoPicture);
    }
    Ok(picture)
}
