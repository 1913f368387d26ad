//! Releases to update to: the program of the image under test as another version, whole or broken on purpose.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ashlar_api::update::Update;
use ashlar_image::build::{self, Program, Release};
use ashlar_image::bundle::{self, About};
use ashlar_image::place::Place;

use crate::api::Api;
use crate::wait;

/// The limit of a trial in tests, in seconds: what does not hold then does not hold at all.
const TRIAL: u32 = 60;
/// How long an update may take, with three attempts that fail.
const CHANGE: std::time::Duration = std::time::Duration::from_secs(600);

/// Makes a bundle of this version, with words for the kernel that break it.
pub fn make(version: &str, words: &[&str]) -> Result<PathBuf> {
    of(Program::Ashlar, version, words)
}

/// Makes a bundle whose first program ends at once: the kernel panics.
pub fn dead(version: &str) -> Result<PathBuf> {
    of(Program::Given("/bin/false".into()), version, &[])
}

fn of(program: Program, version: &str, words: &[&str]) -> Result<PathBuf> {
    let place = Place::find()?;
    let _lock = place.lock()?;
    let limit = format!("ashlar.trial={TRIAL}");
    let words = words.iter().map(|word| (*word).to_owned());
    let release = Release {
        version: version.to_owned(),
        words: words.chain([limit]).collect(),
    };
    let parts = build::parts(&place, &program)?.with(release);
    let about = About {
        from: "0.1.0".parse()?,
        channel: "test".to_owned(),
        notes: format!("Version {version} of a test.\n"),
    };
    let path = crate::results("releases")?.join(format!("ashlar-{version}.ashlar"));
    bundle::make(&place, &parts, &about, &path)?;
    Ok(path)
}

/// Waits until the newest attempt to change the release has ended.
pub async fn ended(api: &Api) -> Result<Update> {
    wait::until("the end of the update", CHANGE, || async {
        let update: Update = api.get("/api/v1/update").await?;
        let attempt = update.attempt.as_ref().context("nothing was tried")?;
        anyhow::ensure!(
            attempt.ended.is_some() && !update.on_trial,
            "it goes on: {attempt:?}"
        );
        Ok::<_, anyhow::Error>(Some(update))
    })
    .await
}
