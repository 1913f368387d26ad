//! The appliance: one binary, whose role follows from how it is called.
//!
//! ```text
//!   process 1              init: mount, supervise, reap, end      (init/)
//!   ashlar supervisor      everything else                        (supervisor.rs)
//!   ashlar <noun> <verb>   the command line, on any Linux         (cli/)
//! ```

mod init;
mod network;
#[cfg(test)]
mod layers;
mod reconcile;
mod screen;
mod state;
mod storage;
mod sys;

fn main() {
    if std::process::id() == 1 {
        init::run();
    }
}
