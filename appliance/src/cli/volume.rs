//! `ashlar volume`: the disks of virtual machines.

use ashlar_api::image::Image;
use ashlar_api::pool::Pool;
use ashlar_api::volume::{Volume, VolumeSpec};
use ashlar_api::{Bytes, ImageId, Name, PoolId, endpoint};
use clap::{Args, Subcommand};

use super::client::Client;
use super::error::{Error, Result};
use super::noun::{
    self, ChangeArgs, Cx, DeleteArgs, ListArgs, NameArgs, Noun, ReplaceArgs, object_noun,
};
use super::output::{Look, condition, of, word};

/// What can be done with volumes.
#[derive(Subcommand, Debug)]
pub enum VolumeCommand {
    /// List volumes
    List(ListArgs),
    /// Show a volume
    Show(NameArgs),
    /// Make a volume, empty or filled from an image
    Create(CreateArgs),
    /// Change a volume; it can grow, never shrink
    Set(SetArgs),
    /// Replace all settings of a volume
    Replace(ReplaceArgs),
    /// Delete a volume and what is on it
    Delete(DeleteArgs),
}

/// A new volume.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Its name
    name: Name,
    /// Its size, such as 20G
    #[arg(short, long)]
    size: Bytes,
    /// The pool it is cut from; needed when there are several
    #[arg(short, long)]
    pool: Option<String>,
    /// The image it is filled from
    #[arg(short, long)]
    image: Option<String>,
    /// What it is for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// What changes about a volume.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Its name or id
    volume: String,
    /// Its new name
    #[arg(long)]
    name: Option<Name>,
    /// Its new size, such as 40G
    #[arg(short, long)]
    size: Option<Bytes>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

object_noun!(Volume, VolumeSpec);

impl Noun for Volume {
    const WORD: &'static str = "volume";
    const PATH: &'static str = endpoint::VOLUMES;
    const RELATED: &'static [&'static str] = &[endpoint::POOLS, endpoint::IMAGES, endpoint::VMS];
    const IN_TABLE: &'static [&'static str] = &[endpoint::POOLS, endpoint::VMS];
    const COLUMNS: &'static [&'static str] = &["name", "state", "size", "used", "pool", "machine"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, look: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            word(&self.status.phase),
            self.spec.size.to_string(),
            self.status.used.to_string(),
            look.name(self.spec.pool),
            look.maybe_name(self.status.vm),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.spec.name.to_string()),
            ("id", self.id.to_string()),
            ("description", self.spec.description.clone()),
            ("state", word(&self.status.phase)),
            ("condition", condition(&self.status.condition)),
            ("remedy", self.status.condition.remedy.clone()),
            ("used", of(self.status.used, self.spec.size)),
            ("pool", look.name(self.spec.pool)),
            ("made from", look.maybe_name(self.spec.image)),
            ("machine", look.maybe_name(self.status.vm)),
            ("created", look.time(self.created_at)),
        ]
    }
}

/// The pool that is meant: the only one when none is named.
pub async fn pool(client: &Client, name: Option<&str>) -> Result<PoolId> {
    if let Some(name) = name {
        return Ok(noun::find::<Pool>(client, name).await?.1.id);
    }
    let pools: Vec<Pool> = client.all(endpoint::POOLS, &[]).await?;
    match pools.as_slice() {
        [pool] => Ok(pool.id),
        [] => Err(Error::failed(
            "there is no pool yet",
            "Make one of free drives: `ashlar drive list`, then `ashlar pool create`.",
        )),
        many => {
            let names: Vec<String> = many.iter().map(Noun::name).collect();
            Err(Error::usage(
                "it is not said which pool is meant",
                format!("Name one of {}.", names.join(", ")),
            ))
        }
    }
}

/// The image that is meant.
pub async fn image(client: &Client, name: Option<&str>) -> Result<Option<ImageId>> {
    match name {
        Some(name) => Ok(Some(noun::find::<Image>(client, name).await?.1.id)),
        None => Ok(None),
    }
}

impl VolumeCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            VolumeCommand::List(args) => noun::list::<Volume>(cx, &args).await,
            VolumeCommand::Show(args) => noun::show::<Volume>(cx, &args).await,
            VolumeCommand::Create(args) => {
                let spec = VolumeSpec {
                    name: args.name,
                    description: args.description,
                    pool: pool(&cx.client, args.pool.as_deref()).await?,
                    size: args.size,
                    image: image(&cx.client, args.image.as_deref()).await?,
                };
                noun::create::<Volume>(cx, &spec, args.change)
                    .await
                    .map(drop)
            }
            VolumeCommand::Set(args) => {
                let (path, volume) = noun::find::<Volume>(&cx.client, &args.volume).await?;
                noun::set(cx, &path, volume, args.change, |spec| {
                    spec.name = args.name.unwrap_or(spec.name.clone());
                    spec.size = args.size.unwrap_or(spec.size);
                    if let Some(description) = args.description {
                        spec.description = description;
                    }
                })
                .await
                .map(drop)
            }
            VolumeCommand::Replace(args) => noun::replace::<Volume>(cx, &args).await,
            VolumeCommand::Delete(args) => {
                noun::delete::<Volume>(cx, &args, "What is on it is lost.").await
            }
        }
    }
}
