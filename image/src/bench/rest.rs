//! What a node uses while nothing happens, from what its kernel tells.
//!
//! Memory is told in two ways, as both are called "used" elsewhere. What is in use leaves out the cache of files, and takes
//! in files that are kept in memory, among them the root image. What machines can not have takes in as well what the kernel
//! holds back for itself, most of it so that there are huge pages for guests. Both are held against 259 MiB, of which is not
//! written down how they were counted; the Debian that starts beside the image ([`super::reference`]) speaks for the second.
//!
//! The memory of init and supervisor is their `Pss`: a page that several processes share counts in equal parts.

use anyhow::{Context, Result, ensure};

use super::{Figure, figure, in_mebibytes};

/// What a system uses of its memory, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In use, without the cache of files.
    pub used: u64,
    /// What machines can not have.
    pub held: u64,
}

impl Memory {
    /// From `/proc/meminfo` (proc_meminfo(5)).
    pub fn read(text: &str) -> Result<Self> {
        let of = |name: &str| field(text, name);
        let files = of("Buffers")? + of("Cached")? + of("SReclaimable")? - of("Shmem")?;
        Ok(Self {
            used: of("MemTotal")? - of("MemFree")? - files,
            held: of("MemTotal")? - of("MemAvailable")?,
        })
    }
}

/// A figure of memory, from KiB.
pub fn memory(name: &str, kibibytes: u64, target: Option<f64>) -> Figure {
    figure(name, in_mebibytes(kibibytes << 10), "MiB", target)
}

/// The figures, from the first line of `/proc/stat` before and after, `/proc/meminfo`, `smaps_rollup` of each process of
/// the program.
pub fn figures(before: &str, after: &str, meminfo: &str, ours: &str) -> Result<[Figure; 4]> {
    let Memory { used, held } = Memory::read(meminfo)?;
    let resident = all(ours, "Pss")?;
    ensure!(
        resident.len() == 2,
        "init and supervisor are {} processes",
        resident.len()
    );
    Ok([
        memory("memory in use at rest", used, Some(259.0)),
        memory("memory that machines can not have", held, Some(259.0)),
        memory(
            "memory of init and supervisor",
            resident.iter().sum(),
            Some(60.0),
        ),
        figure(
            "processor at rest",
            busy(before, after)? * 100.0,
            "%",
            Some(0.5),
        ),
    ])
}

/// The share of all processors' time that went into anything, 0 to 1.
fn busy(before: &str, after: &str) -> Result<f64> {
    let (before, after) = (times(before)?, times(after)?);
    let all = after.iter().sum::<u32>() - before.iter().sum::<u32>();
    ensure!(all > 0, "no time has passed");
    let idle = |times: &[u32]| times[3] + times[4];
    Ok(1.0 - f64::from(idle(&after) - idle(&before)) / f64::from(all))
}

/// Ticks since the start: user, nice, system, idle, iowait and five more (proc_stat(5)).
fn times(line: &str) -> Result<Vec<u32>> {
    let words = line
        .trim()
        .strip_prefix("cpu ")
        .context("no line of all processors")?;
    let times: Vec<u32> = words
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("a time that is no number")?;
    // The last two are within the first two.
    ensure!(times.len() >= 8, "only {} times", times.len());
    Ok(times[..8].to_vec())
}

/// One field, in KiB.
fn field(text: &str, name: &str) -> Result<u64> {
    all(text, name)?
        .first()
        .copied()
        .with_context(|| format!("no {name}"))
}

/// Every occurrence of a field, in KiB.
fn all(text: &str, name: &str) -> Result<Vec<u64>> {
    let values = text.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix(name)?.strip_prefix(':')?;
        rest.trim().strip_suffix("kB").map(str::trim)
    });
    values
        .map(|value| value.parse().with_context(|| format!("{name} is {value}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_in_use() {
        let memory = "MemTotal: 4010164 kB\r\nMemFree: 3749644 kB\r\nMemAvailable: 3672132 kB\r\nBuffers: 1440 kB\r\n\
                      Cached: 136676 kB\r\nShmem: 50368 kB\r\nSReclaimable: 3436 kB\r\n";
        let ours = "Rss: 9000 kB\nPss: 4096 kB\nPss_Anon: 1 kB\nRss: 50000 kB\nPss: 40960 kB\n";
        let [used, held, resident, load] = figures(
            "cpu  100 0 100 800 0 0 0 0 7 0",
            "cpu  101 0 102 1797 0 0 0 0 7 0",
            memory,
            ours,
        )
        .unwrap();
        assert!((used.value - 165.4).abs() < 0.1, "{used:?}");
        assert!((held.value - 330.1).abs() < 0.1, "{held:?}");
        assert!((resident.value - 44.0).abs() < 0.1, "{resident:?}");
        assert!((load.value - 0.3).abs() < 0.01, "{load:?}");
        assert!(figures("cpu 1", "cpu 1", memory, ours).is_err());
        assert!(figures("cpu", "cpu", "", ours).is_err());
    }
}
