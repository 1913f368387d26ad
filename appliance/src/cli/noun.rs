//! What all nouns have in common: list, show, create, set, replace, delete.
//!
//! Objects are named by people, so every command takes a name; an id does as
//! well. A change carries the revision that was read, so that it never undoes
//! what somebody else did in between.

use std::path::PathBuf;

use ashlar_api::Page;
use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::client::{Answer, Client, at};
use super::error::{Error, Result};
use super::output::{self, Format, Look};
use super::{ask, wait};

/// What a command works with.
#[derive(Clone)]
pub struct Cx {
    /// The API.
    pub client: Client,
    /// How answers are shown.
    pub look: Look,
}

/// An object as it is shown.
pub trait Noun: DeserializeOwned {
    /// What it is called in a sentence.
    const WORD: &'static str;
    /// Where the list is.
    const PATH: &'static str;
    /// Lists of other objects whose names are shown.
    const RELATED: &'static [&'static str] = &[];
    /// Those of them whose names are in the table.
    const IN_TABLE: &'static [&'static str] = Self::RELATED;
    /// The headings of the table.
    const COLUMNS: &'static [&'static str];

    /// Its id.
    fn id(&self) -> String;
    /// Its name.
    fn name(&self) -> String;
    /// Its line in the table.
    fn row(&self, look: &Look) -> Vec<String>;
    /// Everything about it.
    fn details(&self, look: &Look) -> Vec<(&'static str, String)>;
}

/// An object that people can change.
pub trait Wanted: Noun {
    /// What is wanted of it.
    type Spec: Serialize;
    /// The same of this one, to be changed.
    fn into_spec(self) -> Self::Spec;
    /// Its revision.
    fn revision(&self) -> u64;
}

/// Implements what every object of the API has.
macro_rules! object_noun {
    ($type:ty, $spec:ty) => {
        impl $crate::cli::noun::Wanted for $type {
            type Spec = $spec;
            fn into_spec(self) -> $spec {
                self.spec
            }
            fn revision(&self) -> u64 {
                self.revision
            }
        }
    };
}
pub(super) use object_noun;

/// Which objects are listed.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Only those whose name has this in it
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
}

/// Which object is meant.
#[derive(Args, Clone, Debug)]
pub struct NameArgs {
    /// Its name or id
    pub name: String,
}

/// How a change is made.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ChangeArgs {
    /// Only say whether it would be accepted
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until the work is done
    #[arg(long)]
    pub no_wait: bool,
}

/// How an object is replaced.
#[derive(Args, Clone, Debug)]
pub struct ReplaceArgs {
    /// Its name or id
    pub name: String,
    /// File with what is wanted of it, as JSON: `spec` of what `show --output json` gives, or all of that; `-` is the input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// How
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// How an object is removed.
#[derive(Args, Clone, Debug)]
pub struct DeleteArgs {
    /// Its name or id
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl ListArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        self.name
            .iter()
            .map(|name| ("name", name.clone()))
            .collect()
    }
}

impl Cx {
    /// Learns the names of the objects in these lists, for tables.
    pub async fn with_names(&self, lists: &[&str]) -> Result<Look> {
        let mut look = self.look.clone();
        if look.format == Format::Json {
            return Ok(look);
        }
        for list in lists {
            for item in self.client.all::<Value>(list, &[]).await? {
                let name = item["spec"]["name"].as_str().or(item["name"].as_str());
                if let (Some(id), Some(name)) = (item["id"].as_str(), name) {
                    look.names.insert(id.to_owned(), name.to_owned());
                }
            }
        }
        Ok(look)
    }

    /// Shows one object as it was answered.
    pub async fn show<N: Noun>(&self, answer: &Answer) -> Result {
        if self.look.format == Format::Json {
            return output::json(&answer.body);
        }
        let look = self.with_names(N::RELATED).await?;
        let object: N = answer.read()?;
        output::print(&output::details(&object.details(&look)))
    }

    /// Shows JSON, or else a sentence.
    pub fn tell(&self, answer: &Answer, sentence: &str) -> Result {
        match self.look.format {
            Format::Json => output::json(&answer.body),
            Format::Table => output::print(&format!("{}\n", output::plain(sentence))),
        }
    }

