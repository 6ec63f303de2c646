//! Which events an endpoint asked for.
use crate::event::EventType;

/// Which events an endpoint is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFilter {
    /// Every one, also of types that come later.
    All,
    /// Those of these types, by their words: one that a newer program knows is kept, and wanted,
    /// here too.
    Only(Vec<String>),
}

impl EventFilter {
    /// Those of these types.
    #[must_use]
    pub fn only(types: &[EventType]) -> Self {
        Self::Only(types.iter().map(|what| what.as_str().to_owned()).collect())
    }

    /// Whether it is told of what this word stands for.
    #[must_use]
    pub fn has(&self, what: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.iter().any(|word| word == what),
        }
    }
}
