//! Load over time, of nodes and of virtual machines: a table of the newest sample beside what the stretch came to, or
//! the whole stretch as JSON.

use ashlar_api::metrics::{Sample, Series, VmSample};
use ashlar_api::{Bytes, Timestamp};
use clap::Args;
use serde::de::DeserializeOwned;

use super::error::Result;
use super::noun::Cx;
use super::output::{self, Format, Look};

/// How far back.
#[derive(Args, Clone, Debug)]
pub struct RangeArgs {
    /// How far back: the last hour, every five seconds, or the last day, every five minutes
    #[arg(long, value_parser = ["hour", "day"], default_value = "hour")]
    range: String,
}

/// What is told of a sample: processors (a share), memory (bytes), and bytes per second.
const FIGURES: [&str; 6] = ["CPU", "memory", "received", "sent", "read", "written"];

/// A sample of either kind.
pub trait Load: DeserializeOwned {
    /// When it was taken.
    fn at(&self) -> Timestamp;
    /// Its values, in the order of [`FIGURES`].
    fn values(&self) -> [f64; FIGURES.len()];
}

impl Load for Sample {
    fn at(&self) -> Timestamp {
        self.at
    }
    fn values(&self) -> [f64; FIGURES.len()] {
        let rates = [self.net_rx, self.net_tx, self.disk_read, self.disk_write];
        values(self.cpu, self.memory_used, rates)
    }
}

impl Load for VmSample {
    fn at(&self) -> Timestamp {
        self.at
    }
    fn values(&self) -> [f64; FIGURES.len()] {
        let rates = [self.net_rx, self.net_tx, self.disk_read, self.disk_write];
        values(self.cpu, self.memory, rates)
    }
}

fn values(cpu: f32, memory: Bytes, rates: [u64; 4]) -> [f64; FIGURES.len()] {
    let [received, sent, read, written] = rates.map(|rate| rate as f64);
    [
        f64::from(cpu),
        memory.0 as f64,
        received,
        sent,
        read,
        written,
    ]
}

fn said(figure: usize, value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it was made of values of this type"
    )]
    let bytes = Bytes(value as u64);
    match figure {
        0 => format!("{:.0} %", value * 100.0),
        1 => bytes.to_string(),
        _ => format!("{bytes}/s"),
    }
}

fn told<L: Load>(series: &Series<L>, look: &Look) -> String {
    let Some(newest) = series.samples.last() else {
        return "No load was seen in this time.\n".to_owned();
    };
    let all: Vec<_> = series.samples.iter().map(Load::values).collect();
    let rows = FIGURES.iter().enumerate().map(|(figure, name)| {
        let of = || all.iter().map(move |values| values[figure]);
        let average = of().sum::<f64>() / all.len() as f64;
        let highest = of().fold(0.0, f64::max);
        vec![
            (*name).to_owned(),
            said(figure, newest.values()[figure]),
            said(figure, average),
            said(figure, highest),
        ]
    });
    let table = output::table(&["load", "newest", "average", "highest"], rows.collect());
    let at = look.time(newest.at());
    let (count, step) = (all.len(), series.step);
    format!("{table}\nThe newest is of {at}; {count} samples, one every {step} s.\n")
}

/// Shows the load of the object at `path`.
pub async fn show<L: Load>(cx: &Cx, path: &str, range: &RangeArgs) -> Result {
    let path = format!("{path}/metrics?range={}", range.range);
    let answer = cx.client.get(&path).await?;
    match cx.look.format {
        Format::Json => output::json(&answer.body),
        Format::Table => output::print(&told::<L>(&answer.read()?, &cx.look)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stands_beside_what_the_stretch_came_to() {
        let look = Look {
            zone: jiff::tz::TimeZone::UTC,
            ..Look::new(Format::Table)
        };
        let sample = |second: i64, cpu: f32, rate: u64| VmSample {
            at: Timestamp::from_second(second).unwrap(),
            cpu,
            memory: Bytes::mib(512),
            net_rx: rate,
            net_tx: 0,
            disk_read: 0,
            disk_write: rate << 10,
        };
        let series = Series {
            step: 5,
            samples: vec![sample(0, 0.75, 3072), sample(5, 0.25, 1024)],
        };
        insta::assert_snapshot!(told(&series, &look), @r"
        LOAD       NEWEST    AVERAGE   HIGHEST
        CPU        25 %      50 %      75 %
        memory     512 MiB   512 MiB   512 MiB
        received   1 KiB/s   2 KiB/s   3 KiB/s
        sent       0 B/s     0 B/s     0 B/s
        read       0 B/s     0 B/s     0 B/s
        written    1 MiB/s   2 MiB/s   3 MiB/s

        The newest is of 1970-01-01 00:00:05; 2 samples, one every 5 s.
        ");
        let none = Series::<VmSample> {
            step: 5,
            samples: Vec::new(),
        };
        assert_eq!(told(&none, &look), "No load was seen in this time.\n");
    }
}
