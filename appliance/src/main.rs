//! The appliance: one binary, whose role follows from how it is called.
//!
//! ```text
//!   process 1              init: mount, supervise, reap, end      (init/)
//!   ashlar supervisor      everything else                        (supervisor/)
//!   dhcp-event …           what the DHCP client calls             (network/dhcp.rs)
//!   ashlar <noun> <verb>   the command line, on any Linux         (cli/)
//! ```

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
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        init::run();
    }
    let role = std::env::args().nth(1);
    match role.as_deref() {
        Some("supervisor") => supervisor::main(),
        _ => ExitCode::from(2),
    }
}
