//! Tests that old dead letters of tickets are deleted, and that the tickets' verdicts stay.
use doorbuster_core::{Millis, Ticket, Verdict};
use doorbuster_store::conformance::{Fixture, id_key};
use doorbuster_store::{DeadLetterCounts, DeadLetterId, DeadLetterOutcome, RetentionCutoffs};

use crate::erase::shell::Shell;
use crate::erase::{on_postgres, on_sqlite};

/// The database refuses a ticket with this many units, so the ticket cannot be settled.
const POISON: u32 = 4;

fn id(ticket: &Ticket) -> DeadLetterId {
    DeadLetterId::Ticket(id_key().id_of(ticket))
}

/// Deletes at most `limit` dead letters from before this time, and no other rows.
async fn delete_expired(fixture: &Fixture, before: Millis, limit: usize) -> usize {
    let what = RetentionCutoffs { dead_before: before, ..RetentionCutoffs::NONE };
    fixture.store.delete_expired(what, limit).await.expect("writes")
}

async fn old_dead_letters_are_deleted_and_verdicts_stay(fixture: Fixture, shell: Shell) -> Shell {
    let grant = fixture.slot(20, 20, 9).await;
    shell.poison(POISON);
    let lose = async |n: u64| {
        let ticket = fixture.ticket(&grant, n, "anna", &format!("key-{n}"), POISON);
        assert_eq!(fixture.settle(&ticket).await.verdict, Verdict::Unavailable);
        ticket
    };
    let (unseen, seen) = (lose(1).await, lose(2).await);
    assert!(
        fixture.store.discard_dead_letter(id(&seen), "looked at".to_owned()).await.expect("writes")
    );
    fixture.clock.advance(1_000);
    let young = lose(3).await;
    let now = fixture.clock.now();
    assert_eq!(
        delete_expired(&fixture, now.plus(-1_000), 9).await,
        0,
        "dead letters that are not old enough must stay"
    );
    assert_eq!(
        delete_expired(&fixture, now, 1).await,
        1,
        "at most `limit` dead letters must be deleted"
    );
    assert_eq!(
        delete_expired(&fixture, now, 9).await,
        1,
        "resolved and unresolved dead letters must be deleted"
    );
    assert_eq!(delete_expired(&fixture, now, 9).await, 0, "a new dead letter must stay");
    let left = async || {
        let letters = fixture.dead_tickets().await;
        letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(left().await, [id(&young)]);
    assert_eq!(
        fixture.store.dead_letter_counts().await.expect("reads"),
        DeadLetterCounts { tickets: 1, ..DeadLetterCounts::default() }
    );
    for (ticket, outcome) in [
        (&unseen, DeadLetterOutcome::NotFound),
        (&seen, DeadLetterOutcome::NotFound),
        (&young, DeadLetterOutcome::Gone),
    ] {
        assert_eq!(fixture.store.retry_dead_letter(id(ticket), 9).await.expect("writes"), outcome);
        let shown = fixture.store.dead_letter(id(ticket)).await.expect("reads");
        assert_eq!(shown.is_some(), outcome == DeadLetterOutcome::Gone);
        let again = fixture.settle(ticket).await;
        assert_eq!(
            (again.verdict, again.fresh),
            (Verdict::Unavailable, false),
            "a ticket that is delivered again must keep its verdict"
        );
    }
    assert_eq!(left().await, [id(&young)], "a deleted dead letter must not be written again");
    fixture.expect_units(grant.slot.item, 0, 20, 0, 0).await;
    shell
}

#[tokio::test]
async fn in_sqlite_old_dead_letters_are_deleted_and_verdicts_stay() {
    on_sqlite(old_dead_letters_are_deleted_and_verdicts_stay).await;
}

#[tokio::test]
async fn in_postgres_old_dead_letters_are_deleted_and_verdicts_stay() {
    on_postgres(old_dead_letters_are_deleted_and_verdicts_stay).await;
}
