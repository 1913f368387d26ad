//! What is wanted of a virtual machine, as options.
//!
//! A disk and an interface have several parts, so each is one option with
//! commas, as QEMU's are: `--disk size=20G,image=debian-13`.

use std::path::PathBuf;
use std::str::FromStr;

use ashlar_api::network::Network;
use ashlar_api::vm::{CloudInit, Mac, RunPolicy, Vm, VmDisk, VmNic, VmSpec};
use ashlar_api::volume::Volume;
use ashlar_api::{Bytes, Name};
use clap::{Args, ValueEnum};

use super::client::Client;
use super::error::{Error, Result};
use super::noun::{self, ChangeArgs, Cx};
use super::{ask, volume};

/// A new machine.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Its name
    name: Name,
    /// Virtual processors
    #[arg(short, long, default_value_t = 1)]
    cpus: u16,
    /// Memory, such as 2G
    #[arg(short, long, default_value = "1G")]
    memory: Bytes,
    /// A disk; repeat for several: `size=20G`, with `pool=POOL` and `image=IMAGE` if wanted, or `volume=VOLUME` that exists
    #[arg(short, long = "disk", value_name = "DISK")]
    disks: Vec<DiskArg>,
    /// A network interface; repeat for several: `NETWORK`, with `,mac=ADDRESS` if wanted
    #[arg(short, long = "nic", value_name = "NIC")]
    nics: Vec<NicArg>,
    /// An ISO image in its CD drive
    #[arg(long, value_name = "IMAGE")]
    cdrom: Option<String>,
    /// When it runs
    #[arg(long, value_name = "WHEN", default_value = "always")]
    run_policy: RunArg,
    /// What it is for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// Refuse to delete it
    #[arg(long)]
    protected: bool,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
    // Last, because its heading holds for all options that follow.
    /// What it does at its first start
    #[command(flatten)]
    first: FirstStartArgs,
}

/// What a guest with cloud-init does at its first start.
#[derive(Args, Debug)]
#[command(next_help_heading = "First start (cloud-init)")]
pub struct FirstStartArgs {
    /// A user to be made, who may use sudo
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with a public key of the user, such as ~/.ssh/id_ed25519.pub; repeat for several
    #[arg(long = "ssh-key", value_name = "FILE", requires = "user")]
    ssh_keys: Vec<PathBuf>,
    /// File with the user's password; `-` is the input
    #[arg(long, value_name = "FILE", requires = "user")]
    user_password_file: Option<PathBuf>,
    /// Host name; the machine's name when absent
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// File with your own user-data, in place of all of the above
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "hostname"])]
    user_data: Option<PathBuf>,
}

/// What changes about a machine.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Its name or id
    vm: String,
    /// Its new name
    #[arg(long)]
    name: Option<Name>,
    /// Virtual processors
    #[arg(short, long)]
    cpus: Option<u16>,
    /// Memory, such as 2G
    #[arg(short, long)]
    memory: Option<Bytes>,
    /// One more disk, as with `create`; repeat for several
    #[arg(long = "add-disk", value_name = "DISK")]
    add_disks: Vec<DiskArg>,
    /// Take a volume away from it; the volume stays
    #[arg(long = "remove-disk", value_name = "VOLUME")]
    remove_disks: Vec<String>,
    /// One more network interface, as with `create`; repeat for several
    #[arg(long = "add-nic", value_name = "NIC")]
    add_nics: Vec<NicArg>,
    /// Take a network interface away, by its hardware address
    #[arg(long = "remove-nic", value_name = "MAC")]
    remove_nics: Vec<Mac>,
    /// An ISO image in its CD drive; empty for none
    #[arg(long, value_name = "IMAGE")]
    cdrom: Option<String>,
    /// When it runs
    #[arg(long, value_name = "WHEN")]
    run_policy: Option<RunArg>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Refuse to delete it, or no longer
    #[arg(long, value_name = "BOOL")]
    protected: Option<bool>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// When a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunArg {
    /// Whenever the node runs, unless somebody stopped it
    Always,
    /// When somebody starts it
    Manual,
    /// Never
    Stopped,
}

