//! Simulates nodes that share a rate limit. Messages are late or lost. The nodes have different
//! clocks, and some pause or die. A token bucket judges whether the nodes allowed too many
//! requests. The token bucket shares no code with the tested rules.

use super::*;

const MICRO: u64 = 1_000;
const MINUTE: u64 = 60_000_000_000;

/// A generator of random numbers (SplitMix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("small")]
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The judge: a token bucket. `burst` and `level` count in units of 1/`MINUTE` of a token.
struct Bucket {
    burst: u128,
    per_minute: u128,
    level: u128,
    at: u64,
}

impl Bucket {
    fn new(burst: u32, per_minute: u32) -> Self {
        let burst = u128::from(burst) * u128::from(MINUTE);
        Self { burst, per_minute: per_minute.into(), level: burst, at: 0 }
    }

    /// Takes one token. Returns false if the bucket had no whole token.
    fn take(&mut self, now: u64) -> bool {
        self.level = self.burst.min(self.level + u128::from(now - self.at) * self.per_minute);
        self.at = now;
        let is_there = self.level >= u128::from(MINUTE);
        self.level = self.level.saturating_sub(u128::from(MINUTE));
        is_there
    }
}

struct Flight {
    sent: SentCall,
    waiting: usize,
    arrives_at: u64,
    returns_at: u64,
    answer: Option<LimitAnswer>,
    /// The number of waiting requests that the shared storage allowed when it answered.
    served: usize,
    is_lost: bool,
}

#[derive(Default)]
struct Node {
    share: NodeShare,
    /// How far the node's clock is ahead of the true time.
    clock_ahead: u64,
    waiting: usize,
    flight: Option<Flight>,
    paused_until: u64,
}

#[derive(Clone, Copy)]
struct Plan {
    burst: u32,
    per_minute: u32,
    terms: SharingTerms,
    has_faults: bool,
    steps: u64,
    /// The longest time between two steps is 1/`pause` of the time in which the limit recovers one
    /// request.
    pause: u64,
}

struct Run {
    allowed: u64,
    /// Whether the nodes allowed more requests than the limit.
    is_over: bool,
}

/// Runs a plan with `Counting::BeforeAnswer`. If the nodes allow a request while the token bucket
/// is empty, the nodes exceed the limit.
fn run(plan: Plan, rng: &mut Rng) -> Run {
    let limit = RateLimit::new(plan.burst, plan.per_minute);
    let cost = limit.cost(1);
    let mut bucket = Bucket::new(plan.burst, plan.per_minute);
    let mut nodes: Vec<Node> = (0..plan.terms.nodes)
        .map(|_| Node { clock_ahead: rng.below(MINUTE) / MICRO * MICRO, ..Node::default() })
        .collect();
    let (mut shared, shared_ahead_us) = (0, rng.below(1 << 40));
    let (mut now, mut result) = (MICRO, Run { allowed: 0, is_over: false });
    let (mut favourite, lonely_until) = (0, rng.pick(&[0, plan.steps / 3, plan.steps / 2]));
    for step in 0..plan.steps {
        if rng.percent(5) && step >= lonely_until {
            favourite = rng.below(nodes.len() as u64);
        }
        // The favourite node gets most requests. Before the step `lonely_until`, it gets all.
        let at = if rng.percent(60) || step < lonely_until {
            favourite
        } else {
            rng.below(nodes.len() as u64)
        };
        let at = usize::try_from(at).expect("small");
        let is_last = step + 20 * u64::from(plan.terms.nodes) > plan.steps;
        let mut allow = |count: u64| {
            for _ in 0..count {
                result.is_over |= !bucket.take(now);
            }
            result.allowed += count;
        };
        let node = &mut nodes[at];
        if node.paused_until <= now {
            let own_now = now + node.clock_ahead;
            if !is_last {
                let decided =
                    node.share.spend(limit, (own_now, cost), &plan.terms, Counting::BeforeAnswer);
                match decided {
                    ShareDecision::Allowed { .. } => allow(1),
                    ShareDecision::Ask => node.waiting += 1,
                    ShareDecision::Wait(_) => {}
                }
            }
            let is_back = |flight: &mut Flight| {
                flight.returns_at <= now && (flight.answer.is_some() || flight.is_lost)
            };
            if let Some(flight) = node.flight.take_if(is_back)
                && let Some(answer) = flight.answer
            {
                let costs = vec![cost; flight.waiting];
                let served = node.share.receive((limit, own_now), answer, &flight.sent, &costs);
                // The shared storage already counted the first `flight.served` of these requests.
                allow(served.saturating_sub(flight.served) as u64);
            }
            if node.waiting > 0 && node.flight.is_none() {
                let served = node.share.serve(limit, own_now, &vec![cost; node.waiting]);
                allow(served as u64);
                node.waiting -= served;
            }
            if node.waiting > 0 && node.flight.is_none() {
                let waiting = std::mem::take(&mut node.waiting);
                let sent =
                    node.share.call(limit, (own_now, cost), &plan.terms, cost * waiting as u64);
                let slow = if plan.has_faults { rng.pick(&[1, 1, 4, 40]) } else { 1 };
                let mut way = || rng.below(slow * 4 * cost / plan.pause + 2) / MICRO * MICRO;
                let arrives_at = now + way();
                let returns_at = arrives_at + way();
                let is_lost = plan.has_faults && rng.percent(5);
                let (answer, served) = (None, 0);
                let flight =
                    Flight { sent, waiting, arrives_at, returns_at, answer, served, is_lost };
                node.flight = Some(flight);
            }
            if plan.has_faults && rng.percent(1) {
                node.paused_until = now + rng.below(10 * cost) / MICRO * MICRO;
            }
            // A node may use a limit's free part without a share, and reports this later. A dead
            // node never reports. So nodes die only if the limit has no free part.
            if plan.has_faults && plan.burst < 256 && rng.percent(1) {
                *node = Node { clock_ahead: node.clock_ahead, ..Node::default() };
            }
        }
        for node in &mut nodes {
            let Some(flight) = &mut node.flight else { continue };
            if flight.arrives_at <= now && flight.answer.is_none() && !flight.is_lost {
                let (state, answer) = flight.sent.call.apply(shared, now / MICRO + shared_ahead_us);
                (shared, flight.answer) = (state, Some(answer));
                // The answer of the shared storage may get lost, too.
                if plan.has_faults && rng.percent(5) {
                    (flight.is_lost, flight.answer) = (true, None);
                } else {
                    let granted = usize::try_from(answer.granted_us * MICRO / cost).expect("small");
                    flight.served = granted.min(flight.waiting);
                    allow(flight.served as u64);
                }
            }
        }
        now += rng.below(cost / plan.pause + 1) / MICRO * MICRO;
    }
    result
}

