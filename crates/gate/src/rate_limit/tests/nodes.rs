//! Tests rate limits that nodes share. The test itself replaces the storage that the nodes share.

use std::collections::HashMap;
use std::sync::LazyLock;

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::rate_limit::PendingLimit;

/// A limit that hardly recovers during a test. A sixteenth of its burst is 100 requests.
const SLOW: &str = r#"{"buyer":{"burst":1600,"per_minute":1},"ip":null}"#;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// The states of the limits in the shared storage. The storage's clock does not move in these
/// tests.
type States = HashMap<u64, u64>;

/// Sends all requests and reports that wait at a node to the shared storage. Applies the answers.
/// Returns the number of calls that were necessary.
fn exchange(limiter: &RateLimiter, states: &mut States) -> usize {
    let sharing = limiter.sharing().expect("shared");
    let mut calls = 0;
    loop {
        let batch = sharing.take_batch();
        if batch.is_empty() {
            return calls;
        }
        calls += 1;
        for group in limiter.group(sharing, batch) {
            let (key, call) = group.key_and_call();
            let state = states.entry(key).or_default();
            let (next, answer) = call.apply(*state, 0);
            *state = next;
            limiter.apply_answer(sharing, group, answer);
        }
    }
}

/// Counts a request with [`Counting::BeforeAnswer`]. Returns whether the request is allowed.
fn is_allowed(limiter: &RateLimiter, buyer: &str, sale: &SaleState, states: &mut States) -> bool {
    let (route, caller) = ((Route::Purchase, Counting::BeforeAnswer), caller("192.0.2.1", buyer));
    let mut check = limiter.acquire(route, caller, sale);
    loop {
        match check {
            Ok(LimitCheck::Counted(_)) => return true,
            Ok(LimitCheck::Pending(pending)) => {
                exchange(limiter, states);
                check = finish(limiter, *pending, caller, sale, states);
            }
            Err(_) => return false,
        }
    }
}

fn finish(
    limiter: &RateLimiter,
    pending: PendingLimit,
    caller: Caller<'_>,
    sale: &SaleState,
    states: &mut States,
) -> Result<LimitCheck, RateLimitExceeded> {
    // `finish` waits with a timeout, which needs the clock of a runtime.
    let _clock = RUNTIME.enter();
    let mut finished = Box::pin(limiter.finish(pending, caller, sale));
    loop {
        if let Some(result) = finished.as_mut().now_or_never() {
            return result.map(LimitCheck::Counted);
        }
        exchange(limiter, states);
    }
}

fn nodes<const N: usize>() -> [RateLimiter; N] {
    let living = node_count(N);
    std::array::from_fn(|_| one_of(&living))
}

