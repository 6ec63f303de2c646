//! Which events an endpoint asked for.
use crate::event::EventType;

/// Which events an endpoint is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every one, also of types that come later.
    All,
    /// Those of these types.
    Only(Vec<EventType>),
}

impl Wanted {
    /// Whether it is told of these.
    #[must_use]
    pub fn has(&self, what: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.contains(&what),
        }
    }
}
