//! Tests the auditor with PostgreSQL. The same rows as in SQLite give the same report, and damaged
//! rows give findings.

use rusqlite::types::ValueRef;

use super::super::{StoreLocation, run};
use super::fixture::{StoreFixture, TempDir};
use crate::cluster::{ClusterDir, Postgres};

const SCHEMA: &str = concat!(
    include_str!("../../../../store/migrations/postgres/0001_truth.sql"),
    include_str!("../../../../store/migrations/postgres/0005_money.sql"),
    include_str!("../../../../store/migrations/postgres/0006_reversals.sql"),
    include_str!("../../../../store/migrations/postgres/0008_disputes.sql")
);
/// The tables that the auditor reads. Each table comes after the tables that it refers to. The
/// second text of an entry names the columns that only PostgreSQL has and that need a value.
const TABLES: [(&str, &str); 16] = [
    ("sale", ""),
    ("item", ""),
    ("slot_grant", ""),
    ("feed", ""),
    ("resolution", "writer"),
    ("orders", "node, writer"),
    ("quota", ""),
    ("recall", ""),
    ("adjustment", ""),
    ("dead_letter", ""),
    ("event", ""),
    ("payment", ""),
    ("refund", ""),
    ("reversal", ""),
    ("dispute", ""),
    ("waitlist", ""),
];
/// Columns that are booleans in PostgreSQL but integers in SQLite.
const FLAGS: [&str; 6] = ["counted", "open", "acked", "done", "accepted", "stands"];

/// A PostgreSQL store with the rows of a fixture.
pub(super) struct PostgresCopy {
    postgres: Postgres,
    pub(super) store: StoreLocation,
    _dir: TempDir,
}

impl PostgresCopy {
    pub(super) fn copy_of(fixture: &StoreFixture) -> Self {
        let dir = TempDir::new();
        let entry = ClusterDir::create(dir.path()).expect("a fresh name");
        let postgres = Postgres::create(&entry, true).expect("PostgreSQL is installed");
        let store = StoreLocation::parse(&postgres.url(postgres.port())).expect("an address");
        let twin = Self { postgres, store, _dir: dir };
        twin.run(SCHEMA);
        for (table, more) in TABLES {
            twin.run(&rows(fixture, table, more));
        }
        twin
    }

