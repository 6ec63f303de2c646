//! Tests the rate limits of a node as the callers of the limiter see them.

mod nodes;
mod object;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::{IdKey, ItemId, Millis, Phase, Spread, Stock};
use doorbuster_engine::catalogue::{Catalogue, SaleState};
use doorbuster_engine::node::NodeCount;
use doorbuster_engine::slot_layout::SlotLayout;
use doorbuster_slots::SharedRedis;
use doorbuster_store::{ItemCounts, ItemRow, SaleRow};

use super::{
    Caller, Counting, LimitCheck, LimitSharing, RateLimitExceeded, RateLimitStatus, RateLimiter,
    Route, SharedPlace,
};

const SECOND: u64 = 1_000_000_000;

fn sale(id: &str, limits: &str) -> Arc<SaleState> {
    let item = ItemRow {
        id: ItemId(7),
        name: "phone".into(),
        title: "Phone".into(),
        description: String::new(),
        image: None,
        price_minor: 10,
        currency: "EUR".into(),
        list_price_minor: None,
        limit: 1,
        hold_ms: 1_000,
        page: String::new(),
        counted: true,
        spread: Spread::default(),
    };
    let counts = ItemCounts {
        item: item.id,
        total: Stock::Counted(1),
        pool: 1,
        kept: 0,
        in_slots: 0,
        held: 0,
        paid: 0,
        waiting: 0,
    };
    let row = SaleRow {
        id: id.into(),
        title: "Spring".into(),
        phase: Phase::Open,
        starts_at: None,
        ends_at: None,
        front_door: format!("{{\"limits\":{limits}}}"),
        page: String::new(),
        version: 1,
        created_at: Millis(0),
        opened_at: None,
        closed_at: None,
        draining_until: None,
        items: vec![item],
    };
    let mut catalogue = Catalogue::default();
    catalogue.put_sale(row, &[counts], &IdKey::new([7; 32]), SlotLayout::SingleNode);
    catalogue.sale(id).expect("just put").clone()
}

fn limiter() -> RateLimiter {
    RateLimiter::new(&IdKey::new([7; 32]), None)
}

/// Creates the limiter of one node in a deployment with several live nodes.
fn one_of(live_nodes: &Arc<NodeCount>) -> RateLimiter {
    let shared = SharedRedis::new(&["redis://127.0.0.1:1".to_owned()], "test").expect("an address");
    let sharing = LimitSharing::new(SharedPlace::Redis(shared), live_nodes.clone());
    RateLimiter::new(&IdKey::new([7; 32]), Some(sharing))
}

/// Counts a request. Panics if the node cannot decide the request from its memory.
fn acquire_at(
    limiter: &RateLimiter,
    route: Route,
    caller: Caller<'_>,
    sale: &SaleState,
    now: u64,
) -> Result<RateLimitStatus, RateLimitExceeded> {
    match limiter.acquire_at((route, Counting::AfterAnswer), caller, sale, now)? {
        LimitCheck::Counted(status) => Ok(status),
        LimitCheck::Pending(_) => panic!("the request must not wait for a share of a limit"),
    }
}

fn node_count(nodes: usize) -> Arc<NodeCount> {
    let live_nodes = NodeCount::default();
    live_nodes.observe(nodes);
    Arc::new(live_nodes)
}

fn caller<'a>(address: &str, buyer: &'a str) -> Caller<'a> {
    Caller { address: address.parse::<IpAddr>().expect("an address"), buyer }
}

fn header(status: RateLimitStatus, sale: &SaleState) -> String {
    let mut out = Vec::new();
    status.write(&sale.limits, &mut out);
    let text = String::from_utf8(out).expect("ASCII");
    text.split("ratelimit: ").nth(1).unwrap_or_default().trim_end().to_owned()
}

fn scope(result: Result<RateLimitStatus, RateLimitExceeded>) -> Option<RateLimitScope> {
    result.err().map(|limited| limited.scope)
}