#[test]
fn a_buyer_who_moves_between_nodes_gets_exactly_the_limit_in_each_scope() {
    for scope in ["buyer", "ip", "interface"] {
        for burst in [1, 2, 15, 100, 250] {
            let limit = format!(r#"{{"burst":{burst},"per_minute":1}}"#);
            let mut limits = r#"{"buyer":null,"ip":null,"interface":null}"#.to_owned();
            limits = limits.replace(&format!("\"{scope}\":null"), &format!("\"{scope}\":{limit}"));
            let (nodes, mut states) = (nodes::<3>(), States::new());
            // Each node has its own copy of the sale.
            let sales = [(); 3].map(|()| sale("spring", &limits));
            let allowed = (0..3 * burst + 30)
                .filter(|n| is_allowed(&nodes[n % 3], "anna", &sales[n % 3], &mut states))
                .count();
            assert_eq!(allowed, burst, "{scope}");
            let in_turn = nodes.iter().zip(&sales);
            let more = in_turn.filter(|(node, sale)| is_allowed(node, "anna", sale, &mut states));
            assert_eq!(more.count(), 0, "{scope}");
        }
    }
}

#[test]
fn a_request_over_a_known_limit_is_refused_without_a_call() {
    let limits = r#"{"buyer":{"burst":5,"per_minute":1},"ip":null}"#;
    let ([first, second], mut states) = (nodes::<2>(), States::new());
    let sale = sale("spring", limits);
    for _ in 0..5 {
        assert!(is_allowed(&first, "anna", &sale, &mut states));
    }
    assert!(
        !is_allowed(&second, "anna", &sale, &mut states),
        "the second node must learn of the limit from the shared storage"
    );
    for node in [&first, &second] {
        for counting in [Counting::BeforeAnswer, Counting::AfterAnswer] {
            let kind = (Route::Purchase, counting);
            let limited = node.acquire(kind, caller("192.0.2.1", "anna"), &sale);
            assert_eq!(limited.err().map(|limited| limited.scope), Some(RateLimitScope::Buyer));
        }
        assert_eq!(exchange(node, &mut states), 0);
    }
}

#[test]
fn a_refusal_by_a_later_limit_gives_back_the_share_of_an_earlier_one() {
    let limits = r#"{"buyer":{"burst":5,"per_minute":1},"ip":{"burst":2,"per_minute":1}}"#;
    let ([first, second], mut states) = (nodes::<2>(), States::new());
    let sale = sale("spring", limits);
    for _ in 0..2 {
        assert!(is_allowed(&first, "anna", &sale, &mut states));
    }
    for _ in 0..10 {
        assert!(
            !is_allowed(&first, "anna", &sale, &mut states),
            "a request over the address's limit was allowed"
        );
    }
    // The refused requests did not use up the buyer's limit, so this limit still allows three
    // requests.
    let elsewhere = Caller { address: "192.0.2.9".parse().expect("an address"), buyer: "anna" };
    let mut allowed = 0;
    for node in [&first, &second, &first, &second] {
        let kind = (Route::Purchase, Counting::BeforeAnswer);
        let mut check = node.acquire(kind, elsewhere, &sale);
        while let Ok(LimitCheck::Pending(pending)) = check {
            exchange(node, &mut states);
            check = finish(node, *pending, elsewhere, &sale, &mut states);
        }
        allowed += usize::from(check.is_ok());
    }
    assert_eq!(
        allowed, 2,
        "the address's limit must allow only two requests, although the buyer's limit allows three"
    );
}

#[test]
fn a_small_limit_of_a_sold_out_sale_waits_for_no_call_until_it_is_nearly_used_up() {
    let limits = r#"{"buyer":{"burst":10,"per_minute":1},"ip":null}"#;
    let (limiter, sale) = (one_of(&node_count(2)), sale("spring", limits));
    let acquire = || {
        let kind = (Route::Purchase, Counting::AfterAnswer);
        limiter.acquire_at(kind, caller("192.0.2.1", "anna"), &sale, SECOND)
    };
    for n in 0..5 {
        assert!(matches!(acquire(), Ok(LimitCheck::Counted(_))), "request {n}");
    }
    assert!(
        matches!(acquire(), Ok(LimitCheck::Pending(_))),
        "six requests at each of two nodes would exceed the limit, so the sixth request must wait"
    );
}

#[test]
fn the_reported_use_of_a_fast_limit_is_the_real_use() {
    let limiter = one_of(&node_count(1));
    // Each request uses 60.002 microseconds of the limit: a minute divided by 999,983, rounded up
    // to nanoseconds.
    let fast = r#"{"burst":1000,"per_minute":999983}"#;
    let sale = sale("spring", &format!(r#"{{"buyer":{fast},"ip":null,"interface":{fast}}}"#));
    for _ in 0..1_000 {
        let allowed =
            acquire_at(&limiter, Route::Purchase, caller("192.0.2.1", "anna"), &sale, SECOND);
        assert!(allowed.is_ok());
    }
    let sharing = limiter.sharing().expect("shared");
    let groups = limiter.group(sharing, sharing.take_batch());
    assert_eq!(groups.len(), 2);
    for group in &groups {
        assert_eq!(group.key_and_call().1.used_us, 60_002);
    }
}

#[test]
fn all_nodes_together_leave_a_sixteenth_of_a_burst_unreported() {
    for nodes in [1, 2, 3, 16, 100, 1_000] {
        let (limiter, sale) = (one_of(&node_count(nodes)), sale("spring", SLOW));
        let is_kept = |_: &usize| {
            let acquired =
                acquire_at(&limiter, Route::Purchase, caller("192.0.2.1", "anna"), &sale, SECOND);
            assert!(acquired.is_ok());
            limiter.sharing().expect("shared").take_batch().is_empty()
        };
        let kept = (0..1_600).take_while(is_kept).count();
        assert!(
            kept * nodes <= 100,
            "each of {nodes} nodes leaves {kept} requests unreported, which is too many"
        );
        assert!(
            (kept + 1) * nodes > 100,
            "each of {nodes} nodes reports after {kept} unreported requests, which is too early"
        );
    }
}

#[test]
fn use_that_was_below_the_allowance_is_reported_when_more_nodes_join() {
    let (living, sale) = (node_count(1), sale("spring", SLOW));
    let limiter = one_of(&living);
    let acquire = || {
        let (route, anna) = (Route::Purchase, caller("192.0.2.1", "anna"));
        assert!(acquire_at(&limiter, route, anna, &sale, SECOND).is_ok());
    };
    (0..50).for_each(|_| acquire());
    let sharing = limiter.sharing().expect("shared");
    assert_eq!(sharing.take_batch().len(), 0);
    living.observe(4);
    acquire();
    let groups = limiter.group(sharing, sharing.take_batch());
    let reported: Vec<u64> = groups.iter().map(|group| group.key_and_call().1.used_us).collect();
    assert_eq!(reported, [51 * 60_000_000]);
}

#[test]
fn a_large_limit_is_never_exceeded_and_nearly_used_up() {
    let (nodes, mut states) = (nodes::<8>(), States::new());
    let sale = sale("spring", SLOW);
    let allowed: usize = nodes
        .iter()
        .map(|node| (0..1_700).filter(|_| is_allowed(node, "anna", &sale, &mut states)).count())
        .sum();
    assert!((1_600 - 50..=1_600).contains(&allowed), "{allowed}");
}

#[test]
fn a_node_without_the_shared_storage_gives_back_and_reports_the_real_use() {
    let limits =
        r#"{"buyer":{"burst":30,"per_minute":1},"ip":null,"interface":{"burst":9,"per_minute":1}}"#;
    let (limiter, sale) = (one_of(&node_count(3)), sale("spring", limits));
    let sharing = limiter.sharing().expect("shared");
    sharing.record_result(Some("the test's storage is away"));
    let acquire =
        || acquire_at(&limiter, Route::Purchase, caller("192.0.2.1", "anna"), &sale, SECOND);
    // Without the shared storage, each of the three nodes allows a third of each limit.
    assert!((0..3).all(|_| acquire().is_ok()));
    for _ in 0..10 {
        let limited = acquire().expect_err("too many requests");
        assert_eq!(limited.scope, RateLimitScope::Interface);
        let shown = header(limited.status, &sale);
        assert!(shown.starts_with("\"buyer\";r=7;"), "{shown}");
    }
    let groups = limiter.group(sharing, sharing.take_batch());
    let reported: Vec<u64> = groups.iter().map(|group| group.key_and_call().1.used_us).collect();
    assert_eq!(reported, [3 * 60_000_000; 2]);
}
