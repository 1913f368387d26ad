//! Who this machine is: its id, made once and kept with the state, and its name.
//!
//! Invariant: the id never changes while the state lives; certificates and the cluster know the machine by it. It is
//! random and not taken from the mainboard: boards come with equal numbers, and disks are moved between machines. A
//! drive that can not be read now may be readable at the next start: then nothing is made.

use std::io::ErrorKind;
use std::path::Path;

use super::log;
use crate::sys::fs::{self, FsError};
use crate::sys::{hostname, sysfs};

const ID: &str = "/var/lib/ashlar/machine-id";
/// Where `/etc/machine-id` of the read-only root leads; some tools ask for it.
const SHOWN_ID: &str = "/run/ashlar/machine-id";

/// Makes the id on the first start and gives the machine its name.
pub fn establish() -> Result<(), FsError> {
    let id = machine_id(Path::new(ID))?;
    fs::write_atomic(Path::new(SHOWN_ID), format!("{id}\n").as_bytes(), 0o444)?;
    let name = host_name(sysfs::text(hostname::KEPT).as_deref(), &id);
    log::info(format_args!("this is {name}, machine id {id}"));
    hostname::set(&name, Path::new(hostname::SHOWN))
}

/// 32 hexadecimal digits, made when there are none yet.
fn machine_id(path: &Path) -> Result<String, FsError> {
    let valid = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(source) => {
            return Err(FsError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let found = text.trim().replace('-', "").to_ascii_lowercase();
    if valid(&found) {
        return Ok(found);
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    fs::write_atomic(path, format!("{id}\n").as_bytes(), 0o444)?;
    Ok(id)
}

/// The name set by the operator, else one that tells machines on a network apart.
fn host_name(set: Option<&str>, id: &str) -> String {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match set {
        Some(name) if name.len() <= 63 && !name.starts_with('-') && name.bytes().all(fine) => {
            name.to_owned()
        }
        _ => format!("ashlar-{}", id.get(..6).unwrap_or("000000")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("machine-id");
        let id = machine_id(&path).unwrap();
        assert_eq!(machine_id(&path).unwrap(), id);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "damaged").unwrap();
        let other = machine_id(&path).unwrap();
        assert_ne!(other, id);
        assert_eq!(machine_id(&path).unwrap(), other);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "0F0E0D0C-0B0A-4908-8706-050403020100\n").unwrap();
        assert_eq!(
            machine_id(&path).unwrap(),
            "0f0e0d0c0b0a49088706050403020100"
        );
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let directory = tempfile::tempdir().unwrap();
        // A directory is there and can not be read as a file.
        let error = machine_id(directory.path()).unwrap_err();
        assert!(matches!(error, FsError::Read { .. }), "{error}");
    }

    #[test]
    fn the_name_is_the_operators_or_made_of_the_id() {
        let id = "0f0e0d0c0b0a49088706050403020100";
        assert_eq!(host_name(Some("rack1-a"), id), "rack1-a");
        assert_eq!(host_name(None, id), "ashlar-0f0e0d");
        assert_eq!(host_name(Some("a b"), id), "ashlar-0f0e0d");
        assert_eq!(host_name(Some("-x"), id), "ashlar-0f0e0d");
    }
}
