//! The reasons why a database is refused, as texts for an operator.
use doorbuster_core::database_history::DatabaseHistory;

use super::{Connector, Failure, Inspected};

impl Connector {
    /// Returns the failure for a host whose database has an older history than `known`, or a
    /// different history.
    pub(super) fn refusal(
        &self,
        host: usize,
        found: &Inspected,
        known: Option<DatabaseHistory>,
    ) -> Failure {
        let name = &self.0.hosts[host].name;
        let (seen_fence, timeline) = (found.seen.age_key().0, found.seen.timeline);
        let known = known.map_or((0, 0), |known| (known.fence, known.timeline));
        let (what, advice) = match seen_fence < known.0 || timeline < known.1 {
            true => (
                "an older history",
                "this database is probably the old primary: stop it, or rejoin it as a standby",
            ),
            false => (
                "another history",
                "this database accepted commits without the current primary: stop it, or rejoin \
                 it as a standby",
            ),
        };
        Failure::Refused(format!(
            "the database at {name} has {what} (fence {seen_fence}, timeline {timeline}) than the \
             newest one that this deployment has used (fence {}, timeline {}); {advice}",
            known.0, known.1
        ))
    }

    pub(super) fn refusal_of_copy(&self, host: usize) -> Failure {
        Failure::Refused(format!(
            "the database at {} is an older copy: it lacks commits of this deployment; to use the \
             copy, start it as a standby and promote it, so that it gets a new timeline and the \
             open sales are paused",
            self.0.hosts[host].name
        ))
    }

    /// Combines the failures of all hosts. The result is a refusal if any host was refused.
    pub(super) fn combine(&self, mut failures: Vec<(usize, Failure)>) -> Failure {
        if failures.len() == 1 {
            return failures.remove(0).1;
        }
        let is_refused = failures.iter().any(|(_, f)| matches!(f, Failure::Refused(_)));
        let texts = failures.iter().map(|(host, failure)| match failure {
            Failure::Refused(text) => text.clone(),
            failure => format!("{}: {failure}", self.0.hosts[*host].name),
        });
        let text = texts.collect::<Vec<_>>().join("; ");
        if is_refused { Failure::Refused(text) } else { Failure::NoConnection(text) }
    }
}
