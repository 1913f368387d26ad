//! Tests of the state as a whole; each file says what it holds on to.

mod crash;
mod figures;
mod golden;
mod machines;
mod property;
mod repair;
mod rules;
mod sample;
mod store;
mod suite;

use std::io::Write;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::apply;
use super::command::{Command, Proposal, Verdict};
use super::migrate::{Durability, STATE};
use super::raft::machine::dump;
use ashlar_api::job::Kind;

/// A state machine in memory, without a log.
struct Model {
    db: Connection,
    second: i64,
}

impl Model {
    fn new() -> Model {
        let db = STATE
            .open(std::path::Path::new(":memory:"), Durability::Ordered)
            .expect("opens");
        Model { db, second: 0 }
    }

    /// One that furnished commands went through.
    fn furnished() -> Model {
        let mut model = Model::new();
        for command in sample::furnished() {
            model.accept(command);
        }
        model
    }

    /// Applies a command, a second after the one before.
    fn apply(&mut self, command: Command) -> (Verdict, Vec<(Kind, String)>) {
        self.second += 1;
        let proposal = Proposal {
            by: "admin".to_owned(),
            at: sample::at(self.second),
            command,
        };
        self.apply_proposal(&proposal)
    }

    fn apply_proposal(&mut self, proposal: &Proposal) -> (Verdict, Vec<(Kind, String)>) {
        let transaction = self.db.transaction().expect("a transaction");
        let done = apply::apply(&transaction, proposal).expect("the database works");
        transaction.commit().expect("commits");
        done
    }

    /// Applies a command that no rule forbids.
    #[track_caller]
    fn accept(&mut self, command: Command) -> u64 {
        match self.apply(command.clone()).0 {
            Verdict::Applied { revision } => revision,
            Verdict::Refused { refusal } => panic!("{command:?} was refused: {refusal}"),
        }
    }

    /// Applies a command that a rule forbids; returns how the refusal reads.
    #[track_caller]
    fn refuse(&mut self, command: Command) -> String {
        let before = self.dump();
        let (verdict, changed) = self.apply(command.clone());
        assert_eq!(changed, Vec::new());
        assert_eq!(self.dump(), before, "a refused command changed something");
        match verdict {
            Verdict::Refused { refusal } => refusal.to_string(),
            Verdict::Applied { .. } => panic!("{command:?} was accepted"),
        }
    }

    fn dump(&self) -> Value {
        dump(&self.db).expect("dumps")
    }

    fn record<R: super::schema::Record>(&self, id: R::Id) -> Option<R> {
        let tables = dump(&self.db).expect("dumps");
        let found = tables[R::TABLE].get(id.to_string())?;
        Some(serde_json::from_value(found.clone()).expect("a record"))
    }
}

/// Documents of the objects that changed, `null` for those that are gone.
fn documents(dump: &Value, changed: &[(Kind, String)]) -> Value {
    changed
        .iter()
        .map(|(kind, id)| {
            let kind = serde_json::to_value(kind).expect("a kind");
            let table = kind.as_str().expect("a word");
            json!({ "kind": table, "id": id, "document": dump[table].get(id) })
        })
        .collect()
}

/// A small file system in memory; gone with the value.
pub struct Small(tempfile::TempDir);

impl Small {
    /// None without the right to mount, and then it says that the test is left out. Root must have it, so that nothing is
    /// left out where all tests are run.
    pub fn new(mib: u32) -> Option<Small> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={mib}M");
        let mounted = nix::mount::mount(
            Some("small"),
            folder.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(options.as_str()),
        );
        if let Err(errno) = mounted {
            assert!(
                errno == nix::errno::Errno::EPERM && !nix::unistd::geteuid().is_root(),
                "cannot mount a small file system: {errno}"
            );
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Not by a macro: those write into what is shown of failed tests only.
            let said = writeln!(std::io::stderr(), "LEFT OUT, needs root: {test}");
            said.expect("written");
            return None;
        }
        Some(Small(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
