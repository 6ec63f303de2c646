//! The random numbers of challenges. These numbers decide which answer is right. So an attacker who
//! knows earlier numbers must not be able to predict later ones.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A random number generator.
#[derive(Debug)]
pub struct RandomSource(StdRng);

impl RandomSource {
    /// Returns a generator that the operating system seeds.
    #[must_use]
    pub fn new() -> Self {
        Self(rand::make_rng())
    }

    /// Returns a generator with a fixed seed, for repeatable measurements. Never use it for a
    /// buyer.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn float(&mut self, range: Range<f32>) -> f32 {
        self.0.random_range(range)
    }

    pub(crate) fn int(&mut self, range: Range<i32>) -> i32 {
        self.0.random_range(range)
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.0.random()
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.random()
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.0.random_range(0..of.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for n in (1..list.len()).rev() {
            list.swap(n, self.0.random_range(0..=n));
        }
    }
}

impl Default for RandomSource {
    fn default() -> Self {
        Self::new()
    }
}