    pub(super) fn run(&self, sql: &str) {
        self.postgres.sql(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
}

/// Returns SQL that inserts the fixture's rows of this table. `more` has the names of the required
/// columns that only PostgreSQL has.
fn rows(fixture: &StoreFixture, table: &str, more: &str) -> String {
    let mut read = fixture.db.prepare(&format!("SELECT * FROM {table}")).expect("a table");
    let names: Vec<String> = read.column_names().map(str::to_owned).collect();
    let mut found = read.query([]).expect("rows");
    let mut sql = String::new();
    while let Some(row) = found.next().expect("a row") {
        let value = |(at, name): (usize, &String)| match row.get_ref(at).expect("a column") {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(flag) if FLAGS.contains(&name.as_str()) => (flag == 1).to_string(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
            other => panic!("{table}.{name}: {other:?}"),
        };
        // PostgreSQL numbers the rows itself, except in `feed`.
        let kept =
            || names.iter().enumerate().filter(|(_, name)| *name != "seq" || table == "feed");
        let mut columns: Vec<String> = kept().map(|(_, name)| name.clone()).collect();
        let mut values: Vec<String> = kept().map(value).collect();
        for column in more.split(", ").filter(|column| !column.is_empty()) {
            columns.push(column.to_owned());
            values.push("1".into());
        }
        let (columns, values) = (columns.join(", "), values.join(", "));
        sql += &format!(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values});\n"
        );
    }
    sql
}

#[test]
fn the_same_rows_in_postgresql_give_the_same_report_and_a_broken_one_is_found() {
    let fixture = super::waitlist::with_waitlist(StoreFixture::strict().with_consistent_rows());
    fixture.run(
        "INSERT INTO reversal VALUES ('pay_bob', 'disputed', 100, 'CNY', 1, 7),
                                     ('pay_rob', 'disputed', 40, 'CNY', 0, 8)",
    );
    let twin = PostgresCopy::copy_of(&fixture);
    let answers = fixture.answers(
        &(super::line("ann", 10, 201, "", "<ann>", "reserved")
            + &super::line("zoe", 10, 409, "sold_out", "", "")),
    );
    let mut here = run(&StoreLocation::Sqlite(fixture.path()), Some(&answers)).expect("a report");
    let mut there = run(&twin.store, Some(&answers)).expect("a report");
    here.audit.checked_at = there.audit.checked_at;
    let sorted = |report: &mut super::super::AuditReport| {
        report.audit.notices.sort_by(|a, b| a.detail.cmp(&b.detail))
    };
    sorted(&mut here);
    sorted(&mut there);
    assert_eq!(here, there);
    assert!(there.audit.ok, "{:?}", there.audit.findings);

    twin.run("UPDATE item SET pool = pool - 1 WHERE name = 'phone'");
    let found = run(&twin.store, None).expect("a report").audit.findings;
    assert!(found.iter().any(|finding| finding.rule == "I2"), "{found:?}");
    twin.run("UPDATE item SET pool = pool + 1 WHERE name = 'phone'");
    for (damage, repair, rule) in [
        (
            "UPDATE refund SET amount_minor = 41 WHERE id = 'ref_rob'",
            "UPDATE refund SET amount_minor = 40 WHERE id = 'ref_rob'",
            "I5",
        ),
        (
            "UPDATE payment SET currency = 'EUR' WHERE id = 'pay_bob'",
            "UPDATE payment SET currency = 'CNY' WHERE id = 'pay_bob'",
            "I5",
        ),
        (
            "UPDATE event SET type = 'order.expired' WHERE type = 'order.refunded'",
            "UPDATE event SET type = 'order.refunded' WHERE type = 'order.expired' AND actor = \
             'operator:key'",
            "history",
        ),
        (
            "UPDATE waitlist SET ended_at = 1 WHERE n = 4",
            "UPDATE waitlist SET ended_at = NULL WHERE n = 4",
            "waitlist",
        ),
    ] {
        twin.run(damage);
        let found = run(&twin.store, None).expect("a report").audit.findings;
        assert!(found.iter().any(|finding| finding.rule == rule), "{damage}: {found:?}");
        twin.run(repair);
        assert!(run(&twin.store, None).expect("a report").audit.ok, "{repair}");
    }
    twin.run("ALTER TABLE orders DISABLE TRIGGER ALL; DELETE FROM orders WHERE buyer = 'ann'");
    let found = run(&twin.store, Some(&answers)).expect("a report").audit.findings;
    assert!(found.iter().any(|finding| finding.rule == "I3"), "{found:?}");

    let wrong = StoreLocation::parse("postgres://nobody@127.0.0.1:1/nowhere").expect("an address");
    assert!(run(&wrong, None).is_err_and(|error| error.to_string().contains("127.0.0.1:1")));
}

#[test]
fn an_address_with_several_hosts_leads_to_the_primary_with_the_newest_history() {
    let twin = PostgresCopy::copy_of(&StoreFixture::strict().with_consistent_rows());
    let primary = &twin.postgres;
    let mut standby = primary.create_standby(None).expect("a free port");
    standby.rebuild_as_standby_of(primary).expect("a standby");
    let either = |first: u16, second: u16| {
        let url = primary.url(first).replace(
            &format!("@127.0.0.1:{first}/"),
            &format!("@127.0.0.1:{first},127.0.0.1:{second}/"),
        );
        let report = run(&StoreLocation::parse(&url).expect("an address"), None);
        report.expect("a report").audit.findings.iter().any(|finding| finding.rule == "I2")
    };
    let state = || standby.sql("SELECT pg_get_wal_replay_pause_state()").expect("a state");
    standby.sql("SELECT pg_wal_replay_pause()").expect("a standby can be paused");
    while state().trim() != "paused" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    twin.run("UPDATE item SET pool = pool - 1 WHERE name = 'phone'");
    let (old, new) = (primary.port(), standby.port());
    assert!(either(new, old), "the auditor must not read a standby that is behind");
    let only = StoreLocation::parse(&standby.url(new)).expect("an address");
    assert!(run(&only, None).is_err_and(|error| error.to_string().contains("is a standby")));

    standby.sql("SELECT pg_wal_replay_resume()").expect("a standby can be resumed");
    let pool = || standby.sql("SELECT pool FROM item WHERE name = 'phone'").expect("a row");
    while pool().trim() != "41" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    standby.promote().expect("a standby can be promoted");
    twin.run("UPDATE item SET pool = pool + 1 WHERE name = 'phone'");
    for (first, second) in [(old, new), (new, old)] {
        assert!(either(first, second), "the auditor must not read an old primary");
    }
}

#[test]
fn a_report_names_a_host_that_could_not_be_inspected_and_may_be_a_newer_primary() {
    let twin = PostgresCopy::copy_of(&StoreFixture::strict().with_consistent_rows());
    let mut standby = twin.postgres.create_standby(None).expect("a free port");
    standby.rebuild_as_standby_of(&twin.postgres).expect("a standby");
    let (port, standby) = (twin.postgres.port(), standby.port());
    let hosts = format!("@127.0.0.1:1,127.0.0.1:{port},127.0.0.1:{standby}/");
    let url = twin.postgres.url(port).replace(&format!("@127.0.0.1:{port}/"), &hosts);
    let url = url + "?target_session_attrs=read-write";
    let report = run(&StoreLocation::parse(&url).expect("an address"), None).expect("a report");
    let notices = report.audit.notices.iter().filter(|notice| notice.kind == "unknown_host");
    let details: Vec<_> = notices.map(|notice| &*notice.detail).collect();
    assert_eq!(
        details,
        ["127.0.0.1:1 could not be inspected; it may be a newer primary"],
        "the standby is not a newer primary"
    );
}
