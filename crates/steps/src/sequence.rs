//! The effects of a step that performs the same effects in the same sequence, whatever their
//! results are.

/// The remaining effects of a step. The iterator yields them in their sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence<E: 'static> {
    rest: &'static [E],
}

impl<E> Sequence<E> {
    /// Returns a sequence of these effects.
    #[must_use]
    pub const fn new(rest: &'static [E]) -> Self {
        Self { rest }
    }
}

impl<E: Copy> Iterator for Sequence<E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}
