//! A macro for rules that only one file uses. Only the tests of that file remove these rules, so
//! [`crate::rules::Rule`] does not contain them.

/// Defines the rules of a file, and the function `holds`. A test sets `REMOVED` to remove a rule
/// for its own thread.
macro_rules! local_rules {
    ($(#[$doc:meta])* $vis:vis $rules:ident { $($(#[$about:meta])* $name:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $rules { $($(#[$about])* $name,)* }

        #[cfg(test)]
        impl $rules {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }

        #[cfg(test)]
        thread_local! {
            static REMOVED: std::cell::Cell<Option<$rules>> = const { std::cell::Cell::new(None) };
        }

        /// Returns whether this rule is in force. Returns false if a test on this thread has
        /// removed the rule.
        #[cfg(test)]
        $vis fn holds(rule: $rules) -> bool {
            REMOVED.get() != Some(rule)
        }

        /// Returns true, because only tests can remove a rule.
        #[cfg(not(test))]
        #[inline(always)]
        $vis const fn holds(_rule: $rules) -> bool {
            true
        }
    };
}
