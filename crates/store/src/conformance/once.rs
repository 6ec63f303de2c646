//! What may be used once: spent by the first, remembered until it ends; wrong answers are counted for a while.
use doorbuster_core::Millis;

use super::Rig;
use crate::contract::{Spending, Spent};

const WINDOW_MS: i64 = 10_000;

fn spending(rig: &Rig, id: u8, by: u8, is_right: bool) -> Spending {
    let until = rig.store.now().plus(120_000);
    Spending { id: [id; 16], until, by: [by; 16], is_right, window_ms: WINDOW_MS }
}

async fn spend(rig: &Rig, id: u8, by: u8, is_right: bool) -> Option<u32> {
    match rig.store.spend(spending(rig, id, by, is_right)).await.expect("writes") {
        Spent::Before => None,
        Spent::Now { misses, until } => {
            assert!(rig.store.now() < until && until <= rig.store.now().plus(WINDOW_MS));
            Some(misses)
        }
    }
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

/// Wrong answers are counted for each buyer, also when they come at the same moment, and forgotten together.
pub async fn wrong_answers_are_counted_for_a_while(rig: Rig) {
    for n in 0..4 {
        assert_eq!(spend(&rig, n, 1, false).await, Some(u32::from(n)));
    }
    assert_eq!(spend(&rig, 10, 1, true).await, Some(4), "a right answer hears of them and adds none");
    assert_eq!(spend(&rig, 11, 1, true).await, Some(4));
    assert_eq!(spend(&rig, 12, 2, true).await, Some(0), "another buyer has none");
    rig.clock.pass(WINDOW_MS + 1_000);
    assert_eq!(spend(&rig, 13, 1, false).await, Some(0));
    let at_once: Vec<_> = (20..30)
        .map(|id| {
            let (store, spending) = (rig.store.clone(), spending(&rig, id, 3, false));
            tokio::spawn(async move { store.spend(spending).await.expect("writes") })
        })
        .collect();
    let mut counted = Vec::new();
    for answer in at_once {
        let Spent::Now { misses, .. } = answer.await.expect("no panic") else { panic!("each is spent once") };
        counted.push(misses);
    }
    counted.sort_unstable();
    assert_eq!(counted, (0..10).collect::<Vec<_>>());
}

/// What has ended is forgotten as others come, so that the table does not grow.
pub async fn what_has_ended_is_forgotten(rig: Rig) {
    let ended = Millis(rig.store.now().0 - 1);
    for id in 0..100 {
        let spending = Spending { until: ended, ..spending(&rig, id, id, false) };
        assert!(matches!(rig.store.spend(spending).await.expect("writes"), Spent::Now { .. }));
        assert!(rig.store.spent().await.expect("reads") <= 2);
    }
    spend(&rig, 200, 1, true).await;
    assert_eq!(rig.store.spent().await.expect("reads"), 1);
}
