//! `ashlar fault`: what is wrong now, and what to do about it.

use ashlar_api::fault::Fault;
use ashlar_api::{Page, endpoint};
use clap::Subcommand;

use super::error::Result;
use super::noun::{Cx, ListArgs};
use super::output::{self, Format, Look, word};

/// What can be done with faults.
#[derive(Subcommand, Debug)]
pub enum FaultCommand {
    /// List what is wrong now
    List(ListArgs),
}

fn story(fault: &Fault, look: &Look) -> String {
    let subject = fault
        .subject
        .as_ref()
        .map(|subject| format!("{} {}", word(&subject.kind), subject.name));
    output::details(&[
        (word(&fault.severity).as_str(), fault.title.clone()),
        ("where", subject.unwrap_or_default()),
        ("since", look.time(fault.since)),
        ("detail", fault.detail.clone()),
        ("remedy", fault.remedy.clone()),
    ])
}

impl FaultCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        let FaultCommand::List(args) = self;
        let query: Vec<_> = args.name.into_iter().map(|name| ("name", name)).collect();
        let pages = cx.client.pages(endpoint::FAULTS, &query).await?;
        if cx.look.format == Format::Json {
            return output::json(&super::noun::joined(&pages)?);
        }
        let mut stories = Vec::new();
        for page in pages {
            let page: Page<Fault> = page.read()?;
            stories.extend(page.items.iter().map(|fault| story(fault, &cx.look)));
        }
        match stories.is_empty() {
            true => output::print("Nothing is wrong.\n"),
            false => output::print(&stories.join("\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::Timestamp;
    use ashlar_api::event::Severity;
    use ashlar_api::job::{Kind, Subject};

    #[test]
    fn a_fault_is_told_as_a_story() {
        let look = Look {
            zone: jiff::tz::TimeZone::UTC,
            ..Look::new(Format::Table)
        };
        let fault = Fault {
            code: "pool-nearly-full".into(),
            severity: Severity::Warning,
            title: "The pool data is nearly full".into(),
            detail: "18.2 GiB of 20 GiB are used.".into(),
            remedy: "Delete volumes, or add a drive.".into(),
            subject: Some(Subject {
                kind: Kind::Pool,
                id: "x".into(),
                name: "data".into(),
            }),
            since: Timestamp::UNIX_EPOCH,
        };
        insta::assert_snapshot!(story(&fault, &look), @r"
        warning   The pool data is nearly full
        where     pool data
        since     1970-01-01 00:00:00
        detail    18.2 GiB of 20 GiB are used.
        remedy    Delete volumes, or add a drive.
        ");
    }
}
