//! Reads the standbys for which commits wait, and which of these standbys are connected.
use std::collections::BTreeSet;

use crate::contract::Replication;
use crate::sql::Row;
use crate::store::StoreResult;

use super::Postgres;

const REPLICATION: &str = "SELECT current_setting('synchronous_commit'),
        current_setting('synchronous_standby_names'),
        (SELECT count(*) FROM pg_stat_replication),
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL),
        (SELECT count(*) FROM pg_stat_replication
         WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'),
        ARRAY(SELECT application_name FROM pg_stat_replication WHERE application_name IS NOT NULL)";

impl Postgres {
    /// Returns whether commits wait for standbys, and which standbys confirm them.
    pub(crate) async fn replication(&self) -> StoreResult<Replication> {
        let read = |row: Row<'_>| {
            let (commit, names): (String, String) = (row.get(0)?, row.get(1)?);
            let (all, hidden, synchronous): (i64, i64, i64) =
                (row.get(2)?, row.get(3)?, row.get(4)?);
            let connected = row.texts(5)?;
            let wanted = parse(&names);
            let waits = !matches!(commit.as_str(), "off" | "local");
            let is_hidden = all > 0 && hidden == all;
            let missing = wanted.names.iter().filter(|name| {
                *name != "*" && !connected.iter().any(|there| there.eq_ignore_ascii_case(name))
            });
            Ok(Replication {
                missing: if is_hidden { Vec::new() } else { missing.cloned().collect() },
                required: if waits { wanted.required } else { 0 },
                synchronous: (!is_hidden).then_some(synchronous.unsigned_abs()),
                synchronous_commit: commit,
                standby_names: names,
            })
        };
        let found = self.one(REPLICATION, &[], read).await?.unwrap_or_default();
        let connector = &self.shared().connector;
        connector.set_synchronous(
            found.is_synchronous() && matches!(&*found.synchronous_commit, "on" | "remote_apply"),
        );
        Ok(found)
    }
}

/// The parsed `synchronous_standby_names`.
#[derive(Debug, PartialEq, Eq)]
struct StandbyNames {
    required: u64,
    names: Vec<String>,
}

/// Parses `a, b`, `2 (a, b)`, `FIRST 2 (a, b)` or `ANY 2 (a, b)`.
fn parse(text: &str) -> StandbyNames {
    let text = text.trim();
    let (required, list) = match text.split_once('(') {
        Some((head, list)) => {
            let number = head.split_whitespace().last().and_then(|word| word.parse().ok());
            (number.unwrap_or(1), list.trim_end().trim_end_matches(')'))
        }
        None => (1, text),
    };
    let names = list.split(',').map(|name| name.trim().trim_matches('"').to_owned());
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    let required = if names.is_empty() { 0 } else { required };
    StandbyNames { required, names: names.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_names_is_read() {
        for (text, required, names) in [
            ("", 0, &[][..]),
            ("*", 1, &["*"]),
            ("a", 1, &["a"]),
            ("a, \"standby b\"", 1, &["a", "standby b"]),
            ("2 (a, b, c)", 2, &["a", "b", "c"]),
            ("FIRST 1 (a,b)", 1, &["a", "b"]),
            ("ANY 2 (b, a) ", 2, &["a", "b"]),
            ("any 1(s1)", 1, &["s1"]),
        ] {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(parse(text), StandbyNames { required, names }, "{text}");
        }
    }
}
