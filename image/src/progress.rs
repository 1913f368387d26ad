//! What a person sees while something slow runs: a spinner with the last line of output, or plain lines without a terminal.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

/// Steps can go on side by side; each has a line of its own.
static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// One slow step. Dropping it without [`Step::done`] leaves no "done" line: the error that follows speaks.
pub struct Step {
    bar: ProgressBar,
    title: String,
    started: Instant,
}

impl Step {
    /// Shows the step's title, and from now on how long it has taken.
    pub fn start(title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = LINES.add(ProgressBar::no_length());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} ({elapsed}) {wide_msg:.dim}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(title.clone());
        bar.enable_steady_tick(Duration::from_millis(200));
        if bar.is_hidden() {
            eprintln!("{title} ...");
        }
        Self {
            bar,
            title,
            started: Instant::now(),
        }
    }

    /// Shows the newest line of what is going on.
    pub fn say(&self, line: &str) {
        self.bar.set_message(line.trim().to_owned());
    }

    /// Ends the step and says what came of it.
    pub fn done(self, outcome: &str) {
        let took = self.started.elapsed();
        let took = if took.as_secs() < 60 {
            format!("{:.1} s", took.as_secs_f64())
        } else {
            HumanDuration(took).to_string()
        };
        self.bar.finish_and_clear();
        let gap = if outcome.is_empty() { "" } else { ": " };
        LINES.suspend(|| eprintln!("{}{gap}{outcome} ({took})", self.title));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A size in MiB with one digit, as sizes of images are compared.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
