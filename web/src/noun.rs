//! How each noun of the API is held: where it is listed, what tells its objects
//! apart, and the order a list shows them in.

use ashlar_api::endpoint;
use ashlar_api::fault::Fault;
use ashlar_api::image::Image;
use ashlar_api::job::Job;
use ashlar_api::network::{Link, Network};
use ashlar_api::node::Node;
use ashlar_api::pool::{Drive, Pool};
use ashlar_api::service::Service;
use ashlar_api::user::{Session, Token, User};
use ashlar_api::vm::Vm;
use ashlar_api::volume::Volume;

use crate::collection::Noun;

macro_rules! nouns {
    ($($type:ty, $path:ident, $single:literal, |$object:ident| $key:expr, $order:expr;)*) => {
        $(impl Noun for $type {
            const PATH: &'static str = endpoint::$path;
            const SINGLE: bool = $single;
            fn key(&self) -> String {
                let $object = self;
                $key
            }
            fn order(&self) -> String {
                let $object = self;
                $order
            }
        })*
    };
}

fn lower(name: &ashlar_api::Name) -> String {
    name.as_str().to_lowercase()
}

nouns! {
    Vm, VMS, true, |o| o.id.to_string(), lower(&o.spec.name);
    Volume, VOLUMES, true, |o| o.id.to_string(), lower(&o.spec.name);
    Pool, POOLS, true, |o| o.id.to_string(), lower(&o.spec.name);
    Image, IMAGES, true, |o| o.id.to_string(), lower(&o.spec.name);
    Network, NETWORKS, true, |o| o.id.to_string(), lower(&o.spec.name);
    Node, NODES, true, |o| o.id.to_string(), lower(&o.spec.name);
    User, USERS, true, |o| o.id.to_string(), lower(&o.spec.name);
    Token, TOKENS, false, |o| o.id.to_string(), lower(&o.spec.name);
    Session, SESSIONS, false, |o| o.id.to_string(), format!("{:020}", i64::MAX - o.created_at.as_second());
    Job, JOBS, true, |o| o.id.to_string(), format!("{:020}", i64::MAX - o.created_at.as_millisecond());
    Drive, DRIVES, false, |o| o.id.clone(), o.name.clone();
    Link, LINKS, false, |o| o.name.clone(), o.name.clone();
    Service, SERVICES, false, |o| o.name.clone(), o.name.clone();
    Fault, FAULTS, false, |o| fault_key(o), fault_order(o);
}

fn fault_key(fault: &Fault) -> String {
    let subject = fault
        .subject
        .as_ref()
        .map(|s| s.id.as_str())
        .unwrap_or_default();
    format!("{}:{subject}", fault.code)
}

// The worst first, then the oldest.
fn fault_order(fault: &Fault) -> String {
    let rank = match fault.severity {
        ashlar_api::event::Severity::Critical => 0,
        ashlar_api::event::Severity::Warning => 1,
        ashlar_api::event::Severity::Info => 2,
    };
    format!("{rank}{:020}", fault.since.as_second())
}
