//! The binary: the appliance, with the console built in.

use std::process::ExitCode;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Console;

// Cargo sees when an embedded file changes, but not when the first ones come: `cargo image` sets this to something
// that changes with the console.
const _: Option<&str> = option_env!("ASHLAR_CONSOLE_BUILD");

fn main() -> ExitCode {
    ashlar::main(Console::get)
}
