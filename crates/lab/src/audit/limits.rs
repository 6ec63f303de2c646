//! Every bound of the auditor, and what happens there.

/// Findings of one rule that are listed; the rest is one line with their number.
pub(super) const FINDINGS_PER_RULE_MAX: usize = 20;
/// Bytes of one line of an answers file; a longer one is no answer.
pub(super) const ANSWER_LINE_BYTES_MAX: usize = 16 * 1024;
