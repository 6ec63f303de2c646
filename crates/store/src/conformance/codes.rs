//! Access codes: added all or none, spent by so many buyers and no more, once by each.
use doorbuster_core::{BuyerId, Stock};

use super::{Rig, buyer, new_item, new_sale};
use crate::contract::{CodeCounts, CodesOutcome, DeleteOutcome};
use crate::store::CodeHash;

/// Buyers that come at once.
const CROWD: usize = 64;

fn hash(n: u8) -> CodeHash {
    [n; 32]
}

async fn sale(rig: &Rig, id: &str) {
    let sale = new_sale(id, vec![new_item("item", Stock::Counted(1), 1)]);
    rig.store.create_sale(sale).await.expect("writes").expect("a free id");
}

async fn add(rig: &Rig, hashes: &[u8], uses: u32) -> CodesOutcome {
    rig.store
        .add_codes("spring", hashes.iter().map(|n| hash(*n)).collect(), uses)
        .await
        .expect("writes")
}

async fn spend(rig: &Rig, n: u8, who: &str) -> bool {
    rig.store.spend_code("spring", hash(n), &buyer(who)).await.expect("writes")
}

async fn counts(rig: &Rig) -> CodeCounts {
    rig.store.code_counts("spring").await.expect("reads")
}

/// A code is spent by as many buyers as it has uses; the same buyer is not charged twice.
pub async fn a_code_is_spent_once_by_each_buyer(rig: Rig) {
    assert_eq!(add(&rig, &[1], 1).await, CodesOutcome::NotFound);
    sale(&rig, "spring").await;
    assert_eq!(add(&rig, &[1], 1).await, CodesOutcome::Done);
    assert_eq!(add(&rig, &[2], 2).await, CodesOutcome::Done);
    assert!(!spend(&rig, 9, "anna").await, "there is no such code");
    assert!(spend(&rig, 1, "anna").await);
    assert!(spend(&rig, 1, "anna").await, "it is hers");
    assert!(!spend(&rig, 1, "bert").await, "it is spent");
    assert!(spend(&rig, 2, "bert").await && spend(&rig, 2, "carl").await);
    assert!(!spend(&rig, 2, "anna").await);
    assert!(spend(&rig, 2, "bert").await);
    assert_eq!(counts(&rig).await, CodeCounts { codes: 2, uses: 3, spent: 3 });
}

/// Of many buyers at once, as many get a code as it has uses.
pub async fn of_a_crowd_as_many_spend_a_code_as_it_has_uses(rig: Rig) {
    sale(&rig, "spring").await;
    assert_eq!(add(&rig, &[1], 3).await, CodesOutcome::Done);
    let spending = (0..CROWD).map(|n| {
        let (store, buyer) = (rig.store.clone(), buyer(&format!("buyer-{}", n % (CROWD / 2))));
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
    let asked = let_in.len();
    let_in.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    let_in.dedup();
    assert_eq!((let_in.len(), asked), (3, 6), "each buyer asked twice and heard the same twice");
    assert_eq!(counts(&rig).await, CodeCounts { codes: 1, uses: 3, spent: 3 });
}

/// A sale's codes go with it, and are no use for another one of its name.
pub async fn codes_go_with_their_sale(rig: Rig) {
    sale(&rig, "spring").await;
    assert_eq!(add(&rig, &[1, 2], 1).await, CodesOutcome::Done);
    assert!(spend(&rig, 1, "anna").await);
    assert_eq!(rig.store.delete_sale("spring", None).await.expect("writes"), DeleteOutcome::Done);
    sale(&rig, "spring").await;
    assert_eq!(counts(&rig).await, CodeCounts::default());
    assert!(!spend(&rig, 1, "anna").await && !spend(&rig, 2, "anna").await);
}
