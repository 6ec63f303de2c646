//! A ticket that can never settle: it is given up alone, its units come back, it is written down for an operator, and the rest flows on.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::client::{Reply, Wish};
use super::faults::Faults;
use super::requests::at_once;
use super::rig::Rig;

/// Tickets that one purchase may cost when none of them can be settled.
const TRIES_MAX: i64 = 5;

/// A second hand on the store, as a person with a shell has one.
fn shell(rig: &Rig) -> Connection {
    let conn =
        Connection::open(rig.data_dir().join("doorbuster.sqlite3")).expect("the store's file");
    conn.busy_timeout(Duration::from_secs(10)).expect("it can be set");
    conn
}

/// Makes rows of this table that meet the condition impossible, as a bug or a damaged page would.
fn poison(rig: &Rig, table: &str, condition: &str) {
    let sql = format!(
        "CREATE TRIGGER poison_{table} BEFORE INSERT ON {table} WHEN {condition} BEGIN SELECT raise(ABORT, 'poison'); END"
    );
    shell(rig).execute_batch(&sql).expect("a trigger");
}

fn dead_letters(rig: &Rig) -> i64 {
    let count =
        "SELECT count(*) FROM dead_letter WHERE buyer = 'poison' AND reason LIKE '%poison%'";
    shell(rig).query_row(count, [], |row| row.get(0)).expect("a number")
}

