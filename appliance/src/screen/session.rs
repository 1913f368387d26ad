//! One terminal: raw mode, keys in, drawings out, from plug to unplug.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use ashlar_api::Timestamp;
use nix::fcntl::OFlag;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use tokio::sync::{mpsc, watch};

use super::draw::draw;
use super::facts::Facts;
use super::keys::{self, Key};
use super::plain;
use super::view::{Intent, View};
use crate::sys::readable::Readable;

/// How a terminal is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The screen is drawn all the time.
    FullScreen,
    /// Lines when something changes; the screen when somebody presses Enter, until they leave it.
    LinesFirst,
}

/// A screen on one terminal.
pub struct Session {
    path: PathBuf,
    manner: Manner,
    facts: watch::Receiver<Facts>,
    intents: mpsc::Sender<Intent>,
}

/// What the terminal shows now.
enum Shown {
    Lines {
        said: Vec<String>,
    },
    Screen {
        terminal: Box<Terminal<CrosstermBackend<File>>>,
        view: View,
    },
}

/// How long to wait before a terminal that failed is opened again.
const REOPEN: Duration = Duration::from_secs(10);
/// A terminal that can not be asked is taken to be this large.
const USUAL: Rect = Rect {
    x: 0,
    y: 0,
    width: 80,
    height: 24,
};

impl Session {
    /// A screen on the terminal at `path`.
    pub fn new(
        path: PathBuf,
        manner: Manner,
        facts: watch::Receiver<Facts>,
        intents: mpsc::Sender<Intent>,
    ) -> Self {
        Session {
            path,
            manner,
            facts,
            intents,
        }
    }

    /// Runs for ever; a terminal that fails is opened again.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.show().await {
                tracing::debug!(terminal = %self.path.display(), %error, "the local screen failed");
            }
            if self.facts.has_changed().is_err() {
                return;
            }
            tokio::time::sleep(REOPEN).await;
        }
    }

    async fn show(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits())
            .open(&self.path)?;
        let mut mode = tcgetattr(&file)?;
        cfmakeraw(&mut mode);
        tcsetattr(&file, SetArg::TCSANOW, &mode)?;
        // Drawing goes through a second, blocking description: a slow line must not lose half a picture.
        let out = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(&self.path)?;
        let input = Readable::new(&file)?;
        let mut shown = match self.manner {
            Manner::FullScreen => self.screen(&out)?,
            Manner::LinesFirst => Shown::Lines { said: Vec::new() },
        };
        let mut bytes = [0; 64];
        loop {
            shown = self.refresh(shown, &out)?;
            // Cancel-safe: keys stay in the terminal until `read` returns them, a watch keeps its newest value, the
            // timer is set anew.
            tokio::select! {
                read = input.read(&mut bytes) => match read? {
                    0 => return Ok(()),
                    n => for key in keys::parse(&bytes[..n]) {
                        shown = self.press(shown, key, &out).await?;
                    },
                },
                changed = self.facts.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(until_next_minute()) => {}
            }
        }
    }

    fn screen(&self, out: &File) -> io::Result<Shown> {
        let area = crate::sys::tty::size(out).map_or(USUAL, |(width, height)| Rect {
            width,
            height,
            ..USUAL
        });
        let options = TerminalOptions {
            viewport: Viewport::Fixed(area),
        };
        let mut terminal =
            Terminal::with_options(CrosstermBackend::new(out.try_clone()?), options)?;
        terminal.clear()?;
        terminal.hide_cursor()?;
        Ok(Shown::Screen {
            terminal: Box::new(terminal),
            view: View::Summary,
        })
    }

    async fn press(&self, shown: Shown, key: Key, out: &File) -> io::Result<Shown> {
        match shown {
            Shown::Lines { .. } if key == Key::Enter => self.screen(out),
            Shown::Lines { said } => Ok(Shown::Lines { said }),
            Shown::Screen { mut terminal, view } => {
                if self.manner == Manner::LinesFirst && view == View::Summary && key == Key::Escape
                {
                    terminal.clear()?;
                    terminal.show_cursor()?;
                    return Ok(Shown::Lines { said: Vec::new() });
                }
                let before = std::mem::discriminant(&view);
                let (view, intent) = view.press(key, &self.facts.borrow());
                if before != std::mem::discriminant(&view) {
                    // Drawn as a whole: others write to a serial line too, the kernel for one.
                    terminal.clear()?;
                }
                if let Some(intent) = intent {
                    // A full queue means that the same wish is being fulfilled already.
                    let _ = self.intents.try_send(intent);
                }
                Ok(Shown::Screen { terminal, view })
            }
        }
    }

    fn refresh(&mut self, shown: Shown, mut out: &File) -> io::Result<Shown> {
        let facts = self.facts.borrow_and_update().clone();
        match shown {
            Shown::Lines { said } => {
                let lines = plain::lines(&facts);
                if lines != said && !facts.version.is_empty() {
                    let mut text = String::from("\r\n");
                    for line in &lines {
                        text.push_str(line);
                        text.push_str("\r\n");
                    }
                    if let Some(picture) = plain::picture(&facts)
                        .filter(|_| said.iter().all(|line| !line.starts_with("Claim code")))
                    {
                        for row in picture {
                            text.push_str(&row);
                            text.push_str("\r\n");
                        }
                    }
                    text.push_str("Press Enter for the screen.\r\n");
                    out.write_all(text.as_bytes())?;
                }
                Ok(Shown::Lines { said: lines })
            }
            Shown::Screen { mut terminal, view } => {
                let time = Timestamp::now().strftime("%H:%M UTC").to_string();
                terminal.draw(|frame| draw(frame, &facts, &view, &time))?;
                Ok(Shown::Screen { terminal, view })
            }
        }
    }
}

fn until_next_minute() -> Duration {
    let into = Timestamp::now().as_second().rem_euclid(60);
    Duration::from_secs(u64::try_from(61 - into).unwrap_or(60))
}
