//! What a merge patch says of one member.

/// What a merge patch says of one member that may also be cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Left out: it stays.
    #[default]
    Keep,
    /// `null`: it is cleared.
    Clear,
    /// A value: it is replaced.
    Set(T),
}

impl<T> Change<T> {
    /// The value after the change, given the one before it.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// A new value if there is to be one, `cleared` standing for `null`.
    pub(crate) fn or_cleared(self, cleared: T) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(cleared),
            Self::Set(value) => Some(value),
        }
    }

    /// The new value, if one is set.
    pub(crate) const fn set(self) -> Option<T>
    where
        T: Copy,
    {
        match self {
            Self::Set(value) => Some(value),
            _ => None,
        }
    }
}
