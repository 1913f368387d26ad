//! `ashlar image`: what new disks are filled from, and installation CDs.

use std::path::PathBuf;

use ashlar_api::image::{Image, ImageSource, ImageSpec};
use ashlar_api::{Name, endpoint};
use clap::{Args, Subcommand};

use super::error::Result;
use super::noun::{
    self, ChangeArgs, Cx, DeleteArgs, ListArgs, NameArgs, Noun, ReplaceArgs, object_noun,
};
use super::output::{Look, condition, of, word};
use super::upload;

/// What can be done with images.
#[derive(Subcommand, Debug)]
pub enum ImageCommand {
    /// List images
    List(ListArgs),
    /// Show an image
    Show(NameArgs),
    /// Send an image from this machine; a broken upload goes on where it stopped
    Upload(UploadArgs),
    /// Have the appliance fetch an image
    Fetch(FetchArgs),
    /// Change the name or description of an image
    Set(SetArgs),
    /// Replace all settings of an image
    Replace(ReplaceArgs),
    /// Delete an image
    Delete(DeleteArgs),
}

/// An image to be sent.
#[derive(Args, Debug)]
pub struct UploadArgs {
    /// The file: qcow2, raw, VMDK, VHD, VHDX or ISO
    pub file: PathBuf,
    /// Its name; after the file when absent
    #[arg(long)]
    pub name: Option<Name>,
    /// What is in it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub description: String,
    /// SHA-256 that the file must have; reckoned from the file when absent
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// Do not wait until the image was looked at
    #[arg(long)]
    pub no_wait: bool,
}

/// An image to be fetched.
#[derive(Args, Debug)]
pub struct FetchArgs {
    /// Its name
    name: Name,
    /// Where it is, https:// or http://
    #[arg(long = "from", value_name = "URL")]
    from: String,
    /// What is in it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// SHA-256 that it must have; needed over http://
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// What changes about an image.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Its name or id
    image: String,
    /// Its new name
    #[arg(long)]
    name: Option<Name>,
    /// What is in it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

object_noun!(Image, ImageSpec);

fn format(image: &Image) -> String {
    image.status.format.map(|f| word(&f)).unwrap_or_default()
}

impl Noun for Image {
    const WORD: &'static str = "image";
    const PATH: &'static str = endpoint::IMAGES;
    const COLUMNS: &'static [&'static str] =
        &["name", "state", "format", "size", "disk", "description"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, _: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            word(&self.status.phase),
            format(self),
            self.status.size.to_string(),
            self.status.virtual_size.to_string(),
            self.spec.description.clone(),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        let from = match &self.spec.source {
            ImageSource::Upload { .. } => "upload".to_owned(),
            ImageSource::Url { url } => url.clone(),
        };
        vec![
            ("name", self.spec.name.to_string()),
            ("id", self.id.to_string()),
            ("description", self.spec.description.clone()),
            ("state", word(&self.status.phase)),
            ("condition", condition(&self.status.condition)),
            ("remedy", self.status.condition.remedy.clone()),
            ("format", format(self)),
            ("from", from),
            ("received", of(self.status.received, self.status.size)),
            ("disk at least", self.status.virtual_size.to_string()),
            ("SHA-256", self.status.sha256.clone().unwrap_or_default()),
            ("created", look.time(self.created_at)),
        ]
    }
}

impl ImageCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            ImageCommand::List(args) => noun::list::<Image>(cx, &args).await,
            ImageCommand::Show(args) => noun::show::<Image>(cx, &args).await,
            ImageCommand::Upload(args) => upload::run(cx, args).await,
            ImageCommand::Fetch(args) => {
                let spec = ImageSpec {
                    name: args.name,
                    description: args.description,
                    source: ImageSource::Url { url: args.from },
                    sha256: args.sha256,
                };
                noun::create::<Image>(cx, &spec, args.change)
                    .await
                    .map(drop)
            }
            ImageCommand::Set(args) => {
                let (path, image) = noun::find::<Image>(&cx.client, &args.image).await?;
                noun::set(cx, &path, image, args.change, |spec| {
                    spec.name = args.name.unwrap_or(spec.name.clone());
                    if let Some(description) = args.description {
                        spec.description = description;
                    }
                })
                .await
                .map(drop)
            }
            ImageCommand::Replace(args) => noun::replace::<Image>(cx, &args).await,
            ImageCommand::Delete(args) => noun::delete::<Image>(cx, &args, "").await,
        }
    }
}
