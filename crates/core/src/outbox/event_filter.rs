//! The event types that an endpoint wants to receive.
use crate::event::EventType;

const ALL: &str = "*";

/// A filter of event types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFilter {
    /// Every type, including types that later versions add.
    All,
    /// The types with these names. A name that this version does not know is kept, and matches
    /// events of the type with this name.
    Only(Vec<String>),
}

impl EventFilter {
    /// Returns a filter for these types.
    #[must_use]
    pub fn only(types: &[EventType]) -> Self {
        Self::Only(types.iter().map(|what| what.as_str().to_owned()).collect())
    }

    /// Parses the names of types. The word `*` stands for every type.
    #[must_use]
    pub fn from_words(words: Vec<String>) -> Self {
        if words.iter().any(|word| word == ALL) { Self::All } else { Self::Only(words) }
    }

    /// Returns the names from which [`EventFilter::from_words`] creates this filter.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::All => vec![ALL.to_owned()],
            Self::Only(types) => types.clone(),
        }
    }

    /// Returns whether the endpoint wants events of the type with this name.
    #[must_use]
    pub fn has(&self, what: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.iter().any(|word| word == what),
        }
    }
}