impl From<RunArg> for RunPolicy {
    fn from(policy: RunArg) -> Self {
        match policy {
            RunArg::Always => RunPolicy::Always,
            RunArg::Manual => RunPolicy::Manual,
            RunArg::Stopped => RunPolicy::Stopped,
        }
    }
}

/// A disk as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskArg {
    /// A volume that exists.
    Volume(String),
    /// A new one.
    New {
        /// Its size.
        size: Bytes,
        /// The pool; the only one when absent.
        pool: Option<String>,
        /// What it is filled from.
        image: Option<String>,
    },
}

/// An interface as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicArg {
    network: String,
    mac: Option<Mac>,
}

/// The parts of an option: `key=value`, or a value alone.
fn parts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or(("", part)))
}

impl FromStr for DiskArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut size, mut pool, mut image, mut volume) = (None, None, None, None);
        for (key, value) in parts(text) {
            let place = match key {
                "size" | "" => {
                    size = Some(value.parse::<Bytes>().map_err(|error| error.to_string())?);
                    continue;
                }
                "pool" => &mut pool,
                "image" => &mut image,
                "volume" => &mut volume,
                _ => return Err(format!("`{key}` is none of size, pool, image and volume")),
            };
            *place = Some(value.to_owned());
        }
        match (volume, size, &pool, &image) {
            (Some(volume), None, None, None) => Ok(DiskArg::Volume(volume)),
            (Some(_), ..) => {
                Err("a volume that exists has its size, pool and content already".to_owned())
            }
            (None, Some(size), ..) => Ok(DiskArg::New { size, pool, image }),
            (None, None, ..) => Err("a new disk needs a size, such as `size=20G`".to_owned()),
        }
    }
}

impl FromStr for NicArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut network, mut mac) = (None, None);
        for (key, value) in parts(text) {
            match key {
                "network" | "" => network = Some(value.to_owned()),
                "mac" => mac = Some(value.parse::<Mac>().map_err(|error| error.to_string())?),
                _ => return Err(format!("`{key}` is none of network and mac")),
            }
        }
        let network = network.ok_or("name the network, as in `default,mac=52:54:00:12:34:56`")?;
        Ok(NicArg { network, mac })
    }
}

async fn disk(client: &Client, disk: &DiskArg) -> Result<VmDisk> {
    match disk {
        DiskArg::Volume(name) => Ok(VmDisk::Volume {
            volume: noun::find::<Volume>(client, name).await?.1.id,
        }),
        DiskArg::New { size, pool, image } => Ok(VmDisk::New {
            pool: volume::pool(client, pool.as_deref()).await?,
            size: *size,
            image: volume::image(client, image.as_deref()).await?,
        }),
    }
}

async fn disks(client: &Client, args: &[DiskArg]) -> Result<Vec<VmDisk>> {
    let mut disks = Vec::new();
    for arg in args {
        disks.push(disk(client, arg).await?);
    }
    Ok(disks)
}

async fn nics(client: &Client, args: &[NicArg]) -> Result<Vec<VmNic>> {
    let mut nics = Vec::new();
    for arg in args {
        nics.push(VmNic {
            network: noun::find::<Network>(client, &arg.network).await?.1.id,
            mac: arg.mac,
        });
    }
    Ok(nics)
}

impl FirstStartArgs {
    fn cloud_init(self) -> Result<Option<CloudInit>> {
        if self.user.is_none() && self.hostname.is_none() && self.user_data.is_none() {
            return Ok(None);
        }
        let text = |path: PathBuf| -> Result<String> {
            String::from_utf8(noun::read_bytes(&path)?)
                .map_err(|error| Error::file("read text from", path, error))
        };
        let mut ssh_keys = Vec::new();
        for path in self.ssh_keys {
            let keys = text(path)?;
            let keys = keys.lines().map(str::trim);
            ssh_keys.extend(
                keys.filter(|key| !key.is_empty() && !key.starts_with('#'))
                    .map(str::to_owned),
            );
        }
        let password = match self.user_password_file {
            Some(path) => Some(ask::from_file(&path)?),
            None => None,
        };
        Ok(Some(CloudInit {
            hostname: self.hostname.unwrap_or_default(),
            user: self.user.unwrap_or_default(),
            password,
            ssh_keys,
            user_data: self.user_data.map(text).transpose()?.unwrap_or_default(),
        }))
    }
}

