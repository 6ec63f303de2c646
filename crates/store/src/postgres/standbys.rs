//! Reads the standbys for which commits wait, and which of these standbys are connected.
use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::contract::Replication;
use crate::failure::Done;

pub(super) const REPLICATION: &str = "SELECT current_setting('synchronous_commit'),
        current_setting('synchronous_standby_names'),
        (SELECT count(*) FROM pg_stat_replication),
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL),
        (SELECT count(*) FROM pg_stat_replication
         WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'),
        ARRAY(SELECT application_name FROM pg_stat_replication WHERE application_name IS NOT NULL),
        ARRAY(SELECT concat(application_name, ' (', state, ', ',
            pg_wal_lsn_diff(sent_lsn, flush_lsn), ' bytes not confirmed, last answer at ',
            to_char(reply_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), ' UTC)')
            FROM pg_stat_replication WHERE sync_state <> 'async')";

/// Runs the same query as [`super::Postgres::replication`], on this connection.
pub(super) async fn inspect(client: &Client) -> Done<Replication> {
    let row = client.query_one(REPLICATION, &[]).await?;
    let numbers = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let lists = (row.try_get(5)?, row.try_get(6)?);
    Ok(replication((row.try_get(0)?, row.try_get(1)?), numbers, lists))
}

/// Describes the standbys. `all` is the number of connected standbys. `hidden` is the number of
/// standbys whose state this database user cannot see. `synchronous` is the number of synchronous
/// standbys. `connected` lists the names of the connected standbys. The result contains `standbys`
/// unchanged, as [`Replication::standbys`].
pub(super) fn replication(
    (commit, names): (String, String),
    (all, hidden, synchronous): (i64, i64, i64),
    (connected, standbys): (Vec<String>, Vec<String>),
) -> Replication {
    let wanted = parse(&names);
    let waits = !matches!(commit.as_str(), "off" | "local");
    let is_hidden = all > 0 && hidden == all;
    let missing = wanted.names.iter().filter(|name| {
        *name != "*" && !connected.iter().any(|there| there.eq_ignore_ascii_case(name))
    });
    Replication {
        missing: if is_hidden { Vec::new() } else { missing.cloned().collect() },
        required: if waits { wanted.required } else { 0 },
        synchronous: (!is_hidden).then_some(synchronous.unsigned_abs()),
        synchronous_commit: commit,
        standby_names: names,
        standbys,
    }
}

pub(super) fn missing_text(found: &Replication) -> String {
    let missing = match found.missing.as_slice() {
        [] => "any".to_owned(),
        names => names.join(", "),
    };
    format!(
        "commits wait for a synchronous standby that is not connected: {missing} \
         (synchronous_standby_names = '{}'); start it, or change synchronous_standby_names",
        found.standby_names
    )
}

#[derive(Debug, PartialEq, Eq)]
struct StandbyNames {
    required: u64,
    names: Vec<String>,
}

/// Parses `synchronous_standby_names`: `a, b`, `2 (a, b)`, `FIRST 2 (a, b)` or `ANY 2 (a, b)`.
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
    fn standbys_that_the_user_may_not_see_count_as_neither_connected_nor_missing() {
        let settings = || ("on".to_owned(), "a".to_owned());
        let hidden = replication(settings(), (1, 1, 0), Default::default());
        assert!(hidden.hides_standbys() && !hidden.lacks_standbys(), "{hidden:?}");
        assert_eq!(hidden.missing, [""; 0]);
        let away = replication(settings(), (0, 0, 0), Default::default());
        assert!(away.lacks_standbys() && !away.hides_standbys(), "{away:?}");
        assert!(missing_text(&away).contains("not connected: a (synchronous_standby_names = 'a')"));
        let there = replication(settings(), (1, 0, 1), (vec!["a".to_owned()], Vec::new()));
        assert!(!there.lacks_standbys() && !there.hides_standbys(), "{there:?}");
    }

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