fn terms(nodes: u32, share_part: u32) -> SharingTerms {
    SharingTerms { nodes, share_part, unreported_part: 16 }
}

/// Simulates nodes with faults. Some of the limits have a free part.
fn faulty(seed: u64) -> Run {
    let mut rng = Rng(seed);
    let plan = Plan {
        burst: rng.pick(&[1, 2, 3, 5, 10, 40, 100, 300, 700]),
        per_minute: rng.pick(&[60, 600, 6_000, 60_000]),
        terms: terms(rng.pick(&[1, 2, 3, 5]), rng.pick(&[4, 16, 64])),
        has_faults: true,
        steps: 3_000,
        pause: rng.pick(&[1, 2, 8, 64]),
    };
    run(plan, &mut rng)
}

/// Simulates nodes without faults. In a short time, more requests arrive than the limit allows.
/// Returns the limit's burst and the run.
fn calm(seed: u64) -> (u64, Run) {
    let mut rng = Rng(seed);
    let burst = rng.pick(&[1, 2, 3, 5, 10, 40, 100, 250]);
    let plan = Plan {
        burst,
        per_minute: 1,
        terms: terms(rng.pick(&[2, 3, 5]), rng.pick(&[4, 16, 64])),
        has_faults: false,
        steps: 3_000,
        pause: 1_000_000,
    };
    (burst.into(), run(plan, &mut rng))
}

#[test]
fn all_nodes_together_never_exceed_a_limit_under_faults() {
    let mut allowed = 0;
    for seed in 0..3_000 {
        let run = faulty(seed);
        assert!(!run.is_over, "seed {seed}");
        allowed += run.allowed;
    }
    assert!(allowed > 100_000, "the runs allowed only {allowed} requests");
}

#[test]
fn a_buyer_who_spreads_requests_over_nodes_gets_exactly_the_limit() {
    for seed in 0..300 {
        let (burst, run) = calm(seed);
        assert_eq!((run.allowed, run.is_over), (burst, false), "seed {seed}");
    }
}

#[test]
fn each_rule_is_noticed_when_it_is_removed() {
    for &rule in LimitRule::ALL {
        REMOVED.set(Some(rule));
        let is_noticed = (0..3_000).any(|seed| {
            let is_wrong = seed < 300 && {
                let (burst, run) = calm(seed);
                run.allowed != burst
            };
            is_wrong || faulty(seed).is_over
        }) || requests_after_a_fraction() != [0, 1];
        REMOVED.set(None);
        assert!(is_noticed, "{rule:?}");
    }
}