impl CreateArgs {
    /// Makes it.
    pub async fn run(self, cx: &Cx) -> Result {
        let spec = VmSpec {
            name: self.name,
            description: self.description,
            cpus: self.cpus,
            memory: self.memory,
            run_policy: self.run_policy.into(),
            disks: disks(&cx.client, &self.disks).await?,
            cdrom: volume::image(&cx.client, self.cdrom.as_deref()).await?,
            nics: nics(&cx.client, &self.nics).await?,
            cloud_init: self.first.cloud_init()?,
            protected: self.protected,
        };
        noun::create::<Vm>(cx, &spec, self.change).await.map(drop)
    }
}

impl SetArgs {
    /// Changes it.
    pub async fn run(self, cx: &Cx) -> Result {
        let (path, vm) = noun::find::<Vm>(&cx.client, &self.vm).await?;
        let mut removed = Vec::new();
        for name in &self.remove_disks {
            let volume = noun::find::<Volume>(&cx.client, name).await?.1.id;
            let disk = VmDisk::Volume { volume };
            if !vm.spec.disks.contains(&disk) {
                return Err(Error::NotFound {
                    what: "disk of this machine",
                    name: name.clone(),
                });
            }
            removed.push(disk);
        }
        for mac in &self.remove_nics {
            if !vm.spec.nics.iter().any(|nic| nic.mac == Some(*mac)) {
                return Err(Error::NotFound {
                    what: "network interface of this machine",
                    name: mac.to_string(),
                });
            }
        }
        let added_disks = disks(&cx.client, &self.add_disks).await?;
        let added_nics = nics(&cx.client, &self.add_nics).await?;
        let cdrom = match self.cdrom.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(name) => Some(volume::image(&cx.client, Some(name)).await?),
        };
        noun::set(cx, &path, vm, self.change, |spec| {
            spec.name = self.name.unwrap_or(spec.name.clone());
            spec.cpus = self.cpus.unwrap_or(spec.cpus);
            spec.memory = self.memory.unwrap_or(spec.memory);
            spec.run_policy = self.run_policy.map_or(spec.run_policy, RunPolicy::from);
            spec.protected = self.protected.unwrap_or(spec.protected);
            if let Some(description) = self.description {
                spec.description = description;
            }
            if let Some(cdrom) = cdrom {
                spec.cdrom = cdrom;
            }
            spec.disks.retain(|disk| !removed.contains(disk));
            spec.disks.extend(added_disks);
            let gone = |nic: &VmNic| nic.mac.is_some_and(|mac| self.remove_nics.contains(&mac));
            spec.nics.retain(|nic| !gone(nic));
            spec.nics.extend(added_nics);
        })
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_read_as_they_are_typed() {
        let new = |size, pool: Option<&str>, image: Option<&str>| {
            Ok(DiskArg::New {
                size: Bytes::gib(size),
                pool: pool.map(str::to_owned),
                image: image.map(str::to_owned),
            })
        };
        assert_eq!("20G".parse(), new(20, None, None));
        assert_eq!(
            "size=20GiB,image=debian-13".parse(),
            new(20, None, Some("debian-13"))
        );
        assert_eq!("pool=fast, 8G".parse(), new(8, Some("fast"), None));
        assert_eq!("volume=data".parse(), Ok(DiskArg::Volume("data".into())));
        for bad in [
            "",
            "pool=fast",
            "volume=data,size=1G",
            "size=x",
            "colour=red",
        ] {
            assert!(bad.parse::<DiskArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn interfaces_are_read_as_they_are_typed() {
        let nic: NicArg = "default,mac=52:54:00:12:34:56".parse().unwrap();
        assert_eq!(nic.network, "default");
        assert!(nic.mac.is_some());
        assert!("network=lan".parse::<NicArg>().is_ok());
        for bad in [
            "",
            "mac=52:54:00:12:34:56",
            "lan,mac=01:00:00:00:00:00",
            "lan,vlan=3",
        ] {
            assert!(bad.parse::<NicArg>().is_err(), "{bad}");
        }
    }
}
