//! Slots in memory: the conformance suite, and threads.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_core::slot::{Bounds, TicketAnswer};
use doorbuster_core::{Epoch, GrantId, ItemId, SlotKey, Token};
use doorbuster_slots::{Done, Slots, conformance};

async fn slots(_test: &str) -> Slots {
    Slots::local(conformance::id_key(), Bounds::default())
}

crate::conforms!(slots);

/// Threads ask for more than there is while a settler takes and acknowledges: every unit is cut once, every ticket is delivered once.
#[test]
fn threads_share_a_slot_without_losing_or_inventing_a_unit() {
    const STOCK: u64 = 20_000;
    let slots = Slots::local(conformance::id_key(), Bounds::default());
    let slot = SlotKey { item: ItemId(1), index: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(slots.init(slot, conformance::terms(GrantId(1), Epoch(1), STOCK))).expect("local");
    let cut = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (slots, cut) = (slots.clone(), cut.clone());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                for i in 0..8_000 {
                    let mut request =
                        conformance::request(&format!("b{}", i % 100), &format!("{thread}-{i}"), 1, 1_000_000);
                    request.token = Token(thread * 1_000_000 + i);
                    match runtime.block_on(slots.ticket(slot, &request)).expect("local") {
                        TicketAnswer::Cut(_) => drop(cut.fetch_add(1, Ordering::Relaxed)),
                        TicketAnswer::Short { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        let slots = slots.clone();
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut seen = vec![false; STOCK as usize + 1];
            let mut count = 0;
            while count < STOCK {
                let taken = runtime.block_on(slots.take(64)).expect("local");
                for t in &taken {
                    let n = t.delivery.ticket.n.0 as usize;
                    assert!(!seen[n], "delivered twice: {n}");
                    seen[n] = true;
                    count += 1;
                }
                let done: Vec<_> = taken
                    .iter()
                    .map(|t| Done { slot: t.slot, at: t.delivery.at, token: t.delivery.ticket.token })
                    .collect();
                runtime.block_on(slots.acknowledge(&done)).expect("local");
            }
        });
    });
    assert_eq!(cut.load(Ordering::Relaxed), STOCK);
    let view = runtime.block_on(slots.view(slot)).expect("local").expect("has an epoch");
    assert_eq!((view.available, view.unacknowledged, view.n.0), (0, 0, STOCK));
}
