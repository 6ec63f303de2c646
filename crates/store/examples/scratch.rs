//! scratch
use rusqlite::{Connection, params};
use std::time::Instant;
fn main() {
    let sql = include_str!("../migrations/V1__truth.sql");
    let n: usize = std::env::args().nth(1).map_or(200_000, |s| s.parse().unwrap());
    let sync = std::env::var("SYNC").unwrap_or("FULL".into());
    let ckpt: usize = std::env::args().nth(2).map_or(4000, |s| s.parse().unwrap());
    let ps: usize = std::env::args().nth(3).map_or(4096, |s| s.parse().unwrap());
    let bs: usize = std::env::args().nth(4).map_or(500, |s| s.parse().unwrap());
    let only = std::env::args().nth(5).unwrap_or_default();
    let no_checks = |s: &str| {
        s.lines()
            .filter(|l| !(l.trim_start().starts_with("CHECK ((state IN")))
            .map(|l| {
                if l.contains("state       TEXT") {
                    "    state TEXT NOT NULL,".to_string()
                } else if l.contains("units       INTEGER NOT NULL CHECK (units >= 1)") {
                    "    units INTEGER NOT NULL,".into()
                } else {
                    l.to_string()
                }
            })
            .collect::<Vec<_>>()
            .join("\n")
            .replace(
                "UNIQUE (grant_id, n),                        -- one verdict for each ticket",
                "UNIQUE (grant_id, n)",
            )
    };
    let base = sql.to_string();
    assert!(base.contains("id          TEXT    NOT NULL UNIQUE,         -- ord_…;"));
    let no_id = base.replace(
        "id          TEXT    NOT NULL UNIQUE,         -- ord_…;",
        "id          TEXT    NOT NULL,          -- ord_…;",
    );
    let blob = base.replace(
        "id          TEXT    NOT NULL UNIQUE,         -- ord_…;",
        "id          BLOB    NOT NULL UNIQUE,         -- ord_…;",
    );
    let blob_noid = base.replace(
        "id          TEXT    NOT NULL UNIQUE,         -- ord_…;",
        "id          BLOB    NOT NULL,          -- ord_…;",
    );
    let no_due = no_id.replace("CREATE INDEX orders_due ON orders (pay_by) WHERE state = 'reserved';", "");
    let with_item = no_id.clone() + "\nCREATE INDEX orders_item ON orders (item_id);";
    let nock = no_checks(&no_id);
    let hold = no_id.replace("    UNIQUE (buyer, request_key),                 -- one order for each request\n", "").clone() + "CREATE TABLE holding (buyer TEXT NOT NULL, request_key TEXT NOT NULL, item_id INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (buyer, request_key, item_id), CHECK (request_key = '' OR item_id = 0)) STRICT, WITHOUT ROWID;";
let worowid = no_id.replace("seq         INTEGER PRIMARY KEY, ", "seq         INTEGER NOT NULL, ").replace(
        "UNIQUE (grant_id, n),                        -- one",
        "PRIMARY KEY (grant_id, n),                        -- one",
    );
    let worowid = {
        let i = worowid.find("CREATE TABLE orders").unwrap();
        let j = worowid[i..].find(") STRICT;").unwrap() + i;
        format!("{}) STRICT, WITHOUT ROWID;{}", &worowid[..j], &worowid[j + 9..])
    };
    for round in 0..2 {
        for (name, sql, isblob) in [
            ("base", &base, false),
            ("no_id", &no_id, false),
            ("blob", &blob, true),
            ("blob_noid", &blob_noid, true),
            ("no_id,no_due", &no_due, false),
            ("no_id,item", &with_item, false),
            ("no_id,nocheck", &nock, false),
            ("no_id,worowid", &worowid, false),
            ("no_id,noquota", &no_id, false), ("hold", &hold, false),
        ] {
            if !only.is_empty() && !only.split("+").any(|o| o == name) {
                continue;
            }
            let dir = format!("/tmp/scratch-{}", std::process::id());
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir(&dir).unwrap();
            let mut c = Connection::open(format!("{dir}/a.db")).unwrap();
            c.execute_batch(&format!("PRAGMA page_size={ps}; PRAGMA journal_mode=WAL; PRAGMA synchronous={sync}; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint={ckpt}; PRAGMA foreign_keys=OFF")).unwrap();
            c.set_prepared_statement_cache_capacity(64);
            c.execute_batch(sql).unwrap();
            let wo = name.contains("worowid");
            let ids: Vec<(String, [u8; 39])> = (0..n)
                .map(|i| {
                    let mut b = [0u8; 39];
                    b[0..6].copy_from_slice(&(1_795_000_000_000u64 + (i / 100) as u64).to_be_bytes()[2..]);
                    rand::fill(&mut b[6..12]);
                    b[12..20].copy_from_slice(&0x7654321_u64.to_be_bytes());
                    b[20..28].copy_from_slice(&(i as u64).to_be_bytes());
                    rand::fill(&mut b[28..]);
                    use std::fmt::Write;
                    let mut s = String::from("ord_");
                    for x in b {
                        let _ = write!(s, "{}", (b'A' + (x & 63)) as char);
                    }
                    for _ in 0..13 {
                        s.push('x');
                    }
                    (s, b)
                })
                .collect();
            let buyers: Vec<(String, String)> = (0..n)
                .map(|_| {
                    (
                        format!("buyer-{:08}", rand::random::<u32>() % 100_000_000),
                        format!("{:032x}", rand::random::<u128>()),
                    )
                })
                .collect();
            let t0 = Instant::now();
            let mut lookups = 0u128;
            let mut commits = 0u128;
            let mut worst = 0u128;
            let mut quota_t = 0u128;
            for batch in (0..n).step_by(bs) {
                let tb = Instant::now();
                let tx = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
                {
                    let q = tx.prepare_cached("SELECT item_id, used FROM quota WHERE buyer = ?1").unwrap();
                    let hold = name == "hold";
                let mut q = if hold { tx.prepare_cached("SELECT item_id, number FROM holding WHERE buyer = ?1 AND request_key = ''").unwrap() } else { q };
                let mut hi = if hold { Some((tx.prepare_cached("INSERT INTO holding (buyer, request_key, item_id, number) VALUES (?1, ?2, 0, ?3)").unwrap(), tx.prepare_cached("INSERT INTO holding (buyer, request_key, item_id, number) VALUES (?1, '', ?2, ?3) ON CONFLICT DO UPDATE SET number = excluded.number").unwrap())) } else { None };
                let mut ins = tx.prepare_cached(if wo { "INSERT INTO orders (seq, id, buyer, request_key, item_id, units, state, grant_id, n, reserved_at, pay_by) VALUES (?11, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)" } else {"INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n, reserved_at, pay_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"}).unwrap();
                    let mut qi = tx.prepare_cached("INSERT INTO quota (buyer, item_id, used) VALUES (?1, ?2, ?3) ON CONFLICT (buyer, item_id) DO UPDATE SET used = excluded.used").unwrap();
                    for i in batch..(batch + bs).min(n) {
                        let (b, k) = &buyers[i];
                        let t = Instant::now();
                        let mut rows = q.query([b]).unwrap();
                        assert!(rows.next().unwrap().is_none() || true);
                        drop(rows);
                        lookups += t.elapsed().as_nanos();
                        if wo {
                            ins.execute(params![
                                ids[i].0,
                                b,
                                k,
                                1i64,
                                10i64,
                                "reserved",
                                0x7654321i64,
                                i as i64,
                                1_795_000_000_000i64 + (i / 100) as i64,
                                1_795_000_900_000i64 + (i / 100) as i64,
                                i as i64
                            ])
                            .unwrap();
                        } else if isblob {
                            ins.execute(params![
                                &ids[i].1[..],
                                b,
                                k,
                                1i64,
                                10i64,
                                "reserved",
                                0x7654321i64,
                                i as i64,
                                1_795_000_000_000i64 + (i / 100) as i64,
                                1_795_000_900_000i64 + (i / 100) as i64
                            ])
                            .unwrap();
                        } else {
                            ins.execute(params![
                                ids[i].0,
                                b,
                                k,
                                1i64,
                                10i64,
                                "reserved",
                                0x7654321i64,
                                i as i64,
                                1_795_000_000_000i64 + (i / 100) as i64,
                                1_795_000_900_000i64 + (i / 100) as i64
                            ])
                            .unwrap();
                        }
                        if let Some((a, b2)) = &mut hi { let t = Instant::now(); a.execute(params![b, k, i as i64]).unwrap(); b2.execute(params![b, 1i64, 10i64]).unwrap(); quota_t += t.elapsed().as_nanos(); } else if !name.contains("noquota") {
                            let t = Instant::now();
                            qi.execute(params![b, 1i64, 10i64]).unwrap();
                            quota_t += t.elapsed().as_nanos();
                        }
                    }
                }
                let t = Instant::now();
                tx.commit().unwrap();
                commits += t.elapsed().as_nanos();
                worst = worst.max(tb.elapsed().as_nanos());
            }
            let e = t0.elapsed();
            println!(
                "{round} {name:16} {:7.0}/s  total {:.2} us/order, lookup {:.2} quota {:.2} commit {:.2} us; worst batch {:.1} ms; file {:.0} B/order",
                n as f64 / e.as_secs_f64(),
                e.as_nanos() as f64 / n as f64 / 1e3,
                lookups as f64 / n as f64 / 1e3,
                quota_t as f64 / n as f64 / 1e3,
                commits as f64 / n as f64 / 1e3,
                worst as f64 / 1e6,
                c.query_row(&format!("select page_count*{ps}.0 from pragma_page_count"), [], |r| r.get::<_, f64>(0))
                    .unwrap()
                    / n as f64
            );
            drop(c);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}