#[test]
fn a_limit_is_exact_with_many_concurrent_requests() {
    for limits in [
        r#"{"buyer":{"burst":100,"per_minute":1},"ip":null}"#,
        r#"{"buyer":null,"ip":{"burst":100,"per_minute":1}}"#,
        r#"{"buyer":null,"ip":null,"interface":{"burst":100,"per_minute":1}}"#,
        r#"{"buyer":{"burst":100,"per_minute":1},"ip":{"burst":100,"per_minute":1},"interface":{"burst":100,"per_minute":1}}"#,
    ] {
        let (limiter, sale) = (limiter(), sale("spring", limits));
        let acquire = || {
            acquire_at(&limiter, Route::Purchase, caller("192.0.2.1", "anna"), &sale, limiter.now())
                .is_ok()
        };
        let let_in: usize = std::thread::scope(|scope| {
            let asking: Vec<_> =
                (0..64).map(|_| scope.spawn(|| (0..50).filter(|_| acquire()).count())).collect();
            asking.into_iter().map(|thread| thread.join().expect("the thread does not panic")).sum()
        });
        assert_eq!(let_in, 100, "{limits}");
        let refused: u64 = super::RateLimitScope::ALL
            .map(|scope| sale.runtime.limits.refused(Route::Purchase, scope))
            .iter()
            .sum();
        assert_eq!(refused, 64 * 50 - 100, "{limits}");
    }
}

