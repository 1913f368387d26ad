//! Makes a group visible again that LVM does not see because it can not read its
//! own metadata: writes the newest complete text that is left ([`super::texts`]).
//!
//! `vgcfgrestore` would need a group that LVM can read at least in part, so this
//! is done by `pvck`, which writes a text and the head that leads to it into one
//! metadata area. Each is flushed before the next: at any time there is one that
//! still holds the text, and once the first is written, LVM sees the group. What a
//! cut leaves to do then is what [`Lvm::renew`] does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ashlar_api::PoolId;

use super::texts::{self, Found, Unrestorable};
use super::{Lvm, LvmError};
use crate::sys::command::CommandError;

/// Where texts are put, in memory.
const FOLDER: &str = "/run/lvm/restore";
/// The areas of a drive: we have LVM make two.
const AREAS: [u8; 2] = [1, 2];

impl Lvm {
    /// Restores the metadata of the group of a pool, which is on all devices of this. Returns which version it is;
    /// nothing when LVM sees the group already.
    pub async fn restore(&self, group: &str, pool: PoolId) -> Result<Option<u64>, LvmError> {
        if self.sees(pool).await? {
            return Ok(None);
        }
        let what = format!("restore the metadata of the volume group {group}");
        let folder = Folder::new(FOLDER.into()).map_err(|source| LvmError::File {
            what: what.clone(),
            source,
        })?;
        let mut found = Vec::new();
        for device in &self.devices {
            found.push(self.look_into(device, &folder).await?);
        }
        let unrestorable = |source| LvmError::Unrestorable {
            what: what.clone(),
            source,
        };
        let choice = texts::choose(group, pool, &found).map_err(unrestorable)?;
        let text = folder.put("text", &choice.text.body);
        let text = text.map_err(|source| LvmError::File {
            what: what.clone(),
            source,
        })?;
        for (device, area) in &choice.places {
            let tool = self
                .change("pvck")
                .args(["--repairtype", "metadata", "--settings"])
                .arg(format!("mda_num={area}"))
                .arg("--file")
                .args([&text, device]);
            self.alter(what.clone(), tool).await?;
        }
        if !self.sees(pool).await? {
            return Err(unrestorable(Unrestorable::Unseen));
        }
        Ok(Some(choice.text.seqno))
    }

    /// Writes those copies of a group's metadata anew that are bad.
    pub async fn renew(&self, group: &str) -> Result<(), LvmError> {
        let tool = self.change("vgck").args(["--updatemetadata", group]);
        let what = format!("renew the bad copies of the metadata of {group}");
        self.alter(what, tool).await.map(drop)
    }

    async fn sees(&self, pool: PoolId) -> Result<bool, LvmError> {
        let report = self.report().await?;
        Ok(report.groups.iter().any(|group| group.pool == Some(pool)))
    }

    /// Finds everything on a device that describes a group.
    async fn look_into(&self, device: &Path, folder: &Folder) -> Result<Found, LvmError> {
        let what = format!("look for metadata on {}", device.display());
        let tool = self.tool("pvck").args(["--dump", "headers"]).arg(device);
        let said = match tool.run().await {
            Ok(output) => output.stdout,
            // It says what is there, and that it is bad.
            Err(CommandError::Failed { stdout, .. }) if stdout.contains("pv_header") => stdout,
            Err(error) => return Err(LvmError::new(what, error)),
        };
        let (identity, areas) = texts::heads(&said);
        let mut found = Found {
            device: device.to_owned(),
            identity,
            areas,
            texts: Vec::new(),
        };
        for area in AREAS {
            let file = folder.0.join("found");
            let failed = |source| LvmError::File {
                what: what.clone(),
                source,
            };
            let tool = self
                .tool("pvck")
                .args(["--dump", "metadata_search", "--settings"])
                .arg(format!("mda_num={area}"))
                .arg("--file")
                .args([&file, device]);
            let output = self.run(what.clone(), tool).await?;
            let bytes = fs::read(&file).map_err(failed)?;
            // It does not write into a file that is there.
            fs::remove_file(&file).map_err(failed)?;
            let texts = texts::texts(area, &output.stdout, &output.stderr, &bytes);
            found.texts.extend(texts);
        }
        Ok(found)
    }
}

/// A folder that goes with its contents when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> io::Result<Folder> {
        let folder = Folder(path);
        // What a process left that was killed.
        folder.remove();
        fs::create_dir_all(&folder.0)?;
        Ok(folder)
    }

    fn put(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}
