//! `ashlar api`: any request, as it is written in the API's document.

use std::path::PathBuf;

use ashlar_api::endpoint;
use clap::{Args, ValueEnum};
use reqwest::Method;

use super::error::{Error, Result};
use super::noun::{Cx, read_bytes};
use super::output;

/// A request.
#[derive(Args, Debug)]
pub struct ApiArgs {
    /// The method
    #[arg(ignore_case = true)]
    method: MethodArg,
    /// The address: /api/v1/vms, or /vms for short, with a query if wanted
    path: String,
    /// File with the body; `-` is the input
    #[arg(short, long, value_name = "FILE", conflicts_with = "data")]
    file: Option<PathBuf>,
    /// The body, when nothing in it is secret
    #[arg(short, long, value_name = "JSON")]
    data: Option<String>,
    /// A further header, such as 'If-Match: "17"'; repeat for several
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
}

/// The methods of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum MethodArg {
    /// Read
    Get,
    /// Create or act
    Post,
    /// Replace
    Put,
    /// Remove
    Delete,
}

impl From<MethodArg> for Method {
    fn from(method: MethodArg) -> Self {
        match method {
            MethodArg::Get => Method::GET,
            MethodArg::Post => Method::POST,
            MethodArg::Put => Method::PUT,
            MethodArg::Delete => Method::DELETE,
        }
    }
}

/// The whole address.
fn whole(path: &str) -> String {
    let path = path.trim_start_matches('/');
    if format!("/{path}").starts_with(endpoint::BASE) {
        return format!("/{path}");
    }
    format!("{}/{path}", endpoint::BASE)
}

impl ApiArgs {
    /// Sends it, and writes the answer as it comes.
    pub async fn run(self, cx: &Cx) -> Result {
        let mut request = cx.client.request(self.method.into(), &whole(&self.path));
        let body = match (self.file, self.data) {
            (Some(file), _) => Some(read_bytes(&file)?),
            (None, data) => data.map(String::into_bytes),
        };
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body);
        }
        for header in &self.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Error::usage(
                    format!("`{header}` is no header"),
                    "Write it as `Name: value`.",
                )
            })?;
            request = request.header(name.trim(), value.trim());
        }
        let answer = cx.client.send(request).await?;
        let kind = answer.headers.get("content-type");
        match kind.and_then(|kind| kind.to_str().ok()) {
            Some(kind) if !kind.contains("json") => output::write(&answer.body),
            _ => output::json(&answer.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_addresses_are_completed() {
        assert_eq!(whole("/vms?limit=1"), "/api/v1/vms?limit=1");
        assert_eq!(whole("vms"), "/api/v1/vms");
        assert_eq!(whole("/api/v1/vms"), "/api/v1/vms");
    }
}