/// A used-up limit recovers one request per second. One node asks for one request after half a
/// second, and another node after a second. Returns the number of requests that each node gets.
fn requests_after_a_fraction() -> [usize; 2] {
    let limit = RateLimit::new(3, 60);
    let (cost, terms) = (limit.cost(1), terms(2, 64));
    let used_up = LimitCall { used_us: 3_000_000, burst_us: 3_000_000, ..LimitCall::default() };
    let (mut state, _) = used_up.apply(0, 0);
    [500_000, 1_000_000].map(|now_us| {
        let mut share = NodeShare::default();
        let sent = share.call(limit, (0, cost), &terms, cost);
        let (next, answer) = sent.call.apply(state, now_us);
        state = next;
        share.receive((limit, 0), answer, &sent, &[cost])
    })
}

#[test]
fn a_fraction_of_a_request_is_not_granted() {
    assert_eq!(requests_after_a_fraction(), [0, 1]);
}

#[test]
fn a_buyer_far_below_a_large_limit_causes_no_call_and_no_report() {
    let limit = RateLimit::new(50_000, 60_000);
    for nodes in [1, 3, 16] {
        let (mut share, terms) = (NodeShare::default(), terms(nodes, 64));
        for _ in 0..190 {
            assert_eq!(
                share.spend(limit, (5, limit.cost(1)), &terms, Counting::BeforeAnswer),
                ShareDecision::Allowed { report: false }
            );
        }
    }
}

#[test]
fn a_request_answered_from_memory_is_counted_after_its_answer_except_near_the_limit() {
    let limit = RateLimit::new(10, 1);
    let (cost, terms) = (limit.cost(1), terms(3, 64));
    let mut share = NodeShare::default();
    let mut spend = || share.spend(limit, (5, cost), &terms, Counting::AfterAnswer);
    for _ in 0..3 {
        assert_eq!(spend(), ShareDecision::Allowed { report: true });
    }
    assert_eq!(
        spend(),
        ShareDecision::Ask,
        "the node must ask, because three nodes with four requests each exceed the limit"
    );
    let sent = share.call(limit, (5, cost), &terms, cost);
    let (_, answer) = sent.call.apply(0, 0);
    assert_eq!(share.receive((limit, 5), answer, &sent, &[cost]), 1);
    let mut spend = || share.spend(limit, (5, cost), &terms, Counting::AfterAnswer);
    assert_eq!(
        spend(),
        ShareDecision::Allowed { report: true },
        "four of ten requests are known, so one more must be allowed"
    );
}

#[test]
fn a_limit_that_all_nodes_used_up_is_refused_without_a_call() {
    let limit = RateLimit::new(5, 60);
    let (cost, terms) = (limit.cost(1), terms(2, 64));
    let mut share = NodeShare::default();
    let full = LimitCall { used_us: 5_000_000, burst_us: 5_000_000, ..LimitCall::default() };
    let (state, _) = full.apply(0, 100);
    let sent = share.call(limit, (0, cost), &terms, cost);
    let (_, answer) = sent.call.apply(state, 100);
    assert_eq!(share.receive((limit, 0), answer, &sent, &[cost]), 0);
    for counting in [Counting::BeforeAnswer, Counting::AfterAnswer] {
        let decided = share.spend(limit, (0, cost), &terms, counting);
        assert!(
            matches!(decided, ShareDecision::Wait(nanos) if nanos > 999_000_000),
            "{decided:?}"
        );
    }
    let decided = share.spend(limit, (1_000_000_000, cost), &terms, Counting::BeforeAnswer);
    assert_eq!(decided, ShareDecision::Ask, "a second later, the node must ask again");
}

#[test]
fn a_node_that_died_costs_the_limit_its_share_until_the_share_ends() {
    let limit = RateLimit::new(64, 60);
    let (cost, terms) = (limit.cost(1), terms(2, 16));
    let mut dead = NodeShare::default();
    let (state, answer) = dead.call(limit, (0, cost), &terms, cost).call.apply(0, 0);
    assert_eq!(
        answer.granted_us, 5_000_000,
        "the share must cover the waiting request and four more requests"
    );
    let rest = |now_us| {
        let sent = NodeShare::default().call(limit, (0, cost), &terms, 64 * cost);
        sent.call.apply(state, now_us).1.granted_us / 1_000_000
    };
    assert_eq!([rest(0), rest(1_000_000), rest(5_000_000)], [59, 60, 64]);
}

#[test]
fn an_unreachable_shared_place_leaves_each_node_its_part() {
    let whole = RateLimit::new(12, 1);
    let part = whole.split_between(3);
    let mut share = NodeShare::default();
    let spent = (0..20).filter(|_| {
        let decided = share.spend_alone(part, (7, part.cost(1)), whole.cost(1));
        matches!(decided, ShareDecision::Allowed { .. })
    });
    assert_eq!(spent.count(), 4);
    assert_eq!(share.unreported, 4 * whole.cost(1), "the report must use the whole limit's cost");
}
