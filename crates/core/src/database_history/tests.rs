//! Tests the decision whether a node may use a database after a failover.

use proptest::prelude::*;

use super::*;

fn row(fence: i64, token: &str, system_id: &str, timeline: i64) -> DatabaseHistory {
    let (token, system_id) = (token.to_owned(), system_id.to_owned());
    DatabaseHistory { fence, token, system_id, timeline, position: 0 }
}

fn database(system_id: &str, timeline: i64, rows: &[&DatabaseHistory]) -> SeenDatabase {
    let mut rows: Vec<_> = rows.iter().map(|row| (*row).clone()).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.fence));
    let system_id = system_id.to_owned();
    SeenDatabase { system_id, timeline, position: 100, rows, is_from_dump: false }
}

#[test]
fn an_older_copy_of_the_same_database_is_refused() {
    let created = row(1, "a", "s", 1);
    let known = |position| DatabaseHistory { position, ..created.clone() };
    let seen = database("s", 1, &[&created]);
    for position in [0, 99, 100] {
        assert_eq!(decide(Some(&known(position)), &seen), DatabaseDecision::Accept);
    }
    assert_eq!(decide(Some(&known(101)), &seen), DatabaseDecision::OlderCopy);
    let promoted = database("s", 2, &[&created]);
    let register = DatabaseDecision::Register(HistoryChange::Promoted);
    assert_eq!(decide(Some(&known(101)), &promoted), register);
    let newer = row(2, "b", "s", 1);
    let newer = database("s", 1, &[&created, &newer]);
    assert_eq!(decide(Some(&known(101)), &newer), DatabaseDecision::Accept);
    let moved = database("other", 1, &[&created]);
    assert_eq!(decide(Some(&known(101)), &moved), DatabaseDecision::Register(HistoryChange::Moved));
}

#[test]
fn only_a_promoted_synchronous_standby_with_every_known_commit_pauses_no_sale() {
    let created = row(1, "a", "s", 1);
    let known = |position| DatabaseHistory { position, ..created.clone() };
    let promoted = database("s", 2, &[&created]);
    let pauses = |change, was_synchronous, position| {
        must_pause(change, was_synchronous, Some(&known(position)), &promoted)
    };
    assert!(!pauses(HistoryChange::Promoted, true, 100));
    assert!(
        pauses(HistoryChange::Promoted, true, 101),
        "the promotion of an older copy must pause the sales"
    );
    assert!(pauses(HistoryChange::Promoted, false, 100));
    assert!(pauses(HistoryChange::Moved, true, 100));
}

#[test]
fn a_new_deployment_accepts_any_database() {
    assert_eq!(decide(None, &database("s", 1, &[])), DatabaseDecision::Accept);
    let created = row(1, "a", "s", 1);
    assert_eq!(decide(None, &database("s", 1, &[&created])), DatabaseDecision::Accept);
}

#[test]
fn a_promoted_standby_and_a_restored_dump_get_a_row() {
    let created = row(1, "a", "s", 1);
    let promoted = database("s", 2, &[&created]);
    let register = DatabaseDecision::Register;
    for known in [None, Some(&created)] {
        assert_eq!(decide(known, &promoted), register(HistoryChange::Promoted));
        let moved = database("other", 1, &[&created]);
        assert_eq!(decide(known, &moved), register(HistoryChange::Moved));
    }
}

#[test]
fn a_dump_that_was_restored_into_the_same_server_gets_a_row() {
    let created = row(1, "a", "s", 1);
    let restored = SeenDatabase { is_from_dump: true, ..database("s", 1, &[&created]) };
    let moved = DatabaseDecision::Register(HistoryChange::Moved);
    let later = DatabaseHistory { position: 101, ..created.clone() };
    for known in [None, Some(&created), Some(&later)] {
        assert_eq!(decide(known, &restored), moved);
    }
    let promoted = row(2, "b", "s", 1);
    assert_eq!(decide(Some(&promoted), &restored), DatabaseDecision::Older, "an old dump");
}

#[test]
fn the_old_primary_is_refused() {
    let (created, promoted) = (row(1, "a", "s", 1), row(2, "b", "s", 2));
    let old = database("s", 1, &[&created]);
    assert_eq!(decide(Some(&promoted), &old), DatabaseDecision::Older);
    assert_eq!(decide(Some(&promoted), &database("s", 1, &[])), DatabaseDecision::Older);
    let copied_back = database("s", 1, &[&created, &promoted]);
    assert_eq!(decide(Some(&promoted), &copied_back), DatabaseDecision::Older);
}

#[test]
fn a_second_promoted_standby_is_refused() {
    let (created, known) = (row(1, "a", "s", 1), row(2, "b", "s", 2));
    let other = row(2, "c", "s", 2);
    let forked = database("s", 2, &[&created, &other]);
    assert_eq!(decide(Some(&known), &forked), DatabaseDecision::Forked);
    assert_eq!(decide(Some(&known), &database("s", 2, &[&created])), DatabaseDecision::Older);
}

#[test]
fn a_known_row_matches_without_its_cluster_id() {
    let created = row(1, "a", "s", 1);
    let known = row(1, "a", "", 1);
    assert_eq!(decide(Some(&known), &database("s", 1, &[&created])), DatabaseDecision::Accept);
}

#[derive(Clone, Debug)]
enum Step {
    /// Copies one of the databases, and promotes the copy.
    Promote(usize),
    Connect(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(0..6_usize).prop_map(Step::Promote), (0..6_usize).prop_map(Step::Connect)]
}

proptest! {
    /// The nodes remember the newest row of each database that they use. From then on, they use
    /// only databases that have this row.
    #[test]
    fn a_deployment_never_uses_an_older_database(steps in prop::collection::vec(step(), 1..40)) {
        let mut databases = vec![database("s", 1, &[])];
        let (mut known, mut tokens) = (None::<DatabaseHistory>, 0);
        let mut used: Vec<DatabaseHistory> = Vec::new();
        let register = |seen: &mut SeenDatabase, tokens: &mut i64| {
            *tokens += 1;
            let fence = seen.newest().map_or(0, |newest| newest.fence) + 1;
            seen.rows.insert(0, row(fence, &tokens.to_string(), "s", seen.timeline));
        };
        for step in steps {
            match step {
                Step::Promote(at) => {
                    let mut copy = databases[at % databases.len()].clone();
                    copy.timeline += 1;
                    databases.push(copy);
                }
                Step::Connect(at) => {
                    let at = at % databases.len();
                    let seen = &mut databases[at];
                    match decide(known.as_ref(), seen) {
                        DatabaseDecision::Accept => {}
                        DatabaseDecision::Register(_) => register(seen, &mut tokens),
                        DatabaseDecision::Older
                        | DatabaseDecision::OlderCopy
                        | DatabaseDecision::Forked => continue,
                    }
                    if seen.rows.is_empty() {
                        register(seen, &mut tokens);
                    }
                    prop_assert!(used.iter().all(|row| seen.rows.contains(row)));
                    known = seen.newest().cloned();
                    used.extend(known.clone());
                }
            }
        }
    }
}
