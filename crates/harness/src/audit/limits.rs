//! Every bound of the auditor, and what happens there.

use std::time::Duration;

/// Findings of one rule that are listed; the rest is one line with their number.
pub(super) const FINDINGS_PER_RULE_MAX: usize = 20;
/// Notices about money that are listed, the newest.
pub(super) const MONEY_NOTICES_MAX: usize = 100;
/// Bytes of one line of an answers file; a longer one is no answer.
pub(super) const ANSWER_LINE_BYTES_MAX: usize = 16 * 1024;
/// How long a database that another process has locked is waited for; then there is no audit.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a database server may take to let the auditor in; then there is no audit.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