#[test]
fn a_refusal_names_its_limit_and_the_time_after_which_a_request_is_accepted() {
    let (limiter, sale) =
        (limiter(), sale("spring", r#"{"buyer":{"burst":2,"per_minute":6},"ip":null}"#));
    let acquire =
        |now| acquire_at(&limiter, Route::Purchase, caller("192.0.2.1", "anna"), &sale, now);
    assert_eq!(acquire(0).map(|status| header(status, &sale)), Ok("\"buyer\";r=1;t=10".into()));
    assert_eq!(acquire(0).map(|status| header(status, &sale)), Ok("\"buyer\";r=0;t=20".into()));
    let limited = acquire(SECOND / 2).expect_err("too many requests");
    assert_eq!((limited.scope, limited.retry_after_secs), (RateLimitScope::Buyer, 10));
    assert_eq!(header(limited.status, &sale), "\"buyer\";r=0;t=20");
    assert!(acquire(SECOND / 2 + 9 * SECOND).is_err());
    assert!(acquire(SECOND / 2 + 10 * SECOND).is_ok());
}

#[test]
fn a_refusal_by_a_later_limit_takes_nothing_from_an_earlier_one() {
    let limits = r#"{"buyer":{"burst":5,"per_minute":1},"ip":{"burst":2,"per_minute":1},"interface":{"burst":3,"per_minute":1}}"#;
    let (limiter, sale) = (limiter(), sale("spring", limits));
    let acquire = |address, buyer| {
        acquire_at(&limiter, Route::Purchase, caller(address, buyer), &sale, SECOND)
    };
    assert!(acquire("192.0.2.1", "anna").is_ok() && acquire("192.0.2.1", "anna").is_ok());
    for _ in 0..10 {
        let limited = acquire("192.0.2.1", "anna").expect_err("too many requests");
        assert_eq!(limited.scope, RateLimitScope::Ip);
        assert!(
            header(limited.status, &sale).starts_with("\"buyer\";r=3;"),
            "{}",
            header(limited.status, &sale)
        );
    }
    assert!(acquire("192.0.2.2", "anna").is_ok());
    for _ in 0..10 {
        assert_eq!(scope(acquire("192.0.2.2", "anna")), Some(RateLimitScope::Interface));
    }
    // The refused requests did not use up the limit of all buyers together. So this limit allows
    // one more request after a minute.
    let later = |address, buyer| {
        acquire_at(&limiter, Route::Purchase, caller(address, buyer), &sale, 61 * SECOND)
    };
    assert!(later("192.0.2.3", "bert").is_ok());
    assert_eq!(scope(later("192.0.2.4", "carl")), Some(RateLimitScope::Interface));
}

#[test]
fn an_ipv6_64_network_or_an_ipv4_address_in_either_notation_is_one_caller() {
    let (limiter, sale) =
        (limiter(), sale("spring", r#"{"buyer":null,"ip":{"burst":2,"per_minute":1}}"#));
    let acquire =
        |address| acquire_at(&limiter, Route::Purchase, caller(address, "anna"), &sale, 0).is_ok();
    assert!(acquire("2001:db8:0:1::1") && acquire("2001:db8:0:1:ffff::2"));
    assert!(
        !acquire("2001:db8:0:1:1234:5678:9abc:def0"),
        "addresses of one network must share a limit"
    );
    assert!(acquire("2001:db8:0:2::1"), "another network must have its own limit");
    assert!(acquire("192.0.2.1") && acquire("::ffff:192.0.2.1"));
    assert!(!acquire("192.0.2.1") && !acquire("::ffff:192.0.2.1"));
    assert!(acquire("192.0.2.2"));
}

#[test]
fn an_address_has_a_larger_budget_only_with_many_known_buyers() {
    let (limiter, sale) =
        (limiter(), sale("spring", r#"{"buyer":null,"ip":{"burst":1000,"per_minute":60}}"#));
    let let_in = |address, names: &mut dyn Iterator<Item = String>| {
        names
            .filter(|name| {
                acquire_at(&limiter, Route::Purchase, caller(address, name), &sale, 0).is_ok()
            })
            .count()
    };
    let robot = let_in("192.0.2.1", &mut (0..2_000).map(|_| "robot".to_owned()));
    assert_eq!(robot, 1_000);
    let school = let_in("192.0.2.2", &mut (0..2_000).map(|n| format!("pupil-{}", n % 100)));
    assert_eq!(school, 1_000, "an address with few buyers must have the configured limit");
    let network = let_in("192.0.2.3", &mut (0..2_000).map(|n| format!("customer-{n}")));
    assert!(network > 1_200, "{network}");
}

#[test]
fn the_buyers_of_an_address_are_counted_over_all_routes_and_sales() {
    let limits = r#"{"buyer":null,"ip":{"burst":1000,"per_minute":1}}"#;
    let (limiter, spring, autumn) = (limiter(), sale("spring", limits), sale("autumn", limits));
    let names: Vec<String> = (0..1_000).map(|n| format!("customer-{n}")).collect();
    let let_in = |route, sale: &SaleState, secs: u64| {
        let acquire = |name: &&String| {
            acquire_at(&limiter, route, caller("192.0.2.3", name), sale, secs * SECOND).is_ok()
        };
        // All these requests are from the same buyer, so they do not add to the number of buyers.
        (0..9_000).map(|_| &names[0]).filter(acquire).count()
    };
    for name in &names {
        let _ = acquire_at(&limiter, Route::Pass, caller("192.0.2.3", name), &spring, 590 * SECOND);
    }
    assert!(let_in(Route::Purchase, &spring, 595) > 1_900, "requests for passes must count buyers");
    assert!(
        let_in(Route::Purchase, &autumn, 605) > 1_900,
        "the count must apply to another sale and to the next counting period"
    );
    assert_eq!(let_in(Route::Room, &spring, 1_805), 1_000, "an old count must not be used");
}

#[test]
fn random_addresses_evict_neither_a_used_limit_nor_a_large_count_of_buyers() {
    // The limit is ten per second, so a used-up burst refills within half a second.
    let limits = r#"{"buyer":{"burst":5,"per_minute":600},"ip":null}"#;
    let (limiter, sale) = (&limiter(), sale("spring", limits));
    let acquire = |address, buyer: &str| {
        acquire_at(limiter, Route::Purchase, caller(address, buyer), &sale, SECOND)
    };
    let robots: Vec<String> = (0..500).map(|n| format!("robot-{n}")).collect();
    for robot in &robots {
        assert_eq!((0..9).filter(|_| acquire("192.0.2.1", robot).is_ok()).count(), 5);
    }
    let address_budgets = |buyer: &str| limiter.address_budgets(caller("192.0.2.2", buyer), SECOND);
    for n in 0..2_000 {
        address_budgets(&format!("customer-{n}"));
    }
    let before = address_budgets("customer-0");
    assert!(before > 4, "{before}");
    // The test uses as many addresses as the table has cells, each in a different network.
    std::thread::scope(|scope| {
        for part in 0..4_u64 {
            let flood = move || {
                for n in (0..1 << 18).map(|n| part << 18 | n) {
                    let address = IpAddr::V6(std::net::Ipv6Addr::from_bits(
                        (0x2001_0db8_u128 << 96) | u128::from(n) << 64,
                    ));
                    limiter.address_budgets(Caller { address, buyer: "carl" }, SECOND);
                }
            };
            scope.spawn(flood);
        }
    });
    assert!(
        robots
            .iter()
            .all(|robot| scope(acquire("192.0.2.1", robot)) == Some(RateLimitScope::Buyer)),
        "a robot got a new burst"
    );
    assert_eq!(address_budgets("customer-0"), before);
    assert_eq!(limiter.evicted(), 0, "a limit was evicted while it was in use");
}

#[test]
fn by_default_ten_thousand_buyers_from_one_address_are_accepted_at_once() {
    for series in 0..20 {
        let (limiter, sale) = (limiter(), sale("spring", "{}"));
        for n in 0..10_000 {
            let name = format!("buyer-{series}-{n}");
            assert!(
                acquire_at(&limiter, Route::Purchase, caller("127.0.0.1", &name), &sale, 0).is_ok(),
                "{name}"
            );
        }
    }
}

#[test]
fn by_default_a_crowd_of_a_million_from_one_address_is_accepted_as_it_arrives() {
    let (limiter, sale) = (limiter(), sale("spring", "{}"));
    let refused = (0..1_000_000_u64).filter(|n| {
        let name = format!("buyer-{n}");
        acquire_at(&limiter, Route::Purchase, caller("127.0.0.1", &name), &sale, n * 10_000)
            .is_err()
    });
    assert_eq!(refused.count(), 0);
}

#[test]
fn each_route_and_each_sale_has_its_own_count() {
    let limits = r#"{"buyer":{"burst":1,"per_minute":1},"interface":{"burst":1,"per_minute":1}}"#;
    let (limiter, spring, autumn) = (limiter(), sale("spring", limits), sale("autumn", limits));
    for sale in [&spring, &autumn] {
        for route in Route::ALL {
            assert!(
                acquire_at(&limiter, route, caller("192.0.2.1", "anna"), sale, 0).is_ok(),
                "{route:?}"
            );
            assert_eq!(
                scope(acquire_at(&limiter, route, caller("192.0.2.1", "anna"), sale, 0)),
                Some(RateLimitScope::Buyer)
            );
            assert_eq!(sale.runtime.limits.refused(route, RateLimitScope::Buyer), 1);
        }
    }
}

#[test]
fn reading_the_limit_status_uses_up_nothing() {
    let (limiter, sale) = (
        limiter(),
        sale("spring", r#"{"buyer":{"burst":3,"per_minute":1},"ip":{"burst":9,"per_minute":1}}"#),
    );
    let rate_limit_status =
        |route| header(limiter.rate_limit_status(route, caller("192.0.2.1", "anna"), &sale), &sale);
    let fresh = "\"buyer\";r=3;t=0, \"ip\";r=9;t=0";
    assert_eq!(
        (rate_limit_status(Route::Pass), rate_limit_status(Route::Pass)),
        (fresh.into(), fresh.into())
    );
    let pass = acquire_at(&limiter, Route::Pass, caller("192.0.2.1", "anna"), &sale, limiter.now());
    assert!(pass.is_ok());
    assert!(
        rate_limit_status(Route::Pass).starts_with("\"buyer\";r=2;t=60, \"ip\";r=8;"),
        "{}",
        rate_limit_status(Route::Pass)
    );
    assert_eq!(rate_limit_status(Route::Purchase), fresh);
}

#[test]
fn a_sale_without_limits_checks_nothing_and_sends_no_headers() {
    let (limiter, sale) =
        (limiter(), sale("spring", r#"{"buyer":null,"ip":null,"interface":null}"#));
    for _ in 0..100_000 {
        let counted = limiter
            .acquire((Route::Purchase, Counting::BeforeAnswer), caller("192.0.2.1", "anna"), &sale)
            .expect("no limit");
        assert!(
            matches!(counted, LimitCheck::Counted(status) if status == RateLimitStatus::default())
        );
    }
    assert_eq!(
        header(
            limiter.rate_limit_status(Route::Purchase, caller("192.0.2.1", "anna"), &sale),
            &sale
        ),
        ""
    );
}

#[test]
fn edges_together_answer_as_many_refusals_as_the_limit_allows() {
    let sale = sale("spring", r#"{"buyer":null,"ip":{"burst":60,"per_minute":1}}"#);
    let edges = Arc::new(AtomicU32::new(2));
    let [one, other] = [&edges, &edges].map(|edges| limiter().at_edge(Some(Arc::clone(edges))));
    let anna = caller("192.0.2.1", "anna");
    let answered = |edge: &RateLimiter, counting| {
        let acquire =
            |_: &i32| edge.acquire_at((Route::Purchase, counting), anna, &sale, edge.now()).is_ok();
        (0..100).filter(acquire).count()
    };
    let refused = [&one, &other].map(|edge| answered(edge, Counting::AfterAnswer));
    assert_eq!(refused, [30, 30]);
    // The edge passes these requests on to a node, and the node counts them. So the edge itself
    // refuses none of them.
    assert_eq!(answered(&one, Counting::BeforeAnswer), 100);
}
