//! `ashlar certificate`: what the appliance proves itself with.
//!
//! Whoever trusts the old certificate by its fingerprint would be locked out by
//! a new one; so what this client keeps is changed with it.

use std::path::PathBuf;

use ashlar_api::certificate::{Certificate, CertificateReplace};
use ashlar_api::endpoint;
use clap::{Args, Subcommand};
use reqwest::Method;

use super::ask;
use super::client::Answer;
use super::error::{Error, Result};
use super::noun::{Cx, read_bytes};
use super::output::{self, list, yes};
use super::saved::Saved;

/// What can be done with the certificate.
#[derive(Subcommand, Debug)]
pub enum CertificateCommand {
    /// Show the certificate
    Show,
    /// Use another certificate from now on
    Replace(ReplaceArgs),
    /// Make a new certificate of the appliance's own
    Renew {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Another certificate.
#[derive(Args, Debug)]
pub struct ReplaceArgs {
    /// File with the certificate and those that lead to its authority, PEM
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// File with its private key, PEM, without a passphrase
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Only say whether it would be accepted
    #[arg(long)]
    dry_run: bool,
}

fn show(cx: &Cx, answer: &Answer) -> Result {
    cx.tell_details(answer, |facts: &Certificate| {
        vec![
            ("SHA-256", facts.fingerprint.clone()),
            ("subject", facts.subject.clone()),
            ("issuer", facts.issuer.clone()),
            ("names", list(&facts.names)),
            ("from", cx.look.time(facts.not_before)),
            ("until", cx.look.time(facts.not_after)),
            ("self-signed", yes(facts.self_signed)),
        ]
    })
}

/// Trusts the new certificate where the old one was trusted by its fingerprint.
fn follow(cx: &Cx, answer: &Answer) -> Result {
    let facts: Certificate = answer.read()?;
    let fingerprint = facts
        .fingerprint
        .parse()
        .map_err(|_| Error::Foreign { status: 200 })?;
    let mut saved = Saved::load()?;
    if let Some(known) = saved.appliances.get_mut(&cx.client.place().to_string())
        && known.fingerprint.is_some()
    {
        known.fingerprint = Some(fingerprint);
        saved.store()?;
    }
    Ok(())
}

impl CertificateCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            CertificateCommand::Show => {
                let answer = cx.client.get(endpoint::CERTIFICATE).await?;
                show(cx, &answer)
            }
            CertificateCommand::Replace(args) => {
                let text = |path: &PathBuf| -> Result<String> {
                    String::from_utf8(read_bytes(path)?)
                        .map_err(|error| Error::file("read PEM text from", path, error))
                };
                let body = CertificateReplace {
                    certificate: text(&args.certificate)?,
                    key: text(&args.key)?,
                };
                let mut request = cx
                    .client
                    .request(Method::PUT, endpoint::CERTIFICATE)
                    .json(&body);
                if args.dry_run {
                    request = request.query(&[("dry_run", "true")]);
                }
                let answer = cx.client.send(request).await?;
                if args.dry_run {
                    output::note("It would be accepted; nothing was changed.");
                } else {
                    follow(cx, &answer)?;
                }
                show(cx, &answer)
            }
            CertificateCommand::Renew { yes } => {
                ask::unless_said(
                    yes,
                    "Make a new certificate? Whoever trusts the old one by its fingerprint must be told.",
                )?;
                let path = format!("{}/renew", endpoint::CERTIFICATE);
                let answer = cx
                    .client
                    .send(cx.client.request(Method::POST, &path))
                    .await?;
                follow(cx, &answer)?;
                show(cx, &answer)
            }
        }
    }
}