/// Forty buyers and the poisonous one at once, in as few batches as can be. The forty have their orders; the answer to the other.
async fn crowd(rig: &Rig, faults: &Faults) -> Reply {
    faults.slow_disk(Duration::from_millis(100));
    let mut requests: Vec<_> =
        (0..40).map(|n| Wish::new(&format!("a{n}"), "k", "spring", 1).bytes()).collect();
    requests.insert(20, Wish::new("poison", "k", "spring", 1).bytes());
    let mut replies = at_once(rig, requests).await;
    faults.slow_disk(Duration::ZERO);
    let poisoned = replies.remove(20);
    let verdicts: Vec<_> = replies.iter().map(Reply::verdict).collect();
    assert!(verdicts.iter().all(|verdict| verdict == "201"), "{verdicts:?}");
    poisoned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_cannot_settle_is_given_up_alone() {
    let (rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    poison(&rig, "orders", "NEW.buyer = 'poison'");
    let poisoned = crowd(&rig, &faults).await;
    assert_eq!(poisoned.verdict(), "503 unavailable", "{poisoned}");
    let letters = dead_letters(&rig);
    assert!((1..=TRIES_MAX).contains(&letters), "{letters} dead letters of one purchase");
    assert!(
        rig.said().contains("cannot be settled and is given up"),
        "the operator reads of it: {}",
        rig.said()
    );
    let stock = rig.stock("spring").await;
    assert_eq!((stock.held, stock.free()), (40, 60), "its unit came back");
    rig.audit(None).await;
    // All sixty can be had, which needs the credit to have reached the slot.
    for number in 0..60 {
        assert_eq!(
            rig.buy(&Wish::new(&format!("b{number}"), "k", "spring", 1)).await.verdict(),
            "201",
            "{number}"
        );
    }
    assert_eq!(rig.buy(&Wish::new("late", "k", "spring", 1)).await.verdict(), "409 sold_out");
    // Once it is mended, the same key is a new try.
    shell(&rig).execute_batch("DROP TRIGGER poison_orders").expect("it is there");
    assert_eq!(rig.adjust("spring", "one-more", 1).await.status, 200);
    assert_eq!(rig.buy(&Wish::new("poison", "k", "spring", 1)).await.verdict(), "201");
    rig.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_cannot_even_be_returned_holds_up_nobody() {
    let (mut rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    poison(&rig, "orders", "NEW.buyer = 'poison'");
    poison(&rig, "resolution", "TRUE");
    let poisoned = crowd(&rig, &faults).await;
    // Without a verdict that can be written there is only a place in the queue, or none.
    assert!(matches!(&*poisoned.verdict(), "202" | "503 unavailable"), "{poisoned}");
    let letters = dead_letters(&rig);
    assert!((1..=TRIES_MAX).contains(&letters), "{letters} dead letters of one purchase");
    let stock = rig.stock("spring").await;
    assert_eq!((stock.held, stock.free()), (40, 60));
    // Its units are back when the slot begins anew.
    shell(&rig)
        .execute_batch("DROP TRIGGER poison_orders; DROP TRIGGER poison_resolution")
        .expect("they are there");
    rig.ask_to_stop();
    assert_eq!(rig.ended(Duration::from_secs(10)), Some(0), "{}", rig.said());
    rig.restart();
    for number in 0..60 {
        assert_eq!(
            rig.buy(&Wish::new(&format!("b{number}"), "k", "spring", 1)).await.verdict(),
            "201",
            "{number}"
        );
    }
    assert_eq!(rig.stock("spring").await.held, 100);
    // The auditor of the command line would say that this ticket has no verdict, and be right: nobody asked for it yet.
    assert_eq!(rig.shown("/v1/admin/audit").await["findings"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_to_a_ticket_that_was_given_up() {
    let rig = Rig::start();
    rig.open_sale("spring", &[("phone", 100, 2, 900)]).await;
    // Only the first one: it may be put again.
    poison(&rig, "orders", "NEW.buyer = 'poison' AND NOT EXISTS (SELECT 1 FROM dead_letter)");
    rig.buy(&Wish::new("poison", "k", "spring", 2)).await;
    let unseen = async || rig.metric(r#"doorbuster_dead_letters{kind="ticket"}"#).await;
    assert_eq!(unseen().await, 1);
    let list = rig.shown("/v1/admin/dead-letters?kind=ticket").await;
    assert_eq!(list["dead_letters"].as_array().map(Vec::len), Some(1), "{list}");
    let letter = &list["dead_letters"][0];
    let id = letter["id"].as_str().expect("an id");
    assert_eq!(
        (&letter["kind"], &letter["about"], &letter["tries"]),
        (&json!("ticket"), &json!(id), &json!(1))
    );
    assert!(letter["error"].as_str().is_some_and(|error| error.contains("poison")), "{letter}");
    assert_eq!(rig.shown("/v1/admin/dead-letters?kind=delivery").await["dead_letters"], json!([]));
    let path = format!("/v1/admin/dead-letters/{id}");
    let shown = rig.shown(&path).await;
    assert_eq!(
        shown["request"],
        json!({"sale": "spring", "item": "phone", "buyer": "poison", "units": 2})
    );
    assert_eq!(
        (&shown["id"], &shown["message"], &shown["refund"]),
        (&json!(id), &Value::Null, &Value::Null)
    );
    let retried = rig.admin("POST", &format!("{path}/retry"), None).await;
    assert_eq!(
        (retried.verdict().as_str(), &retried.json()["state"]),
        ("409 wrong_state", &json!("gone"))
    );
    assert_eq!(unseen().await, 1, "it waits still");
    let discard = async || {
        let why = json!({"reason": "the table is mended"});
        rig.admin("POST", &format!("{path}/discard"), Some(&why)).await
    };
    assert_eq!(discard().await.json(), json!({"id": id, "state": "discarded"}));
    assert_eq!(unseen().await, 0);
    let kept = shell(&rig)
        .query_row("SELECT discarded FROM dead_letter", [], |row| row.get::<_, String>(0));
    assert_eq!(kept.expect("it is kept"), "the table is mended");
    assert_eq!(rig.shown("/v1/admin/dead-letters?kind=ticket").await["dead_letters"], json!([]));
    assert_eq!(discard().await.verdict(), "404 not_found");
    for (method, path) in [("GET", path.clone()), ("POST", format!("{path}/retry"))] {
        assert_eq!(
            rig.admin(method, &path, None).await.verdict(),
            "404 not_found",
            "{method} {path}"
        );
    }
    rig.audit(None).await;
}
