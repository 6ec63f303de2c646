//! Tests access codes: how many buyers a code admits, and how codes are revoked and deleted.
use doorbuster_core::{BuyerId, Stock};

use super::{Fixture, buyer, new_item, new_sale};
use crate::contract::{CodeCounts, CodeSelection, CodesOutcome, DeleteOutcome};
use crate::store::CodeHash;

const CROWD: usize = 64;

fn hash(n: u8) -> CodeHash {
    [n; 32]
}

fn prefix(n: u8) -> String {
    format!("AB{n:02}")
}

async fn sale(fixture: &Fixture, id: &str) {
    let sale = new_sale(id, vec![new_item("item", Stock::Counted(1), 1)]);
    fixture.store.create_sale(sale).await.expect("writes").expect("a free id");
}

async fn add(fixture: &Fixture, hashes: &[u8], uses: u32) -> CodesOutcome {
    fixture
        .store
        .add_codes("spring", hashes.iter().map(|n| (prefix(*n), hash(*n))).collect(), uses)
        .await
        .expect("writes")
}

async fn spend(fixture: &Fixture, n: u8, who: &str) -> bool {
    fixture.store.spend_code("spring", hash(n), &buyer(who)).await.expect("writes")
}

async fn counts(fixture: &Fixture) -> CodeCounts {
    fixture.store.code_counts("spring").await.expect("reads")
}

/// A code admits as many buyers as it has uses. A buyer's repeated request spends no further use of
/// the code.
pub async fn a_code_is_spent_once_by_each_buyer(fixture: Fixture) {
    assert_eq!(add(&fixture, &[1], 1).await, CodesOutcome::NotFound);
    sale(&fixture, "spring").await;
    assert_eq!(add(&fixture, &[1], 1).await, CodesOutcome::Done);
    assert_eq!(add(&fixture, &[2], 2).await, CodesOutcome::Done);
    assert!(!spend(&fixture, 9, "anna").await, "an unknown code must be refused");
    assert!(spend(&fixture, 1, "anna").await);
    assert!(spend(&fixture, 1, "anna").await, "a buyer must be able to spend the same code again");
    assert!(!spend(&fixture, 1, "bert").await, "a used-up code must not admit another buyer");
    assert!(spend(&fixture, 2, "bert").await && spend(&fixture, 2, "carl").await);
    assert!(!spend(&fixture, 2, "anna").await);
    assert!(spend(&fixture, 2, "bert").await);
    assert_eq!(counts(&fixture).await, CodeCounts { codes: 2, uses: 3, spent: 3 });
}

/// Codes can be revoked by prefix or by hash. A buyer who spent a code before it was revoked keeps
/// the access.
pub async fn revoked_codes_admit_no_further_buyer(fixture: Fixture) {
    sale(&fixture, "spring").await;
    sale(&fixture, "autumn").await;
    assert_eq!(add(&fixture, &[1, 2, 13], 2).await, CodesOutcome::Done);
    assert!(spend(&fixture, 1, "anna").await);
    let revoke = async |sale: &str, codes| fixture.store.revoke_codes(sale, codes).await;
    let by_prefix = |text: &str| CodeSelection::Prefix(text.to_owned());
    assert_eq!(
        revoke("autumn", by_prefix("AB")).await.expect("writes"),
        0,
        "codes of another sale must not be revoked"
    );
    assert_eq!(revoke("spring", by_prefix("AB0")).await.expect("writes"), 2);
    assert_eq!(
        revoke("spring", by_prefix("AB0")).await.expect("writes"),
        0,
        "revoked codes must not be revoked again"
    );
    assert!(
        spend(&fixture, 1, "anna").await,
        "a buyer who spent the code before must keep the access"
    );
    assert!(!spend(&fixture, 1, "bert").await && !spend(&fixture, 2, "bert").await);
    assert!(spend(&fixture, 13, "bert").await);
    assert_eq!(revoke("spring", CodeSelection::Code(hash(13))).await.expect("writes"), 1);
    assert!(!spend(&fixture, 13, "carl").await);
    assert_eq!(counts(&fixture).await, CodeCounts { codes: 2, uses: 2, spent: 2 });
}

/// Even if many buyers spend a code concurrently, the code admits only as many buyers as it has
/// uses.
pub async fn concurrent_buyers_spend_a_code_at_most_its_uses(fixture: Fixture) {
    sale(&fixture, "spring").await;
    assert_eq!(add(&fixture, &[1], 3).await, CodesOutcome::Done);
    let spending = (0..CROWD).map(|n| {
        let (store, buyer) = (fixture.store.clone(), buyer(&format!("buyer-{}", n % (CROWD / 2))));
        tokio::spawn(async move {
            (buyer.clone(), store.spend_code("spring", hash(1), &buyer).await.expect("writes"))
        })
    });
    let mut let_in: Vec<BuyerId> = Vec::new();
    for task in spending.collect::<Vec<_>>() {
        let (buyer, spent) = task.await.expect("no panic");
        if spent {
            let_in.push(buyer);
        }
    }
    let calls = let_in.len();
    let_in.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    let_in.dedup();
    assert_eq!((let_in.len(), calls), (3, 6), "both calls of a buyer must return the same answer");
    assert_eq!(counts(&fixture).await, CodeCounts { codes: 1, uses: 3, spent: 3 });
}

/// When a sale is deleted, its codes are deleted too. These codes are not valid for a new sale with
/// the same id.
pub async fn codes_are_deleted_with_their_sale(fixture: Fixture) {
    sale(&fixture, "spring").await;
    assert_eq!(add(&fixture, &[1, 2], 1).await, CodesOutcome::Done);
    assert!(spend(&fixture, 1, "anna").await);
    assert_eq!(
        fixture.store.delete_sale("spring", None).await.expect("writes"),
        DeleteOutcome::Done
    );
    sale(&fixture, "spring").await;
    assert_eq!(counts(&fixture).await, CodeCounts::default());
    assert!(!spend(&fixture, 1, "anna").await && !spend(&fixture, 2, "anna").await);
}
