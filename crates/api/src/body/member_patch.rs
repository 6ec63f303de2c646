//! The change of one member in a merge patch.

/// How a patch changes one member: the member keeps its value, gets a new value, or is cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberPatch<T> {
    /// The member is absent from the patch, so it keeps its value.
    #[default]
    Keep,
    /// The member is `null` in the patch, so its value is cleared.
    Clear,
    /// The member has a value in the patch, which replaces the old value.
    Set(T),
}

impl<T> MemberPatch<T> {
    /// Returns the value after the change. `before` is the value before the change.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    /// Returns the new value. Returns `cleared` if the member is `null`, and `None` if the member
    /// is absent.
    pub(crate) fn or_cleared(self, cleared: T) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(cleared),
            Self::Set(value) => Some(value),
        }
    }

    /// Returns the new value. Returns `None` if the member is absent or `null`.
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
