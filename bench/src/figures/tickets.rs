//! S1: how many tickets per second a slot in memory issues. A lock protects this slot. The bench
//! compares this design with a design that needs no lock: a task owns the slot, and gets its
//! requests through a channel.
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_core::slot::{GrantTerms, Slot, SlotBounds, TicketAnswer, TicketRequest};
use doorbuster_core::{
    BuyerId, Epoch, GrantId, IdKey, ItemId, Millis, NodeId, RequestKey, SlotKey, Token, Units,
};
use doorbuster_slots::{DequeuedTicket, Slots};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::figure_or_invalid;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, compare_alternating, median};
use crate::limits::{ISSUED_TICKETS, ISSUED_TICKETS_QUICK};

const ALONE: &str = "tickets that a slot in memory issues to one thread";
const RATE: Target = Target::AtLeast { floor: 1e6, goal: 2e6 };
const BESIDE: &str = "tickets of a slot in memory, 64 requests at a time on two threads";
const RATIO: Target = Target::AtLeast { floor: 1.0, goal: 2.0 };
const SLOT: SlotKey = SlotKey { item: ItemId(1), index: 0 };
/// The bench takes and acknowledges this many tickets at once, as a settler does.
const BATCH: usize = SETTLE_BATCH_MAX;
const UNDER_WAY: usize = 64;

/// Measures S1.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    vec![
        figure_or_invalid("S1", ALONE, RATE, single_thread(config)),
        figure_or_invalid("S1", BESIDE, RATIO, concurrent(config)),
    ]
}

/// Measures the tickets per second of one thread, from the first ticket to the last
/// acknowledgement.
fn single_thread(config: &BenchConfig) -> Result<Figure> {
    let requests = requests(config)?;
    let runtime = Builder::new_current_thread().build()?;
    let mut rates = Vec::new();
    for round in 0..=config.rounds {
        let rate = runtime.block_on(issue_and_acknowledge(&requests))?;
        // The first round is the warm-up.
        if round > 0 {
            rates.push(rate);
        }
    }
    let figure = Figure::new("S1", ALONE, RATE).with_value(median(&rates), "/s");
    let note = format!(
        "{} different buyers; tickets are issued, taken in batches of {BATCH} and acknowledged",
        requests.len()
    );
    Ok(Figure { rounds: rates, ..figure }.note(note))
}

async fn issue_and_acknowledge(requests: &[TicketRequest]) -> Result<f64> {
    let slots = slots(requests.len()).await?;
    let began = Instant::now();
    for some in requests.chunks(BATCH) {
        for request in some {
            ensure!(
                matches!(slots.ticket(SLOT, request).await?, TicketAnswer::Issued(_)),
                "not every request got a ticket"
            );
        }
        let taken = slots.take(BATCH).await?;
        let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
        slots.acknowledge(&done).await?;
    }
    let rate = requests.len() as f64 / began.elapsed().as_secs_f64();
    let view = slots.view(SLOT).await?.context("the slot has no epoch")?;
    ensure!((view.available, view.unacknowledged) == (0, 0), "{view:?}");
    Ok(rate)
}

fn concurrent(config: &BenchConfig) -> Result<Figure> {
    let requests = Arc::new(requests(config)?);
    let runtime = Builder::new_multi_thread().worker_threads(2).build()?;
    let comparison = compare_alternating(
        config.rounds,
        || by_lock(&runtime, &requests),
        || by_owner(&runtime, &requests),
    )?;
    Ok(Figure::new("S1", BESIDE, RATIO).comparison(&comparison, "/s", "by an owner /s"))
}

fn by_lock(runtime: &Runtime, requests: &Arc<Vec<TicketRequest>>) -> Result<f64> {
    let slots = runtime.block_on(slots(requests.len()))?;
    timed(runtime, requests, move |request| {
        let slots = slots.clone();
        async move { slots.ticket(SLOT, &request).await.ok() }
    })
}

fn by_owner(runtime: &Runtime, requests: &Arc<Vec<TicketRequest>>) -> Result<f64> {
    let (ask, mut queued) =
        mpsc::channel::<(TicketRequest, oneshot::Sender<TicketAnswer>)>(UNDER_WAY);
    let mut slot = Slot::with_bounds(SLOT.item, bounds(requests.len()));
    slot.init(terms(requests.len()));
    runtime.spawn(async move {
        while let Some((request, answer)) = queued.recv().await {
            let _ = answer.send(slot.ticket(&request));
        }
    });
    timed(runtime, requests, move |request| {
        let ask = ask.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            ask.send((request, answer)).await.ok()?;
            answered.await.ok()
        }
    })
}

fn timed<F>(
    runtime: &Runtime,
    requests: &Arc<Vec<TicketRequest>>,
    ask: impl Fn(TicketRequest) -> F + Send + Clone + 'static,
) -> Result<f64>
where
    F: Future<Output = Option<TicketAnswer>> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..UNDER_WAY)
        .map(|first| {
            let (requests, ask) = (requests.clone(), ask.clone());
            runtime.spawn(async move {
                let mut cut = 0;
                for request in requests.iter().skip(first).step_by(UNDER_WAY) {
                    cut += usize::from(matches!(
                        ask(request.clone()).await,
                        Some(TicketAnswer::Issued(_))
                    ));
                }
                cut
            })
        })
        .collect();
    let mut cut = 0;
    for task in tasks {
        cut += runtime.block_on(task)?;
    }
    let rate = requests.len() as f64 / began.elapsed().as_secs_f64();
    ensure!(cut == requests.len(), "{cut} of {} requests got a ticket", requests.len());
    Ok(rate)
}

async fn slots(stock: usize) -> Result<Slots> {
    let slots = Slots::local(key(), bounds(stock));
    slots.init(SLOT, terms(stock)).await?;
    Ok(slots)
}

fn bounds(requests: usize) -> SlotBounds {
    SlotBounds { queue: requests, requests, ..SlotBounds::default() }
}

fn terms(stock: usize) -> GrantTerms {
    GrantTerms {
        grant: GrantId(1),
        epoch: Epoch(1),
        counted: true,
        available: stock as u64,
        threshold: 0,
    }
}

fn key() -> IdKey {
    IdKey::new([7; 32])
}

fn requests(config: &BenchConfig) -> Result<Vec<TicketRequest>> {
    let key = key();
    let request = |number: u32| {
        let name = format!("buyer-{number:08}");
        Ok(TicketRequest {
            token: Token(u64::from(number)),
            buyer_hash: key.buyer_hash(&name),
            request: key.request_hash(&name, &name),
            buyer: BuyerId::new(&name).context("the name is invalid")?,
            key: RequestKey::new(&name).context("the key is invalid")?,
            units: Units::new(1).context("1 unit is out of range")?,
            limit: 1,
            decide_by: Millis(1),
            node: NodeId(1),
        })
    };
    (0..if config.quick { ISSUED_TICKETS_QUICK } else { ISSUED_TICKETS }).map(request).collect()
}
