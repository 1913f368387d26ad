//! `ashlar pool`: storage pools.
//!
//! A drive that holds anything is used only if it is named a second time with
//! `--erase`, and after what is on it was shown and asked about.

use ashlar_api::pool::{Drive, DriveUsage, Pool, PoolCreate, PoolSpec};
use ashlar_api::{Name, endpoint};
use clap::{Args, Subcommand};

use super::error::{Error, Result};
use super::noun::{self, ChangeArgs, Cx, DeleteArgs, ListArgs, NameArgs, Noun};
use super::output::{Look, condition, list, of, share};
use super::{ask, drive};

/// What can be done with pools.
#[derive(Subcommand, Debug)]
pub enum PoolCommand {
    /// List pools
    List(ListArgs),
    /// Show a pool
    Show(NameArgs),
    /// Make a pool of drives
    Create(CreateArgs),
    /// Delete an empty pool
    Delete(DeleteArgs),
}

/// A new pool.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Its name
    name: Name,
    /// A drive, by name (such as sdb) or id; repeat for several
    #[arg(short, long = "drive", value_name = "DRIVE", required = true)]
    drives: Vec<String>,
    /// A drive of the pool whose present content may be lost; repeat for several
    #[arg(long, value_name = "DRIVE")]
    erase: Vec<String>,
    /// Do not ask before erasing
    #[arg(short, long)]
    yes: bool,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

impl Noun for Pool {
    const WORD: &'static str = "pool";
    const PATH: &'static str = endpoint::POOLS;
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "condition",
        "used",
        "size",
        "promised",
        "volumes",
        "drives",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, _: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            condition(&self.status.condition),
            self.status.used.to_string(),
            self.status.size.to_string(),
            self.status.promised.to_string(),
            self.status.volumes.to_string(),
            self.spec.drives.len().to_string(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.spec.name.to_string()),
            ("id", self.id.to_string()),
            ("condition", condition(&self.status.condition)),
            ("remedy", self.status.condition.remedy.clone()),
            ("used", of(self.status.used, self.status.size)),
            ("promised", self.status.promised.to_string()),
            ("metadata", share(self.status.metadata_used)),
            ("volumes", self.status.volumes.to_string()),
            ("drives", list(&self.spec.drives)),
            (
                "may lose",
                format!("{} drives", self.status.failures_survived),
            ),
            ("volume group", self.status.volume_group.clone()),
            ("created", look.time(self.created_at)),
        ]
    }
}

impl PoolCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            PoolCommand::List(args) => noun::list::<Pool>(cx, &args).await,
            PoolCommand::Show(args) => noun::show::<Pool>(cx, &args).await,
            PoolCommand::Create(args) => create(cx, args).await,
            PoolCommand::Delete(args) => noun::delete::<Pool>(cx, &args, "").await,
        }
    }
}

/// The drive that is meant by a name, a path or an id.
fn pick<'a>(drives: &'a [Drive], wanted: &str) -> Result<&'a Drive> {
    let short = wanted.strip_prefix("/dev/").unwrap_or(wanted);
    drives
        .iter()
        .find(|drive| drive.id == wanted || drive.name == short)
        .ok_or_else(|| Error::NotFound {
            what: "drive",
            name: wanted.to_owned(),
        })
}

fn wanted(drives: &[Drive], names: &[String]) -> Result<Vec<String>> {
    names
        .iter()
        .map(|name| pick(drives, name).map(|drive| drive.id.clone()))
        .collect()
}

async fn create(cx: &Cx, args: CreateArgs) -> Result {
    let drives: Vec<Drive> = cx.client.all(endpoint::DRIVES, &[]).await?;
    let body = PoolCreate {
        spec: PoolSpec {
            name: args.name,
            drives: wanted(&drives, &args.drives)?,
        },
        erase: wanted(&drives, &args.erase)?,
    };
    let doomed: Vec<String> = body
        .erase
        .iter()
        .filter_map(|id| drives.iter().find(|drive| drive.id == *id))
        .filter(|drive| drive.usage != DriveUsage::Free)
        .map(|seen| {
            let content = match seen.content.as_str() {
                "" => drive::usage(seen, &cx.look),
                content => content.to_owned(),
            };
            format!("{} ({}, {content})", seen.name, seen.size)
        })
        .collect();
    if !doomed.is_empty() && !args.change.dry_run {
        let question = format!("Erase everything on {}?", doomed.join(" and "));
        ask::unless_said(args.yes, &question)?;
    }
    noun::create::<Pool>(cx, &body, args.change).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::Bytes;
    use ashlar_api::pool::Media;

    #[test]
    fn drives_are_found_by_what_people_call_them() {
        let drives = [Drive {
            id: "wwn-0x5000".into(),
            name: "sdb".into(),
            model: String::new(),
            serial: String::new(),
            bus: "sata".into(),
            size: Bytes::gib(20),
            media: Media::Hdd,
            usage: DriveUsage::Free,
            content: String::new(),
        }];
        for name in ["sdb", "/dev/sdb", "wwn-0x5000"] {
            assert_eq!(pick(&drives, name).unwrap().id, "wwn-0x5000");
        }
        assert_eq!(pick(&drives, "sdc").unwrap_err().status(), 4);
    }
}
