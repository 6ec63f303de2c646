//! The change of one member in a merge patch.

/// How a patch changes one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberPatch<T> {
    /// The member is absent, and keeps its value.
    #[default]
    Keep,
    /// The member is `null`, and its value is cleared.
    Clear,
    /// The member gets this value.
    Set(T),
}

impl<T> MemberPatch<T> {
    /// Applies the change to the value `before` and returns the result.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// Returns the new value of the member. Returns `cleared` if the member is `null`, and `None`
    /// if the member is absent.
    pub(crate) fn or_cleared(self, cleared: T) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(cleared),
            Self::Set(value) => Some(value),
        }
    }

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
