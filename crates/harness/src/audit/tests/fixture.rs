//! A small consistent store. SQL writes its rows into the server's own schema. The store has orders
//! in every state, a refill, recalls, returned tickets and an adjusted total.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::super::StoreLocation;
use super::super::order_id::{self, OrderIdParts};

const SCHEMA: &str = concat!(
    include_str!("../../../../store/migrations/V1__truth.sql"),
    include_str!("../../../../store/migrations/V4__money.sql"),
    include_str!("../../../../store/migrations/V5__reversals.sql"),
    include_str!("../../../../store/migrations/V6__disputes.sql")
);

/// The time at which the sale opened, in milliseconds since 1970.
pub(super) const OPENED: i64 = 1_795_000_000_000;
/// The length of the payment window, in milliseconds.
pub(super) const HOLD: i64 = 900_000;

pub(super) struct StoreFixture {
    pub db: Connection,
    dir: TempDir,
}

/// A directory that is removed when the value is dropped.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    /// Chooses an unused name for the directory. The caller creates the directory.
    pub fn new() -> Self {
        Self(std::env::temp_dir().join(format!("doorbuster-audit-{:016x}", rand::random::<u64>())))
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that cannot be removed stays. It does no harm, because the next run uses
        // another name.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl StoreFixture {
    /// Returns a store without rows, with the server's own schema.
    pub fn strict() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("doorbuster-audit-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let db = Connection::open(dir.join("store.db")).expect("a new database");
        // These files need not survive a crash, and syncs would slow down dozens of tests.
        db.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
            .expect("a plain database");
        db.execute_batch(SCHEMA).expect("the program's own schema");
        Self { db, dir: TempDir(dir) }
    }

    /// Returns a store without rows and without constraints, so that a test can damage it.
    pub fn empty() -> Self {
        let fixture = Self::strict();
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
        let names: Vec<String> = {
            let mut tables = fixture.db.prepare(sql).expect("every database has a schema");
            let names = tables.query_map([], |row| row.get(0)).expect("names of tables");
            names.collect::<Result<_, _>>().expect("names are text")
        };
        // `legacy_alter_table` keeps a view valid while its table is renamed.
        fixture.run("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON");
        for name in names {
            fixture.run(&format!(
                "ALTER TABLE {name} RENAME TO strict_{name};
                 CREATE TABLE {name} AS SELECT * FROM strict_{name};
                 DROP TABLE strict_{name};"
            ));
        }
        fixture
    }

    /// Returns a store with consistent rows. The store has no constraints, so that a test can
    /// damage the rows.
    pub fn consistent() -> Self {
        Self::empty().with_consistent_rows()
    }

    /// Fills an empty store with consistent rows.
    pub fn with_consistent_rows(self) -> Self {
        let fixture = self;
        fixture.run(&consistent_rows());
        for (name, state, units, grant, n) in ORDERS {
            fixture.order(name, state, *units, *grant, *n);
        }
        for (grant, n, units, verdict, order) in RETURNED {
            let order = order.map_or("NULL".into(), |name| format!("'{}'", order_id_of(name)));
            let number = if *n == 9 { "NULL".into() } else { n.to_string() };
            let ticket = ticket(*grant, *n, *units);
            fixture.run(&format!(
                "INSERT INTO resolution (ticket, grant_id, n, verdict, order_id)
                 VALUES ('{ticket}', {grant}, {number}, '{verdict}', {order});"
            ));
        }
        fixture.run(MONEY);
        // The tables are copies without row numbering and default values. So the test sets these
        // numbers and values.
        for table in ["orders", "adjustment", "event", "payment", "refund"] {
            fixture.run(&format!("UPDATE {table} SET seq = rowid WHERE seq IS NULL"));
        }
        fixture.run("UPDATE orders SET ask_ms = 0; UPDATE item SET waiting = 0;");
        fixture
    }

    /// Runs SQL. In the SQL, `{name}` stands for the order id of the buyer with this name.
    /// `{grant:n}`, with two numbers, stands for the id of the returned ticket `n` of this grant.
    pub fn run(&self, sql: &str) {
        let mut sql = sql.to_owned();
        for (name, ..) in ORDERS {
            sql = sql.replace(&format!("{{{name}}}"), &order_id_of(name));
        }
        for (grant, n, units, ..) in RETURNED {
            sql = sql.replace(&format!("{{{grant}:{n}}}"), &ticket(*grant, *n, *units));
        }
        self.db.execute_batch(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    fn order(&self, name: &str, state: &str, units: i64, grant: i64, n: i64) {
        let (id, at) = (order_id_of(name), OPENED + 1_000);
        let item = if grant == 31 { 2 } else { 1 };
        let (paid, ended) = match state {
            "paid" => ((at + 500).to_string(), "NULL".into()),
            "refunded" => ((at + 500).to_string(), (at + 600).to_string()),
            "cancelled" => ("NULL".into(), (at + 700).to_string()),
            "expired" => ("NULL".into(), (at + HOLD + 5).to_string()),
            _ => ("NULL".into(), String::from("NULL")),
        };
        self.run(&format!(
            "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
                                 reserved_at, pay_by, paid_at, ended_at)
             VALUES ('{id}', '{name}', 'k-{name}', {item}, {units}, '{state}', {grant}, {n},
                     {at}, {at} + {HOLD}, {paid}, {ended});"
        ));
        self.event("reserved", "buyer", grant, n, (at, "NULL", "NULL"));
        match state {
            // Dan cancelled the order, and paid it later.
            "paid" if name == "dan" => {
                self.event(
                    "cancelled",
                    "buyer",
                    grant,
                    n,
                    (at + 400, "NULL", &(at + 400).to_string()),
                );
                self.event("paid", "provider:bank", grant, n, (at + 500, &paid, "NULL"));
            }
            "paid" => self.event("paid", "provider:bank", grant, n, (at + 500, &paid, "NULL")),
            "refunded" => {
                self.event("paid", "provider:bank", grant, n, (at + 500, &paid, "NULL"));
                self.event("refunded", "operator:key", grant, n, (at + 600, &paid, &ended));
            }
            "cancelled" => self.event("cancelled", "buyer", grant, n, (at + 700, &paid, &ended)),
            "expired" => self.event("expired", "engine", grant, n, (at + HOLD + 5, &paid, &ended)),
            _ => {}
        }
    }

    /// Writes the event of a state change, with the order's times after the change.
    fn event(
        &self,
        state: &str,
        actor: &str,
        grant: i64,
        n: i64,
        (at, paid, ended): (i64, &str, &str),
    ) {
        self.run(&format!(
            "INSERT INTO event (type, grant_id, n, at, actor, pay_by, paid_at, ended_at)
             VALUES ('order.{state}', {grant}, {n}, {at}, '{actor}', {OPENED} + 1000 + {HOLD},
                     {paid}, {ended});"
        ));
    }

    pub fn path(&self) -> PathBuf {
        self.dir.0.join("store.db")
    }

    /// Closes the database. The directory is removed when the returned `TempDir` is dropped.
    pub fn closed(self) -> (StoreLocation, TempDir) {
        let store = StoreLocation::Sqlite(self.path());
        (store, self.dir)
    }

    /// Writes an answers file beside the store. In `text`, `<name>` stands for the id of the order
    /// of the buyer with this name, and `<grant:n>` for the id of a returned ticket.
    pub fn answers(&self, text: &str) -> PathBuf {
        let mut text = text.to_owned();
        for (name, ..) in ORDERS {
            text = text.replace(&format!("<{name}>"), &order_id_of(name));
        }
        for (grant, n, units, ..) in RETURNED {
            text = text.replace(&format!("<{grant}:{n}>"), &ticket(*grant, *n, *units));
        }
        let path = self.dir.0.join("answers.jsonl");
        std::fs::write(&path, text).expect("a scratch file");
        path
    }
}

/// Five payments: two are captured, one is refunded, one has a wrong amount, and one has failed.
const MONEY: &str = "
    INSERT INTO payment (id, provider, order_id, grant_id, n, amount_minor, currency, state, at)
    VALUES ('pay_bob', 'bank', '{bob}', 12, 1, 100, 'CNY', 'captured', 1),
           ('pay_dan', 'bank', '{dan}', 12, 4, 50, 'CNY', 'captured', 2),
           ('pay_rob', 'bank', '{rob}', 12, 6, 40, 'CNY', 'refunded', 3),
           ('pay_ann', 'bank', '{ann}', 11, 1, 99, 'CNY', 'refunded', 4),
           ('pay_eve', 'bank', '{eve}', 31, 1, 30, 'CNY', 'failed', 5);
    INSERT INTO refund (id, payment_id, provider, order_id, amount_minor, currency, cause, state,
                        accepted, tries, next_at, at, settled_at)
    VALUES ('ref_rob', 'pay_rob', 'bank', '{rob}', 40, 'CNY', 'operator', 'settled', 1, 0, 9, 9, 10),
           ('ref_ann', 'pay_ann', 'bank', '{ann}', 99, 'CNY', 'mismatch', 'pending', 0, 0, 9, 9, NULL);
    INSERT INTO event (type, grant_id, n, at, actor, data)
    VALUES ('payment.refunded', 11, 1, 4, 'provider:bank', '{}');";

/// The orders. Each has a buyer, a state, the units, the grant, and the number in the grant.
const ORDERS: &[(&str, &str, i64, i64, i64)] = &[
    ("ann", "reserved", 10, 11, 1),
    ("gus", "expired", 5, 11, 3),
    ("bob", "paid", 10, 12, 1),
    ("cat", "cancelled", 10, 12, 3),
    ("dan", "paid", 5, 12, 4),
    ("rob", "refunded", 4, 12, 6),
    ("eve", "reserved", 3, 31, 1),
];

/// The returned tickets. Each has a grant, a number, the units, the verdict and, in some cases, an
/// order. For the ticket with the number 9, the store has no number (NULL), as if another ticket
/// had this number.
const RETURNED: &[(i64, i64, i64, &str, Option<&str>)] = &[
    (11, 2, 7, "unavailable", None),
    (12, 2, 5, "limit_reached", None),
    (12, 5, 10, "order", Some("ann")),
    (12, 9, 2, "unavailable", None),
    (12, 7, 1, "key_reused", None),
];

pub(super) fn order_id_of(name: &str) -> String {
    let (_, _, units, grant, n) =
        ORDERS.iter().find(|(buyer, ..)| *buyer == name).expect("the tests name buyers that exist");
    ticket(*grant, *n, *units)
}

pub(super) fn waitlist_entry_id(grant: i64, n: i64) -> String {
    ticket(grant, n, 1)
}

pub(super) fn ticket(grant: i64, n: i64, units: i64) -> String {
    order_id::write(OrderIdParts { decide_by: OPENED + 10_000, grant, n, units })
}

/// Returns SQL for the sale. The total of the phone is 100: 90 initial units, plus 20 and minus 10
/// by adjustments. The 100 units are: 42 in the pool, 25 in slot 0 (54 granted, 29 settled), 8 in
/// slot 1, 10 held, and 15 paid.
fn consistent_rows() -> String {
    let at = OPENED;
    format!(
        "INSERT INTO sale (id, title, phase, front_door, version, created_at, opened_at)
         VALUES ('spring', 'Spring', 'open', '{{}}', 3, {at} - 5000, {at});
         INSERT INTO item (id, sale_id, name, title, description, price_minor, currency,
                           limit_per_buyer, hold_ms, initial_total, total, pool, ended, paid)
         VALUES (1, 'spring', 'phone', 'Phone', '', 10, 'CNY', 10, {HOLD}, 90, 100, 42, 19, 15),
                (2, 'spring', 'pen', 'Pen', '', 10, 'CNY', 10, {HOLD}, NULL, NULL, 0, 0, 0);
         INSERT INTO adjustment (item_id, key, units, reason, total_after, at)
         VALUES (1, 'a', 20, 'found', 110, {at}), (1, 'b', -10, 'broken', 100, {at});
         INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open, acked,
                                 max_n, resolved, feed_len, closed_cause, opened_at, closed_at)
         VALUES (11, 1, 0, 1, 30, 15, 1, 0, 1, 3, 3, 0, 'lease_lapsed', {at}, {at} + 2000),
                (12, 1, 0, 2, 54, 29, 1, 1, 1, 7, 7, 10, NULL, {at} + 2000, NULL),
                (21, 1, 1, 1, 8, 0, 1, 1, 1, 0, 0, 0, NULL, {at}, NULL),
                (31, 2, 0, 1, 0, 3, 0, 1, 1, 1, 1, 0, NULL, {at}, NULL);
         INSERT INTO feed (grant_id, seq, ticket, buyer, request_key, units, quota_delta, cause)
         VALUES (12, 1, NULL, NULL, NULL, 15, 0, 'refill'),
                (12, 2, '{{12:2}}', 'ann', 'other', 5, -5, 'returned'),
                (12, 3, NULL, 'cat', NULL, 0, -10, 'order_ended'),
                (12, 4, NULL, 'dan', NULL, 0, -5, 'order_ended'),
                (12, 5, NULL, 'dan', NULL, 0, 5, 'order_revived'),
                (12, 6, NULL, NULL, NULL, 2, 0, 'recalled'),
                (12, 7, '{{12:5}}', 'ann', 'k-ann', 10, -10, 'returned'),
                (12, 8, NULL, 'rob', NULL, 0, -4, 'order_ended'),
                (12, 9, '{{12:9}}', 'joe', NULL, 2, -2, 'returned'),
                (12, 10, '{{12:7}}', 'bob', 'k-bob', 1, -1, 'returned');
         INSERT INTO recall (id, grant_id, target_grant, asked, taken, done)
         VALUES (1, 12, NULL, 5, 3, 1), (2, 21, 12, 2, 2, 1), (3, 21, NULL, 4, 0, 0);
         INSERT INTO dead_letter (ticket, item_id, buyer, request_key, units, reason, at)
         VALUES ('{{12:9}}', 1, 'joe', 'k', 2, 'poison', {at});
         INSERT INTO quota (buyer, item_id, used)
         VALUES ('ann', 1, 10), ('gus', 1, 0), ('bob', 1, 10), ('cat', 1, 0), ('dan', 1, 5),
                ('rob', 1, 0), ('eve', 2, 3);"
    )
}
