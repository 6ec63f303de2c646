//! The limits of the auditor, and what happens at each limit.

use std::time::Duration;

/// The report lists at most this many findings of each rule. One more entry gives the number of
/// further findings.
pub(super) const FINDINGS_PER_RULE_MAX: usize = 20;
/// The report lists at most this many notices about reversals, and at most this many notices about
/// refunds. It leaves out the oldest ones.
pub(super) const MONEY_NOTICES_MAX: usize = 100;
/// The largest size of one line of an answers file, in bytes. If a line is longer, the audit fails.
pub(super) const ANSWER_LINE_BYTES_MAX: usize = 16 * 1024;
/// How long the auditor waits for a locked database. After that time the audit fails.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting to a database server may take. After that time the audit fails.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
