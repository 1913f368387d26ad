//! The appliance: one binary, whose role follows from how it is called.
//!
//! All of it is this library, so that it can be compiled while the console is; `main.rs` puts the console in.
//!
//! ```text
//!   process 1              init: mount, supervise, reap, end      (init/)
//!   ashlar supervisor      everything else                        (supervisor/)
//!   dhcp-event …           what the DHCP client calls             (network/dhcp.rs)
//!   ashlar <noun> <verb>   the command line, on any Linux         (cli/)
//! ```

mod cli;
mod hardware;
mod health;
mod http;
mod init;
mod network;
mod reconcile;
mod screen;
mod service;
mod state;
mod storage;
mod supervisor;
mod sys;
mod update;
mod vm;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub use http::assets::Console;

/// Plays the role that this process was called for.
pub fn main(console: Console) -> ExitCode {
    if std::process::id() == 1 {
        init::run();
    }
    let mut arguments = std::env::args_os();
    // The DHCP client can be given a program, but no arguments for it: it calls a link of that name.
    let called = arguments.next().unwrap_or_default();
    let role = arguments.next();
    if Path::new(&called).file_name() == Some(OsStr::new(network::dhcp::HOOK)) {
        return dhcp_event(role.as_deref());
    }
    match role.as_deref().and_then(OsStr::to_str) {
        Some("supervisor") => supervisor::main(console),
        Some(network::dhcp::HOOK) => dhcp_event(arguments.next().as_deref()),
        _ => cli::main(),
    }
}

/// The role of the DHCP client's script: notes one event.
fn dhcp_event(event: Option<&OsStr>) -> ExitCode {
    match network::dhcp::event(&event.unwrap_or_default().to_string_lossy()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The client's log is the only place to tell it; that it can not be told there either changes nothing.
            let _ = writeln!(std::io::stderr(), "{}", reconcile::chain(&error));
            ExitCode::FAILURE
        }
    }
}
