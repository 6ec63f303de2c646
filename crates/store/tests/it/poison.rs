//! Tests a ticket that can never be settled. This ticket must become a dead letter, and the other
//! tickets must be settled. Also tests a job that fails or panics: the store undoes this job, and
//! commits the other jobs of its group.
use doorbuster_core::{CloseCause, Seq, Verdict};
use doorbuster_store::conformance::{Fixture, id_key};
use doorbuster_store::{DeadLetterContent, DeadLetterId, PatchOutcome, SaleRow, StoreError};

use crate::fixture::{Dir, open};

/// Makes the table refuse the rows that match `condition`, as a bug or a damaged page would.
fn poison(dir: &Dir, table: &str, condition: &str) {
    let sql = format!(
        "CREATE TRIGGER poison_{table} BEFORE INSERT ON {table} WHEN {condition} BEGIN SELECT \
         raise(ABORT, 'poison'); END"
    );
    dir.shell().execute_batch(&sql).expect("a trigger");
}

async fn batch_with_poison(fixture: &Fixture) -> Vec<Verdict> {
    let grant = fixture.store.open_grants().await.expect("reads").remove(0);
    let tickets = (1..=7).map(|n| {
        let who = if n == 4 { "poison".to_owned() } else { format!("buyer-{n}") };
        fixture.ticket(&grant, n, &who, "k", 1)
    });
    let resolved = fixture.store.settle(tickets.collect()).await.expect("the batch settles");
    resolved.into_iter().map(|r| r.verdict).collect()
}

fn wanted() -> Vec<Verdict> {
    let mut wanted = vec![Verdict::Reserved; 7];
    wanted[3] = Verdict::Unavailable;
    wanted
}

#[tokio::test]
async fn a_ticket_that_cannot_settle_is_returned_and_the_others_settle() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(10, 10, 3).await;
    poison(&dir, "orders", "NEW.buyer = 'poison'");
    fixture.commits.forget();
    assert_eq!(batch_with_poison(&fixture).await, wanted());
    assert_eq!(
        fixture.commits.take().iter().map(|t| t.orders.len()).collect::<Vec<_>>(),
        [6],
        "the batch must be one commit"
    );
    let letters = fixture.dead_tickets().await;
    let ticket = id_key().id_of(&fixture.ticket(&grant, 4, "poison", "k", 1));
    assert_eq!(
        letters.iter().map(|l| (&l.id, l.at)).collect::<Vec<_>>(),
        [(&DeadLetterId::Ticket(ticket), fixture.clock.now())]
    );
    assert!(letters[0].reason.contains("poison"), "{}", letters[0].reason);
    let (letter, held) = fixture
        .store
        .dead_letter(DeadLetterId::Ticket(ticket))
        .await
        .expect("reads")
        .expect("the dead letter exists");
    assert_eq!((&letter.reason, letter.about), (&letters[0].reason, ticket.to_string()));
    let DeadLetterContent::Request { item, buyer, units } = held else { panic!("{held:?}") };
    assert_eq!((item, buyer.as_str(), units), (grant.slot.item, "poison", 1));
    let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
    assert_eq!(
        feed.iter().map(|f| (f.ticket, f.units)).collect::<Vec<_>>(),
        [(Some(ticket), 1)],
        "the ticket must be credited"
    );
    fixture.expect_units(grant.slot.item, 0, 4, 6, 0).await;
    assert_eq!(
        batch_with_poison(&fixture).await,
        wanted(),
        "tickets that are delivered again must keep their verdicts"
    );
    assert_eq!(fixture.dead_tickets().await.len(), 1);
    fixture.store.close().await;
}

#[tokio::test]
async fn a_ticket_that_cannot_be_returned_does_not_delay_the_others() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(10, 10, 3).await;
    poison(&dir, "orders", "NEW.buyer = 'poison'");
    poison(&dir, "resolution", "TRUE");
    assert_eq!(batch_with_poison(&fixture).await, wanted());
    let letters = fixture.dead_tickets().await;
    let reason = &letters[0].reason;
    assert!(reason.contains("could not be returned either"), "{reason}");
    fixture.expect_units(grant.slot.item, 0, 4, 6, 0).await;
    fixture.store.close_grant(grant.id, CloseCause::Rolled).await.expect("writes");
    fixture.expect_units(grant.slot.item, 4, 0, 6, 0).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn a_job_that_fails_or_panics_is_rolled_back_alone() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(10, 10, 3).await;
    poison(&dir, "adjustment", "TRUE");
    let change = doorbuster_store::Adjustment {
        item: grant.slot.item,
        units: 5,
        reason: "recount".to_owned(),
        key: "a".to_owned(),
    };
    let sale = fixture.store.sales().await.expect("reads").remove(0).id;
    let panics = fixture.store.patch_sale(
        &sale,
        None,
        Box::new(|sale| {
            sale.title = "half done".to_owned();
            panic!("a bug in a patch")
        }),
    );
    let ticket = fixture.ticket(&grant, 1, "anna", "k", 1);
    let order = fixture.store.settle(vec![ticket]);
    let (failed, panicked, settled) = tokio::join!(fixture.store.adjust(change), panics, order);
    assert!(matches!(failed, Err(StoreError::Unexpected(_))), "{failed:?}");
    let Err(StoreError::Unexpected(reason)) = panicked else { panic!("{panicked:?}") };
    assert!(reason.contains("a bug in a patch"), "{reason}");
    assert_eq!(settled.expect("settles")[0].verdict, Verdict::Reserved);
    fixture.expect_units(grant.slot.item, 0, 9, 1, 0).await;
    let rename = |sale: &mut SaleRow| {
        sale.title = "whole".to_owned();
        Ok(())
    };
    let renamed = fixture.store.patch_sale(&sale, Some(2), Box::new(rename)).await;
    assert!(
        matches!(renamed, Ok(PatchOutcome::Done(row)) if row.title == "whole"),
        "the store must keep working"
    );
    fixture.store.close().await;
}
