//! Compares the slot with the classic script of flash sales, which counts in a hash with the fields
//! `Total` and `Booked`. Both give the same answers. There is one exception: a request for a
//! negative number of units adds stock to the hash, but not to the slot.
use std::cell::Cell;

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId, Token};
use doorbuster_slots::Slots;
use doorbuster_slots::conformance::{request, terms};
use proptest::prelude::*;
use redis::{Connection, Script, Value};

use super::faults::SLOT;
use super::server::{Server, options};

const CLASSIC: &str = include_str!("../../../../bench/src/peer/booked.lua");
const OURS: &str =
    concat!(include_str!("../../src/redis/term.lua"), include_str!("../../src/redis/ticket.lua"));
/// The units that the hash has at the start. The slot has the same number of units.
const TOTAL: u64 = 40;

struct Both {
    server: Server,
}

impl Both {
    fn start() -> Self {
        Self { server: Server::start(&[]) }
    }

    fn connection(&self) -> Connection {
        redis::Client::open(self.server.url()).expect("a URL").get_connection().expect("running")
    }

    async fn slots(&self, epoch: u64) -> Slots {
        let slots = Slots::redis(options(vec![self.server.url()], "shop"))
            .await
            .expect("the server can hold slots");
        slots.init(SLOT, terms(GrantId(epoch), Epoch(epoch), TOTAL)).await.expect("reachable");
        slots
    }

    fn stock(&self) {
        let total = TOTAL.to_string();
        let _: u64 = self.server.ask(&["DEL", "item"]);
        let _: u64 = self.server.ask(&["HSET", "item", "Total", &total, "Booked", "0"]);
    }

    fn classic(&self, n: &str) -> i64 {
        // If `n` is a fraction, the classic script fails before it books units. The failure counts
        // as zero units.
        Script::new(CLASSIC).key("item").arg(n).invoke(&mut self.connection()).unwrap_or(0)
    }

    fn booked(&self) -> i64 {
        self.server.ask(&["HGET", "item", "Booked"])
    }

    /// Requests `n` units from the slot's script. Returns whether the script issued a ticket.
    fn ours(&self, n: &str) -> bool {
        let script = Script::new(OURS);
        let mut call = script.prepare_invoke();
        for what in ["term", "requests", "buyers", "recalls", "queue"] {
            call.key(format!("shop:{{7#2}}:{what}"));
        }
        call.arg(&[1_000, 1_000, 3_000])
            .arg("request")
            .arg("buyer")
            .arg(n)
            .arg(1_000_000)
            .arg(1)
            .arg("1 1 b k");
        match call.invoke::<Vec<Value>>(&mut self.connection()) {
            Ok(said) => matches!(said.get(1), Some(Value::Int(_))),
            Err(_) => false,
        }
    }
}

#[test]
fn the_classic_script_and_the_slot_give_the_same_answers() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let both = Both::start();
    let epoch = Cell::new(0);
    let config =
        ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let lists = prop::collection::vec(1..15_u32, 1..20);
    proptest!(config, |(wanted in lists)| {
        epoch.set(epoch.get() + 1);
        both.stock();
        runtime.block_on(async {
            let slots = both.slots(epoch.get()).await;
            for (i, &n) in wanted.iter().enumerate() {
                let mut one = request("a", &format!("k{i}"), n, 1_000_000);
                one.token = Token(i as u64);
                let ours = match slots.ticket(SLOT, &one).await.expect("reachable") {
                    TicketAnswer::Issued(_) => i64::from(n),
                    TicketAnswer::Short { .. } => 0,
                    other => panic!("{other:?}"),
                };
                assert_eq!(ours, both.classic(&n.to_string()), "{n} of {wanted:?}");
                let left = slots.view(SLOT).await.expect("reachable").expect("the slot has an epoch").available;
                assert_eq!(left as i64, TOTAL as i64 - both.booked());
            }
        });
    });
}

#[test]
fn an_invalid_number_of_units_books_nothing_and_a_negative_one_adds_none() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let both = Both::start();
    both.stock();
    let slots = runtime.block_on(both.slots(1));
    let available = || {
        runtime
            .block_on(slots.view(SLOT))
            .expect("reachable")
            .expect("the slot has an epoch")
            .available
    };
    let missing = "";
    for n in [
        missing,
        "0",
        "-0",
        "0.5",
        "1.5",
        "abc",
        "nan",
        "inf",
        "41",
        "9007199254740993",
        "99999999999999999999",
    ] {
        assert_eq!(
            (both.ours(n), available(), both.classic(n), both.booked()),
            (false, TOTAL, 0, 0),
            "{n}"
        );
    }
    for n in ["1e1", "0x10", " 1", "+1"] {
        assert_eq!((both.ours(n), available()), (false, TOTAL), "{n}");
    }
    assert_eq!((both.ours("-5"), available()), (false, TOTAL));
    both.classic("-5");
    assert_eq!(both.booked(), -5, "the classic script must add five units to the stock");
    assert!(both.ours("40"), "the slot must sell its whole stock");
    assert_eq!(available(), 0);
}

#[test]
fn without_a_stock_nothing_is_booked() {
    let both = Both::start();
    assert_eq!((both.classic("1"), both.ours("1")), (0, false));
    for field in ["Total", "Booked"] {
        both.stock();
        let _: u64 = both.server.ask(&["HDEL", "item", field]);
        assert_eq!(both.classic("1"), 0);
    }
    assert_eq!(both.server.ask::<Vec<String>>(&["KEYS", "shop:*"]), Vec::<String>::new());
}
