//! A macro for closed sets of words.

/// Defines an enum, and a word for each variant. The word represents the variant in rows, JSON,
/// metrics and settings. The calling crate needs `serde` and `utoipa`.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$about:meta])* $variant:ident = $word:tt,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone,
            Copy,
            Debug,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            serde::Serialize,
            serde::Deserialize,
            utoipa::ToSchema,
        )]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every variant, in the order of its definition.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// Returns the word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Returns the variant with this word, or `None` if no variant has this word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
