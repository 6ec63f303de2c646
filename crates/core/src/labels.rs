//! A macro for enums whose variants have labels. The labels appear in metrics, logs, rows and
//! settings.

/// Defines an enum, and a label for each variant.
#[macro_export]
macro_rules! labels {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$about:meta])* $variant:ident = $label:literal,)*
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$about])* $variant,)*
        }

        impl $name {
            /// Every variant, in the order of the definition. `variant as usize` is the variant's
            /// index in this array.
            pub const ALL: [Self; [$($label),*].len()] = [$(Self::$variant),*];

            /// Returns the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}
