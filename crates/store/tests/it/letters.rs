//! Dead letters of tickets go after a while, in both stores; what became of the tickets stays.
use doorbuster_core::{Millis, Ticket, Verdict};
use doorbuster_store::conformance::{Rig, id_key};
use doorbuster_store::{DeadCounts, DeadId, DeadOutcome, Forget};

use crate::erase::shell::Shell;
use crate::erase::{on_postgres, on_sqlite};

/// A ticket of so many units cannot be settled.
const POISON: u32 = 4;

fn id(ticket: &Ticket) -> DeadId {
    DeadId::Ticket(id_key().id_of(ticket))
}

/// Forgets at most `limit` dead letters of before this, and nothing else; how many.
async fn forget(rig: &Rig, before: Millis, limit: usize) -> usize {
    let what = Forget { events_before: Millis(0), dead_before: before, inbox_before: Millis(0) };
    rig.store.forget(what, limit).await.expect("writes")
}

async fn old_letters_go_and_verdicts_stay(rig: Rig, shell: Shell) -> Shell {
    let grant = rig.slot(20, 20, 9).await;
    shell.poison(POISON);
    let lose = async |n: u64| {
        let ticket = rig.ticket(&grant, n, "anna", &format!("key-{n}"), POISON);
        assert_eq!(rig.settle(&ticket).await.verdict, Verdict::Unavailable);
        ticket
    };
    let (unseen, seen) = (lose(1).await, lose(2).await);
    assert!(rig.store.discard_dead(id(&seen), "looked at".to_owned()).await.expect("writes"));
    rig.clock.pass(1_000);
    let young = lose(3).await;
    let now = rig.clock.now();
    assert_eq!(forget(&rig, now.plus(-1_000), 9).await, 0, "not old enough");
    assert_eq!(forget(&rig, now, 1).await, 1, "no more than at once");
    assert_eq!(forget(&rig, now, 9).await, 1, "whether or not somebody has seen to it");
    assert_eq!(forget(&rig, now, 9).await, 0, "a young one stays");
    let left = async || {
        let letters = rig.store.dead_letters(9).await.expect("reads");
        letters.into_iter().map(|letter| DeadId::Ticket(letter.ticket)).collect::<Vec<_>>()
    };
    assert_eq!(left().await, [id(&young)]);
    assert_eq!(
        rig.store.dead_counts().await.expect("reads"),
        DeadCounts { tickets: 1, ..DeadCounts::default() }
    );
    for (ticket, outcome) in [
        (&unseen, DeadOutcome::NotFound),
        (&seen, DeadOutcome::NotFound),
        (&young, DeadOutcome::Gone),
    ] {
        assert_eq!(rig.store.retry_dead(id(ticket), 9).await.expect("writes"), outcome);
        let shown = rig.store.dead_letter(id(ticket)).await.expect("reads");
        assert_eq!(shown.is_some(), outcome == DeadOutcome::Gone);
        let again = rig.settle(ticket).await;
        assert_eq!((again.verdict, again.fresh), (Verdict::Unavailable, false), "delivered again");
    }
    assert_eq!(left().await, [id(&young)], "none is written anew");
    rig.expect_units(grant.slot.item, 0, 20, 0, 0).await;
    shell
}

#[tokio::test]
async fn in_sqlite_old_letters_go_and_verdicts_stay() {
    on_sqlite(old_letters_go_and_verdicts_stay).await;
}

#[tokio::test]
async fn in_postgres_old_letters_go_and_verdicts_stay() {
    on_postgres(old_letters_go_and_verdicts_stay).await;
}
