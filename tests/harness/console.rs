//! The serial line and the screen of a talking machine, as programs use them that open them again whenever they break.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;

use crate::api::Api;
use crate::cd;
use crate::screen::Screen;
use crate::serial::Serial;

/// How long is waited before what can not be opened is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether to go on.
const LOOK: Duration = Duration::from_millis(500);

/// How often each could be used after it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The serial line.
    pub serial: usize,
    /// The screen.
    pub screen: usize,
}

/// The consoles of a machine that runs [`cd::talker`].
pub struct Consoles {
    api: Api,
    vm: String,
    opened: watch::Sender<Opened>,
}

impl Consoles {
    /// Those of a machine.
    pub fn new(api: &Api, vm: &str) -> Self {
        Consoles {
            api: api.clone(),
            vm: vm.to_owned(),
            opened: watch::Sender::default(),
        }
    }

    /// How often they were opened.
    pub fn opened(&self) -> watch::Receiver<Opened> {
        self.opened.subscribe()
    }

    /// Uses the serial line until told to stop: what it shows is whole each time, from the guest's first word on, and
    /// what was seen once does not change.
    pub async fn serial(&self, stop: &watch::Receiver<bool>) -> Result<()> {
        let mut before = String::new();
        let mut number = 0;
        while !*stop.borrow() {
            let Ok(mut line) = Serial::open(&self.api, &self.vm).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            number += 1;
            let said = format!("this is session {number}");
            let mut broken = line.send(&format!("{said}\n")).await.is_err();
            let answer = format!("heard {said}");
            let mut heard = false;
            while !broken && !*stop.borrow() {
                if let Ok(read) = tokio::time::timeout(LOOK, line.read()).await {
                    broken = read.is_err();
                }
                unchanged(&before, &line.seen)
                    .with_context(|| format!("session {number} of the serial line"))?;
                if !heard && line.seen.contains(&answer) {
                    heard = true;
                    self.opened.send_modify(|opened| opened.serial += 1);
                }
            }
            if line.seen.len() > before.len() {
                before = line.seen;
            }
        }
        Ok(())
    }

    /// Uses the screen until told to stop.
    pub async fn screen(&self, stop: &watch::Receiver<bool>) -> Result<()> {
        let mut stop = stop.clone();
        while !*stop.borrow() {
            if let Ok(mut screen) = Screen::open(&self.api, &self.vm).await
                && screen.look().await.is_ok()
            {
                self.opened.send_modify(|opened| opened.screen += 1);
                // Whichever comes first ends it, and neither is of use any more.
                tokio::select! {
                    () = screen.over() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// What was seen before comes again, and every line once.
fn unchanged(before: &str, now: &str) -> Result<()> {
    let common = before.len().min(now.len());
    ensure!(
        before.as_bytes()[..common] == now.as_bytes()[..common],
        "it was another before: {before:?}\nnow {now:?}"
    );
    cd::lines(now).map(drop)
}
