//! What may be used once: spent by the first, remembered until it ends; wrong answers are counted for a while.
use super::Rig;
use crate::contract::{Spending, Spent};
use crate::limits::{FORGET_AFTER_MS, FORGET_AT_ONCE};

const WINDOW_MS: i64 = 10_000;
/// How long a challenge may be answered.
const LIVES_MS: i64 = 120_000;

fn spending(rig: &Rig, id: u8, by: u8, is_right: bool) -> Spending {
    let until = rig.store.now().plus(LIVES_MS);
    Spending { id: [id; 16], until, by: [by; 16], is_right, window_ms: WINDOW_MS }
}

async fn spend(rig: &Rig, id: u8, by: u8, is_right: bool) -> Option<u32> {
    match rig.store.spend(spending(rig, id, by, is_right)).await.expect("writes") {
        Spent::Before => None,
        Spent::Over => panic!("challenge {id} has only begun"),
        Spent::Now { misses, until } => {
            assert!(rig.store.now() < until && until <= rig.store.now().plus(WINDOW_MS));
            Some(misses)
        }
    }
}

/// Sends all of these at the same moment; of each whether it is right, and how many wrong answers it heard of.
async fn at_once(rig: &Rig, answers: impl Iterator<Item = Spending>) -> Vec<(bool, u32)> {
    let asked: Vec<_> = answers
        .map(|spending| {
            let store = rig.store.clone();
            tokio::spawn(async move {
                (spending.is_right, store.spend(spending).await.expect("writes"))
            })
        })
        .collect();
    let mut heard = Vec::new();
    for answer in asked {
        let (is_right, spent) = answer.await.expect("no panic");
        let Spent::Now { misses, .. } = spent else { panic!("each is spent once") };
        heard.push((is_right, misses));
    }
    heard
}

/// A challenge is spent by its first answer, right or wrong, and no other.
pub async fn what_is_spent_stays_spent(rig: Rig) {
    assert_eq!(spend(&rig, 1, 1, true).await, Some(0));
    assert_eq!(spend(&rig, 1, 1, true).await, None);
    assert_eq!(spend(&rig, 1, 2, true).await, None, "nor by anybody else");
    assert_eq!(spend(&rig, 2, 1, false).await, Some(0));
    assert_eq!(spend(&rig, 2, 1, true).await, None, "nor after a wrong answer");
}

/// Of many answers at the same moment exactly one is the first.
pub async fn of_answers_at_once_one_is_first(rig: Rig) {
    for id in 0..20 {
        let answers: Vec<_> = (0..16)
            .map(|_| {
                let (store, spending) = (rig.store.clone(), spending(&rig, id, id, true));
                tokio::spawn(async move { store.spend(spending).await.expect("writes") })
            })
            .collect();
        let mut first = 0;
        for answer in answers {
            first += u32::from(answer.await.expect("no panic") != Spent::Before);
        }
        assert_eq!(first, 1, "challenge {id}");
    }
}

/// Wrong answers are counted for each buyer, and forgotten together.
pub async fn wrong_answers_are_counted_for_a_while(rig: Rig) {
    for n in 0..4 {
        assert_eq!(spend(&rig, n, 1, false).await, Some(u32::from(n)));
    }
    assert_eq!(
        spend(&rig, 10, 1, true).await,
        Some(4),
        "a right answer hears of them and adds none"
    );
    assert_eq!(spend(&rig, 11, 1, true).await, Some(4));
    assert_eq!(spend(&rig, 12, 2, true).await, Some(0), "another buyer has none");
    assert_eq!(spend(&rig, 13, 2, false).await, Some(0), "a right one added none");
    rig.clock.pass(WINDOW_MS + 1_000);
    assert_eq!(spend(&rig, 14, 1, true).await, Some(0));
    assert_eq!(spend(&rig, 15, 1, false).await, Some(0));
    assert_eq!(spend(&rig, 16, 1, true).await, Some(1));
}

/// Of wrong answers at the same moment each hears of another number of those before it, however many right ones are among them: so exactly as many are looked
/// at as may be. A right one that comes behind hears of all.
pub async fn of_wrong_answers_at_once_as_many_are_looked_at_as_may_be(rig: Rig) {
    const LOOKED_AT: u32 = 10;
    const WRONG: u32 = 30;
    for by in 0..4 {
        let answers = (0..40).map(|n| spending(&rig, 50 * by + n, by, n % 4 == 3));
        let heard = at_once(&rig, answers).await;
        assert!(heard.iter().all(|(_, misses)| *misses <= WRONG), "{heard:?}");
        let mut wrong: Vec<u32> =
            heard.iter().filter(|(is_right, _)| !is_right).map(|(_, misses)| *misses).collect();
        wrong.sort_unstable();
        assert_eq!(wrong, (0..WRONG).collect::<Vec<_>>());
        let looked_at = wrong.iter().filter(|misses| **misses < LOOKED_AT).count();
        assert_eq!(looked_at, LOOKED_AT as usize);
        assert_eq!(spend(&rig, 200 + by, by, true).await, Some(WRONG), "also a right one");
    }
}

/// An answer that comes to the store after the end of its challenge counts for nothing, whether or not the challenge was spent before.
pub async fn what_has_ended_counts_for_nothing(rig: Rig) {
    let (spent, unspent) = (spending(&rig, 1, 1, true), spending(&rig, 2, 2, false));
    assert!(matches!(rig.store.spend(spent).await.expect("writes"), Spent::Now { misses: 0, .. }));
    rig.clock.pass(LIVES_MS);
    for _ in 0..3 {
        for late in [spent, unspent] {
            assert_eq!(rig.store.spend(late).await.expect("writes"), Spent::Over);
        }
    }
    assert_eq!(spend(&rig, 3, 2, true).await, Some(0), "nor is it a wrong answer");
    rig.clock.pass(FORGET_AFTER_MS);
    assert_eq!(spend(&rig, 4, 1, true).await, Some(0));
    assert_eq!(
        rig.store.spent().await.expect("reads"),
        2,
        "the first is forgotten, the late ones were never kept"
    );
    assert_eq!(rig.store.spend(spent).await.expect("writes"), Spent::Over);
}

/// What has ended is forgotten a while later as others come, so that the table does not grow; not at once, so that it is not spent anew by whoever is a little
/// behind.
pub async fn what_has_ended_is_forgotten(rig: Rig) {
    let first = spending(&rig, 0, 0, true);
    assert!(matches!(rig.store.spend(first).await.expect("writes"), Spent::Now { .. }));
    for id in 1..100 {
        assert_eq!(spend(&rig, id, id, false).await, Some(0));
    }
    assert_eq!(rig.store.spent().await.expect("reads"), 100);
    rig.clock.pass(LIVES_MS);
    assert_eq!(spend(&rig, 100, 100, true).await, Some(0));
    rig.clock.pass(-1);
    assert_eq!(rig.store.spend(first).await.expect("writes"), Spent::Before);
    rig.clock.pass(FORGET_AFTER_MS + 1);
    let (mut left, mut id) = (101, 101);
    while left > FORGET_AT_ONCE.unsigned_abs() {
        assert_eq!(spend(&rig, id, id, true).await, Some(0));
        let before = std::mem::replace(&mut left, rig.store.spent().await.expect("reads"));
        assert!(left < before, "more are forgotten than come");
        id += 1;
    }
}
