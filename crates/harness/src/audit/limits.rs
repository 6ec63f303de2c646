//! The bounds of the auditor, and what happens at each bound.

use std::time::Duration;

/// Findings listed for each rule; one more line has the number of further findings.
pub(super) const FINDINGS_PER_RULE_MAX: usize = 20;
/// Notices about money that are listed; older ones are left out.
pub(super) const MONEY_NOTICES_MAX: usize = 100;
/// Bytes of one line of an answers file; a longer line fails the audit.
pub(super) const ANSWER_LINE_BYTES_MAX: usize = 16 * 1024;
/// How long the auditor waits for a database that another process has locked; then the audit fails.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting to a database server may take; then the audit fails.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
