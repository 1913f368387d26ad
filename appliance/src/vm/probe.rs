//! A virtual machine made on trial, to learn whether this node can run any: QEMU, its firmware, KVM.
//!
//! It has no disk and no network, and nothing of it stays. Where the node's own processor is emulated it is made and not
//! started: each instruction of a guest is a burden there that proves nothing more.

use std::time::Duration;

use serde_json::{Value, json};

use super::place::{Place, emulated_cpu};
use crate::sys::command::{CommandError, Tool};

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Why no machine runs.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no firmware.
    #[error("there is no UEFI firmware for machines on this node")]
    Firmware,
    /// QEMU did not start, or failed.
    #[error("QEMU does not run")]
    Qemu(#[source] CommandError),
    /// It runs, and not as it should.
    #[error("{0}")]
    Wrong(&'static str),
}

/// Makes one, and ends it.
pub async fn probe(place: &Place) -> Result<(), ProbeError> {
    let firmware = place.firmware().ok_or(ProbeError::Firmware)?;
    let kvm = place.kvm();
    let emulated = emulated_cpu();
    let mut commands = vec![
        json!({"execute": "qmp_capabilities"}),
        json!({"execute": "query-kvm"}),
    ];
    if !emulated {
        commands.push(json!({"execute": "cont"}));
    }
    commands.push(json!({"execute": "query-status"}));
    commands.push(json!({"execute": "quit"}));
    let lines: String = commands
        .iter()
        .map(|command| format!("{command}\n"))
        .collect();
    let code = format!(
        "if=pflash,unit=0,format=raw,readonly=on,file={}",
        firmware.code.display()
    );
    let accelerator = if kvm { "kvm" } else { "tcg" };
    // As in `arguments`.
    let cpu = match (emulated, kvm) {
        (true, _) => "qemu64",
        (false, true) => "host",
        (false, false) => "max",
    };
    let output = Tool::new(&place.program)
        .args(["-nodefaults", "-no-user-config", "-S", "-display", "none"])
        .args([
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ])
        .args(["-machine", "q35,usb=off,smm=off", "-cpu", cpu, "-m", "128"])
        .args(["-accel", accelerator, "-drive", &code, "-qmp", "stdio"])
        .stdin(lines)
        .timeout(LIMIT)
        .run()
        .await
        .map_err(ProbeError::Qemu)?;
    judge(&output.stdout, kvm, !emulated)
}

/// What QEMU answered: the second answer is that about KVM, the last but one that about the machine.
fn judge(said: &str, kvm: bool, started: bool) -> Result<(), ProbeError> {
    let answers: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|mut answer| answer.get_mut("return").map(Value::take))
        .collect();
    let find = |name: &str| {
        answers
            .iter()
            .find_map(|answer| answer.get(name)?.as_bool())
    };
    let running = find("running").ok_or(ProbeError::Wrong("QEMU does not tell of its machine"))?;
    if kvm && find("enabled") != Some(true) {
        return Err(ProbeError::Wrong(
            "QEMU does not use the processor's virtualisation",
        ));
    }
    if started && !running {
        return Err(ProbeError::Wrong("the machine does not run"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from QEMU 10.0.
    const SAID: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "Debian"}, "capabilities": ["oob"]}}
{"return": {}}
{"return": {"enabled": true, "present": true}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}
{"return": {}}
{"return": {"status": "running", "singlestep": false, "running": true}}
{"return": {}}
"#;

    #[test]
    fn hears_whether_a_machine_runs_under_kvm() {
        assert!(judge(SAID, true, true).is_ok());
        let held = SAID.replace("\"running\": true", "\"running\": false");
        assert!(judge(&held, true, false).is_ok());
        assert!(judge(&held, true, true).is_err());
        let slow = SAID.replace("\"enabled\": true", "\"enabled\": false");
        assert!(judge(&slow, true, true).is_err());
        assert!(judge(&slow, false, true).is_ok());
        assert!(judge("", false, false).is_err());
    }

    #[tokio::test]
    async fn a_real_one_is_made_and_gone() {
        let place = Place {
            with_kvm: false,
            ..Place::default()
        };
        if place.firmware().is_none() || !place.program.exists() {
            return;
        }
        probe(&place).await.unwrap();
        let broken = Place {
            program: "/bin/false".into(),
            ..place
        };
        assert!(matches!(probe(&broken).await, Err(ProbeError::Qemu(_))));
    }
}