    /// Shows an answer that is no object of a list.
    pub fn tell_details<T: DeserializeOwned>(
        &self,
        answer: &Answer,
        lines: impl FnOnce(&T) -> Vec<(&'static str, String)>,
    ) -> Result {
        match self.look.format {
            Format::Json => output::json(&answer.body),
            Format::Table => output::print(&output::details(&lines(&answer.read()?))),
        }
    }
}

/// Shows pages of a list, in the order of the API.
pub async fn print_pages<N: Noun>(cx: &Cx, pages: &[Answer]) -> Result {
    if cx.look.format == Format::Json {
        return output::json(&joined(pages)?);
    }
    let look = cx.with_names(N::IN_TABLE).await?;
    let mut rows = Vec::new();
    for page in pages {
        let page: Page<N> = page.read()?;
        rows.extend(page.items.iter().map(|item| item.row(&look)));
    }
    output::print(&output::table(N::COLUMNS, rows))
}

/// One page as it came; several as one page that holds them all.
pub fn joined(pages: &[Answer]) -> Result<Vec<u8>> {
    if let [page] = pages {
        return Ok(page.body.clone());
    }
    let mut all = Page {
        items: Vec::<Value>::new(),
        total: 0,
        next: None,
    };
    for page in pages {
        let page: Page<Value> = page.read()?;
        all.total = page.total;
        all.items.extend(page.items);
    }
    serde_json::to_vec(&all).map_err(|error| Error::Prepare("write JSON", error.into()))
}

/// The list of a noun.
pub async fn list<N: Noun>(cx: &Cx, args: &ListArgs) -> Result {
    let pages = cx.client.pages(N::PATH, &args.query()).await?;
    print_pages::<N>(cx, &pages).await
}

/// The id of the object that is meant.
pub async fn id_of<N: Noun>(client: &Client, name: &str) -> Result<String> {
    if Uuid::try_parse(name).is_ok() {
        return Ok(name.to_owned());
    }
    let object = by_name::<N>(client, name).await?;
    Ok(object.id())
}

async fn by_name<N: Noun>(client: &Client, name: &str) -> Result<N> {
    let items: Vec<N> = client.all(N::PATH, &[("name", name.to_owned())]).await?;
    let mut found: Vec<N> = items
        .into_iter()
        .filter(|item| item.name().eq_ignore_ascii_case(name))
        .collect();
    match found.pop() {
        Some(_) if !found.is_empty() => Err(Error::failed(
            format!("several objects are called `{name}`"),
            "Name the one that is meant by its id; `list --output json` shows the ids.",
        )),
        Some(object) => Ok(object),
        None => Err(Error::NotFound {
            what: N::WORD,
            name: name.to_owned(),
        }),
    }
}

/// An object and its address.
pub async fn find<N: Noun>(client: &Client, name: &str) -> Result<(String, N)> {
    if Uuid::try_parse(name).is_ok() {
        let path = at(N::PATH, name);
        let object = client.get(&path).await?.read()?;
        return Ok((path, object));
    }
    let object = by_name::<N>(client, name).await?;
    Ok((at(N::PATH, &object.id()), object))
}

/// One object.
pub async fn show<N: Noun>(cx: &Cx, args: &NameArgs) -> Result {
    let id = id_of::<N>(&cx.client, &args.name).await?;
    let answer = cx.client.get(&at(N::PATH, &id)).await?;
    cx.show::<N>(&answer).await
}

/// One thing that only has a list.
pub async fn show_seen<N: Noun>(cx: &Cx, args: &NameArgs) -> Result {
    let items: Vec<Value> = cx.client.all(N::PATH, &[]).await?;
    for item in items {
        let object: N =
            serde_json::from_value(item.clone()).map_err(|source| Error::Unreadable {
                what: format!("GET {}", N::PATH),
                source,
            })?;
        if object.name() == args.name || object.id() == args.name {
            if cx.look.format == Format::Json {
                return output::json(item.to_string().as_bytes());
            }
            let look = cx.with_names(N::RELATED).await?;
            return output::print(&output::details(&object.details(&look)));
        }
    }
    Err(Error::NotFound {
        what: N::WORD,
        name: args.name.clone(),
    })
}

/// Sends a change, waits for its work, and shows the object as it is then.
async fn change<N: Noun>(
    cx: &Cx,
    request: reqwest::RequestBuilder,
    how: ChangeArgs,
) -> Result<Answer> {
    let request = if how.dry_run {
        request.query(&[("dry_run", "true")])
    } else {
        request
    };
    let answer = cx.client.send(request).await?;
    if how.dry_run {
        output::note("It would be accepted; nothing was changed.");
        cx.show::<N>(&answer).await?;
        return Ok(answer);
    }
    let object: N = answer.read()?;
    let jobs = answer.jobs();
    if how.no_wait || jobs.is_empty() {
        cx.show::<N>(&answer).await?;
        return Ok(answer);
    }
    wait::jobs(cx, &jobs).await?;
    // It can be gone again already; then it is shown as it was made.
    let answer = match cx.client.get(&at(N::PATH, &object.id())).await {
        Err(error) if error.is_not_found() => answer,
        other => other?,
    };
    cx.show::<N>(&answer).await?;
    Ok(answer)
}

/// Makes an object.
pub async fn create<N: Noun>(cx: &Cx, body: &impl Serialize, how: ChangeArgs) -> Result<Answer> {
    let request = cx.client.request(Method::POST, N::PATH).json(body);
    change::<N>(cx, request, how).await
}

/// Changes parts of an object.
pub async fn set<N: Wanted>(
    cx: &Cx,
    path: &str,
    object: N,
    how: ChangeArgs,
    edit: impl FnOnce(&mut N::Spec),
) -> Result<Answer> {
    let revision = object.revision();
    let mut spec = object.into_spec();
    edit(&mut spec);
    let request = cx
        .client
        .request(Method::PUT, path)
        .header("If-Match", format!("\"{revision}\""))
        .json(&spec);
    change::<N>(cx, request, how).await
}

/// Replaces all that is wanted of an object.
pub async fn replace<N: Wanted>(cx: &Cx, args: &ReplaceArgs) -> Result {
    let id = id_of::<N>(&cx.client, &args.name).await?;
    let (spec, revision) = spec_from(read_json(&args.file)?);
    let mut request = cx
        .client
        .request(Method::PUT, &at(N::PATH, &id))
        .json(&spec);
    if let Some(revision) = revision {
        request = request.header("If-Match", format!("\"{revision}\""));
    }
    change::<N>(cx, request, args.change).await.map(drop)
}

/// What is wanted, from a whole object or from the part alone; with the revision of the former.
pub fn spec_from(mut value: Value) -> (Value, Option<u64>) {
    let revision = value["revision"].as_u64();
    match value.get_mut("spec") {
        Some(spec) if revision.is_some() => (spec.take(), revision),
        _ => (value, None),
    }
}

/// JSON from a file or the input.
pub fn read_json(path: &std::path::Path) -> Result<Value> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::file("read JSON from", path, error))
}

