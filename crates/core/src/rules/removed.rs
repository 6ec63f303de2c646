//! The rule that a simulation has removed.
use std::cell::Cell;

use super::Rule;

thread_local! {
    static REMOVED: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// Returns whether this rule is in force on this thread.
#[must_use]
pub fn enforces(rule: Rule) -> bool {
    REMOVED.get() != Some(rule)
}

/// Removes this rule on this thread, and restores the rule that was removed before. With `None`,
/// all rules are in force.
pub fn remove(rule: Option<Rule>) {
    REMOVED.set(rule);
}
