//! Sends many concurrent requests, and collects their results.
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::{SlotKey, Token};
use doorbuster_slots::conformance::request;
use doorbuster_slots::{SlotError, Slots};
use tokio::task::JoinSet;

const AT_ONCE: u64 = 128;

/// The results of the requests.
#[derive(Debug, Default)]
pub struct Outcome {
    pub issued: Vec<(SlotKey, IssuedTicket)>,
    pub again: usize,
    pub short: usize,
    pub failed: Vec<SlotError>,
}

impl Outcome {
    /// Returns the numbers of a slot's tickets, sorted.
    pub fn numbers_of(&self, slot: SlotKey) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.issued.iter().filter(|(s, _)| *s == slot).map(|(_, issued)| issued.n.0).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// Sends requests to these slots in turn. Each request is for one unit and has its own buyer.
pub async fn burst(slots: &Slots, over: &[SlotKey], requests: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut tasks = JoinSet::new();
    for nth in 0..AT_ONCE {
        let (slots, over) = (slots.clone(), over.to_vec());
        tasks.spawn(async move {
            let mut mine = Vec::new();
            for i in (nth..requests).step_by(AT_ONCE as usize) {
                let slot = over[i as usize % over.len()];
                let mut one = request(&format!("b{i}"), "k", 1, 9);
                one.token = Token(i);
                mine.push((slot, slots.ticket(slot, &one).await));
            }
            mine
        });
    }
    for (slot, answer) in tasks.join_all().await.into_iter().flatten() {
        match answer {
            Ok(TicketAnswer::Issued(issued)) => outcome.issued.push((slot, issued)),
            Ok(TicketAnswer::Repeated(_)) => outcome.again += 1,
            Ok(TicketAnswer::Short { .. }) => outcome.short += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => outcome.failed.push(error),
        }
    }
    outcome
}