/// The bytes of a file or the input.
pub fn read_bytes(path: &std::path::Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == std::path::Path::new("-") {
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|content| bytes = content)
    };
    read.map_err(|error| Error::file("read", path, error))?;
    Ok(bytes)
}

/// Removes an object, after asking.
pub async fn delete<N: Noun>(cx: &Cx, args: &DeleteArgs, warning: &str) -> Result {
    delete_with::<N>(cx, args, &[], warning).await
}

/// Removes an object with what a query says, after asking.
pub async fn delete_with<N: Noun>(
    cx: &Cx,
    args: &DeleteArgs,
    query: &[(&str, String)],
    warning: &str,
) -> Result {
    let (path, object) = find::<N>(&cx.client, &args.name).await?;
    let name = object.name();
    if !args.change.dry_run {
        let question = format!("Delete the {} {name}? {warning}", N::WORD);
        ask::unless_said(args.yes, question.trim())?;
    }
    let mut request = cx.client.request(Method::DELETE, &path).query(query);
    if args.change.dry_run {
        request = request.query(&[("dry_run", "true")]);
    }
    let answer = cx.client.send(request).await?;
    if args.change.dry_run {
        return cx.tell(
            &answer,
            &format!("The {} {name} would be deleted.", N::WORD),
        );
    }
    let jobs = answer.jobs();
    if !args.change.no_wait {
        if jobs.is_empty() && !answer.body.is_empty() {
            wait::gone(cx, &path, &name).await?;
        } else {
            wait::jobs(cx, &jobs).await?;
        }
    }
    let verb = if args.change.no_wait {
        "is being"
    } else {
        "was"
    };
    cx.tell(&answer, &format!("The {} {name} {verb} deleted.", N::WORD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_object_or_its_spec_can_be_given() {
        let spec = json!({ "name": "web", "cpus": 2 });
        assert_eq!(spec_from(spec.clone()), (spec.clone(), None));
        let whole = json!({ "id": "x", "revision": 7, "spec": spec, "status": {} });
        assert_eq!(spec_from(whole), (spec, Some(7)));
    }
}
