//! Counts of numbers in buckets that grow with the number: what openraft keeps of its own batches and waits.
//!
//! It stands in for the crate of the same name (`[patch.crates-io]` in the workspace), which makes the tables of all its
//! sixteen scales at the first use of one: 3.2 million words, 26 MiB that the supervisor kept for as long as it ran, and a
//! tenth of a second of an emulated start. openraft uses the scale of four buckets for each power of two, and that one
//! needs no table: a bucket is told by the position of the highest bit and the two bits after it. Only what openraft asks
//! for is here; a version of it that asks for more does not compile.

use std::fmt;
use std::marker::PhantomData;

/// The bits after the highest one that tell the buckets of a power of two apart.
const FINE_BITS: u32 = 2;
const FINE: usize = 1 << FINE_BITS;
/// Numbers below [`FINE`] have a bucket each; every power of two from there on has that many.
const BUCKETS: usize = FINE + (u64::BITS - FINE_BITS) as usize * FINE;

/// How often numbers of each size were recorded. The type parameter is openraft's; nothing is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    of: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Nothing recorded yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            of: PhantomData,
        }
    }

    /// Counts the number once.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts the number as often as told.
    pub fn record_n(&mut self, value: u64, times: u64) {
        if let Some(count) = self.counts.get_mut(bucket(value)) {
            *count = count.saturating_add(times);
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The smallest number of the bucket with the sample below which this share (in thousandths) of all samples lie; 0 where
    /// nothing was recorded.
    fn per_mille(&self, share: u64) -> u64 {
        let total = u128::from(self.total());
        let wanted = (total * u128::from(share)).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted {
                return smallest(bucket);
            }
        }
        0
    }

    /// The percentiles that are told.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.per_mille(1),
            p1: self.per_mille(10),
            p5: self.per_mille(50),
            p10: self.per_mille(100),
            p50: self.per_mille(500),
            p90: self.per_mille(900),
            p99: self.per_mille(990),
            p99_9: self.per_mille(999),
        }
    }
}

/// The bucket of a number.
fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let Some(shift) = bits.checked_sub(FINE_BITS + 1) else {
        return usize::try_from(value).unwrap_or_default();
    };
    // At most seven: the highest bit and those after it.
    let head = usize::try_from(value >> shift).unwrap_or_default();
    shift as usize * FINE + head
}

/// The smallest number of a bucket.
fn smallest(bucket: usize) -> u64 {
    let Some(fine) = bucket.checked_sub(FINE) else {
        return bucket as u64;
    };
    let (shift, head) = (fine / FINE, fine % FINE + FINE);
    (head as u64) << shift
}

/// What is told of a histogram: how many samples it has, and the numbers below which so many per cent of them lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the percentiles say it")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples, 50 %: {}, 90 %: {}, 99 %: {}",
            self.samples, self.p50, self.p90, self.p99
        )
    }
}

/// Several histograms, told one after the other.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// Without any yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram) -> Self {
        self.series.push((name.to_owned(), histogram));
        self
    }

    /// As text, a line each.
    #[must_use]
    pub fn detailed(&self) -> impl fmt::Display {
        let lines = self
            .series
            .iter()
            .map(|(name, one)| format!("{name}: {}\n", one.percentile_stats()));
        lines.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for number in 1..BUCKETS {
            let first = smallest(number);
            assert_eq!((bucket(first - 1), bucket(first)), (number - 1, number));
        }
    }

    #[test]
    fn nothing_is_told_of_nothing() {
        let stats = Histogram::<()>::new().percentile_stats();
        assert_eq!((stats.samples, stats.p0_1, stats.p99_9), (0, 0, 0));
    }

    #[test]
    fn a_hundred_numbers() {
        let mut histogram = Histogram::<()>::new();
        (1..=100).for_each(|number| histogram.record(number));
        let stats = histogram.percentile_stats();
        // 50 lies in 48..56, 90 in 80..96, 99 in 96..112.
        assert_eq!(
            (stats.samples, stats.p1, stats.p50, stats.p90, stats.p99),
            (100, 1, 48, 80, 96)
        );
        let text = AsciiChart::new()
            .add("wait", histogram)
            .detailed()
            .to_string();
        assert_eq!(text, "wait: 100 samples, 50 %: 48, 90 %: 80, 99 %: 96\n");
    }

    proptest! {
        #[test]
        fn a_number_is_at_most_a_quarter_above_its_bucket(value: u64) {
            let first = smallest(bucket(value));
            prop_assert!(first <= value && value - first <= first / 4);
        }

        #[test]
        fn percentiles_never_fall(values in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut histogram = Histogram::<()>::new();
            values.iter().for_each(|value| histogram.record(*value));
            let stats = histogram.percentile_stats();
            let all = [stats.p0_1, stats.p1, stats.p5, stats.p10, stats.p50, stats.p90, stats.p99, stats.p99_9];
            prop_assert!(all.is_sorted() && stats.samples == values.len() as u64);
        }
    }
}
