//! A ticket that can never settle is given up alone; a job that fails, or panics, is undone alone.
use doorbuster_core::{Cause, Seq, Verdict};
use doorbuster_store::conformance::{Rig, id_key};
use doorbuster_store::{DeadId, Held, PatchOutcome, SaleRow, StoreError};

use crate::rig::{Dir, open};

/// Makes the table refuse what names this buyer, as a bug or a damaged page would.
fn poison(dir: &Dir, table: &str, condition: &str) {
    let sql = format!(
        "CREATE TRIGGER poison_{table} BEFORE INSERT ON {table} WHEN {condition} BEGIN SELECT raise(ABORT, 'poison'); END"
    );
    dir.shell().execute_batch(&sql).expect("a trigger");
}

async fn batch_with_poison(rig: &Rig) -> Vec<Verdict> {
    let grant = rig.store.open_grants().await.expect("reads").remove(0);
    let tickets = (1..=7).map(|n| {
        let who = if n == 4 { "poison".to_owned() } else { format!("buyer-{n}") };
        rig.ticket(&grant, n, &who, "k", 1)
    });
    let resolved = rig.store.settle(tickets.collect()).await.expect("the batch settles");
    resolved.into_iter().map(|r| r.verdict).collect()
}

fn wanted() -> Vec<Verdict> {
    let mut wanted = vec![Verdict::Reserved; 7];
    wanted[3] = Verdict::Unavailable;
    wanted
}

#[tokio::test]
async fn a_poisonous_ticket_is_returned_and_the_rest_settles() {
    let dir = Dir::new();
    let rig = open(dir.path());
    let grant = rig.slot(10, 10, 3).await;
    poison(&dir, "orders", "NEW.buyer = 'poison'");
    rig.told.forget();
    assert_eq!(batch_with_poison(&rig).await, wanted());
    assert_eq!(
        rig.told.take().iter().map(|t| t.orders.len()).collect::<Vec<_>>(),
        [6],
        "one commit"
    );
    let letters = rig.store.dead_letters(9).await.expect("reads");
    let ticket = id_key().id_of(&rig.ticket(&grant, 4, "poison", "k", 1));
    assert_eq!(
        letters.iter().map(|l| (l.ticket, l.at)).collect::<Vec<_>>(),
        [(ticket, rig.clock.now())]
    );
    assert!(letters[0].reason.contains("poison"), "{}", letters[0].reason);
    let (dead, held) =
        rig.store.dead_letter(DeadId::Ticket(ticket)).await.expect("reads").expect("it is there");
    assert_eq!((&dead.reason, dead.about), (&letters[0].reason, ticket.to_string()));
    let Held::Request { item, buyer, units } = held else { panic!("{held:?}") };
    assert_eq!((item, buyer.as_str(), units), (grant.slot.item, "poison", 1));
    let feed = rig.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
    assert_eq!(
        feed.iter().map(|f| (f.ticket, f.units)).collect::<Vec<_>>(),
        [(Some(ticket), 1)],
        "credited"
    );
    rig.expect_units(grant.slot.item, 0, 4, 6, 0).await;
    assert_eq!(batch_with_poison(&rig).await, wanted(), "delivered again");
    assert_eq!(rig.store.dead_letters(9).await.expect("reads").len(), 1);
    rig.store.close().await;
}

#[tokio::test]
async fn a_ticket_that_cannot_even_be_returned_does_not_hold_up_the_rest() {
    let dir = Dir::new();
    let rig = open(dir.path());
    let grant = rig.slot(10, 10, 3).await;
    poison(&dir, "orders", "NEW.buyer = 'poison'");
    poison(&dir, "resolution", "TRUE");
    assert_eq!(batch_with_poison(&rig).await, wanted());
    let letters = rig.store.dead_letters(9).await.expect("reads");
    assert!(letters[0].reason.contains("cannot be returned"), "{}", letters[0].reason);
    rig.expect_units(grant.slot.item, 0, 4, 6, 0).await;
    rig.store.close_grant(grant.id, Cause::Rolled).await.expect("writes");
    rig.expect_units(grant.slot.item, 4, 0, 6, 0).await;
    rig.store.close().await;
}

#[tokio::test]
async fn a_job_that_fails_or_panics_is_undone_alone() {
    let dir = Dir::new();
    let rig = open(dir.path());
    let grant = rig.slot(10, 10, 3).await;
    poison(&dir, "adjustment", "TRUE");
    let change = doorbuster_store::Adjustment {
        item: grant.slot.item,
        units: 5,
        reason: "recount".to_owned(),
        key: "a".to_owned(),
    };
    let sale = rig.store.sales().await.expect("reads").remove(0).id;
    let panics = rig.store.patch_sale(
        &sale,
        None,
        Box::new(|sale| {
            sale.title = "half done".to_owned();
            panic!("a bug in a patch")
        }),
    );
    let ticket = rig.ticket(&grant, 1, "anna", "k", 1);
    let order = rig.store.settle(vec![ticket]);
    let (failed, panicked, settled) = tokio::join!(rig.store.adjust(change), panics, order);
    assert!(matches!(failed, Err(StoreError::Unexpected(_))), "{failed:?}");
    let Err(StoreError::Unexpected(said)) = panicked else { panic!("{panicked:?}") };
    assert!(said.contains("a bug in a patch"), "{said}");
    assert_eq!(settled.expect("settles")[0].verdict, Verdict::Reserved);
    rig.expect_units(grant.slot.item, 0, 9, 1, 0).await;
    let rename = |sale: &mut SaleRow| {
        sale.title = "whole".to_owned();
        Ok(())
    };
    let renamed = rig.store.patch_sale(&sale, Some(2), Box::new(rename)).await;
    assert!(
        matches!(renamed, Ok(PatchOutcome::Done(row)) if row.title == "whole"),
        "the store goes on"
    );
    rig.store.close().await;
}
