//! What looks random and is the same in every run: a 64-bit linear congruential generator with Knuth's constants.

/// A series of numbers.
pub struct Chance(u64);

impl Chance {
    /// The series of a seed.
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    /// The next number; the better bits of the generator.
    #[expect(
        clippy::should_implement_trait,
        reason = "a series without an end needs no Option"
    )]
    pub fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).unwrap_or_default()
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        u64::from(self.next()) % end.max(1)
    }
}
