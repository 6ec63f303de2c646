//! Compares real stores with the simulator's model of the store, transaction by transaction.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use doorbuster_core::event::Attribution;
use doorbuster_core::model::Model;
use doorbuster_core::money::{Money, RefundMessageOutcome};
use doorbuster_core::rows::Item;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::stock::AdjustResult;
use doorbuster_core::{IdKey, ItemId, Millis, Phase};
use doorbuster_sim::recorded::{RecordedRun, id_key};
use doorbuster_sim::store::{Tx, TxResult, rules};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::inspect::{self, InMemory};
use doorbuster_store::{
    AdjustOutcome, Adjustment, CheckoutDeferral, CommitSink, NewItem, NewSale, Store, StoreError,
};

/// The number of transactions between two comparisons of all rows.
const TRANSACTIONS_BETWEEN_DUMPS: usize = 8;

/// Runs the transactions of a recorded run with the rules of `core` on SQLite's tables in memory.
/// Returns how many times all rows were compared.
///
/// # Errors
/// Describes the first difference from the model.
pub fn compare_rules(run: &RecordedRun) -> Result<u64, String> {
    let mut sqlite = InMemory::open().map_err(|e| e.to_string())?;
    for item in run.before.items.values() {
        sqlite.insert_item(item).map_err(|e| e.to_string())?;
    }
    let (mut model, mut dumps) = (run.before.clone(), 0);
    model.prices = model.items.keys().map(|item| (*item, price(run, item))).collect();
    for (item, price) in &model.prices {
        sqlite.set_price(*item, price).map_err(|e| e.to_string())?;
    }
    for (i, (tx, expected)) in run.trace.iter().enumerate() {
        if let Tx::Show(item, intent) = tx {
            let phase = intent.map_or(Phase::Open, |(phase, _)| phase);
            sqlite.set_phase(*item, phase).map_err(|e| e.to_string())?;
        }
        let actual =
            sqlite.run(tx_time(tx).unwrap_or_default(), |ledger| rules::run(ledger, &id_key(), tx));
        let actual = actual.map_err(|e| format!("transaction {i}, {tx:?}: {e}"))?;
        if actual != *expected {
            return Err(format!(
                "transaction {i}, {tx:?}: the store returned {actual:?}, but the model returned \
                 {expected:?}"
            ));
        }
        apply_to_model(&mut model, tx);
        if i % TRANSACTIONS_BETWEEN_DUMPS == 0 || i + 1 == run.trace.len() {
            dumps += 1;
            same_rows(i, tx, &sqlite.dump().map_err(|e| e.to_string())?, &model)?;
        }
    }
    Ok(dumps)
}

/// Returns the item's price in the run. A run without prices gets an arbitrary price, because a
/// store needs one.
fn price(run: &RecordedRun, item: &ItemId) -> Money {
    let price = run.before.prices.get(item).cloned();
    price.unwrap_or_else(|| Money { minor: 1, currency: "EUR".to_owned() })
}

fn same_rows(i: usize, tx: &Tx, rows: &Model, model: &Model) -> Result<(), String> {
    match rows == model {
        true => Ok(()),
        false => Err(format!(
            "after transaction {i}, {tx:?}: the store has the rows {rows:#?}, but the \
             model has {model:#?}"
        )),
    }
}

fn apply_to_model(model: &mut Model, tx: &Tx) {
    if let Tx::Show(item, intent) = tx {
        match intent {
            Some(_) => model.stopped.insert(*item),
            None => model.stopped.remove(item),
        };
        if matches!(intent, Some((Phase::Closed, _))) {
            model.over.insert(*item);
        }
    }
    let Ok(_) = rules::run(model, &id_key(), tx);
}

fn tx_time(tx: &Tx) -> Option<Millis> {
    match tx {
        Tx::Settle(_, now)
        | Tx::Force(.., now)
        | Tx::End(.., now)
        | Tx::Extend(.., now)
        | Tx::Adjust(.., now)
        | Tx::Capture(.., now)
        | Tx::FailPayment(_, now)
        | Tx::SettleRefund(.., now)
        | Tx::AnswerRefund(.., now)
        | Tx::RetryRefund(_, now)
        | Tx::RecordReversal(_, now)
        | Tx::RecordUnanswered(.., now)
        | Tx::Join(.., now)
        | Tx::Leave(_, now)
        | Tx::Serve(_, now)
        | Tx::EndWaitlist(_, now) => Some(*now),
        _ => None,
    }
}

/// The values that a store is opened with.
#[derive(Clone)]
pub struct StoreSetup {
    /// The deployment's key.
    pub id_key: IdKey,
    /// The store's clock.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// The function that the store calls with each commit. The comparison ignores these commits.
    pub sink: CommitSink,
}

/// Runs the transactions of a recorded run through the methods of a whole store. `open` opens a
/// fresh store, and this function closes it at the end.
///
/// # Errors
/// Describes the first difference from the model, or the call that failed.
pub async fn compare_store(
    run: &RecordedRun,
    open: impl AsyncFn(StoreSetup) -> Result<Store, String>,
) -> Result<(), String> {
    let time = Arc::new(AtomicI64::new(0));
    let clock = {
        let time = time.clone();
        Arc::new(move || Millis(time.load(Ordering::SeqCst)))
    };
    let store = open(StoreSetup { id_key: id_key(), clock, sink: Arc::new(|_| ()) }).await?;
    let followed = compare_steps(&store, run, &time).await;
    store.close().await;
    followed
}

async fn compare_steps(store: &Store, run: &RecordedRun, time: &AtomicI64) -> Result<(), String> {
    let mut model = run.before.clone();
    model.prices = model.items.keys().map(|item| (*item, price(run, item))).collect();
    for item in run.before.items.values() {
        create(store, item, price(run, &item.id)).await?;
    }
    for (i, (tx, expected)) in run.trace.iter().enumerate() {
        tx_time(tx).iter().for_each(|now| time.store(now.0, Ordering::SeqCst));
        let actual =
            apply_tx(store, i, tx).await.map_err(|e| format!("transaction {i}, {tx:?}: {e}"))?;
        if let Some(actual) = actual.filter(|actual| actual != expected) {
            return Err(format!(
                "transaction {i}, {tx:?}: the store returned {actual:?}, but the model returned \
                 {expected:?}"
            ));
        }
        apply_to_model(&mut model, tx);
        if i % TRANSACTIONS_BETWEEN_DUMPS == 0 || i + 1 == run.trace.len() {
            same_rows(i, tx, &inspect::dump(store).await.map_err(|e| e.to_string())?, &model)?;
        }
    }
    Ok(())
}

fn sale_of(item: &ItemId) -> String {
    format!("sale-{item}")
}

async fn create(store: &Store, item: &Item, price: Money) -> Result<(), String> {
    let id = sale_of(&item.id);
    let new = NewItem {
        price_minor: price.minor,
        currency: price.currency,
        list_price_minor: None,
        hold_ms: item.hold_ms,
        ..new_item("item", item.total, item.limit)
    };
    let sale = NewSale { front_door: "{}".into(), ..new_sale(&id, vec![new]) };
    let sale = store
        .create_sale(sale)
        .await
        .map_err(|e| e.to_string())?
        .ok_or("the store is not fresh: it already has this sale")?;
    if sale.items[0].id != item.id {
        return Err(format!(
            "a fresh store numbers its items from 1, but an item got the number {}, not {}",
            sale.items[0].id, item.id
        ));
    }
    store.step_sale(&id, PhaseStep::Open).await.map_err(|e| e.to_string())?;
    Ok(())
}

/// Applies one transaction to the store. Returns `None` if the result of the store's method cannot
/// be compared with the model's result.
async fn apply_tx(store: &Store, i: usize, tx: &Tx) -> Result<Option<TxResult>, StoreError> {
    Ok(Some(match tx {
        Tx::Open(slot, id, units) => TxResult::Opened(store.open_grant(*slot, *id, *units).await?),
        Tx::AckInit(id) => {
            store.acknowledge_init(*id).await?;
            TxResult::Nothing
        }
        Tx::Refill(id, units, into) => TxResult::Moved(store.refill(*id, *units, *into).await?),
        Tx::Close(id, cause) => TxResult::Closed(store.close_grant(*id, *cause).await?),
        // The store refuses an adjustment by 0.
        Tx::Adjust(_, 0, _) => return Ok(None),
        Tx::Adjust(item, units, _) => {
            return adjust(store, *item, *units, format!("key-{i}")).await;
        }
        Tx::Settle(tickets, _) => TxResult::Settled(store.settle(tickets.clone()).await?),
        Tx::Force(id, parts, buyer, _) => {
            TxResult::Forced(store.force_verdict(*id, *parts, buyer.clone()).await?)
        }
        Tx::End(id, how, by, _) => TxResult::Ended(store.end_order(*id, *how, by.clone()).await?),
        Tx::Extend(id, pay_by, _) => {
            TxResult::Ended(store.extend_order(*id, *pay_by, Attribution::ENGINE.clone()).await?)
        }
        Tx::Capture(..)
        | Tx::FailPayment(..)
        | Tx::SettleRefund(..)
        | Tx::AnswerRefund(..)
        | Tx::RetryRefund(..)
        | Tx::RecordReversal(..) => apply_money_tx(store, tx).await?,
        Tx::KeepCheckout(checkout) => TxResult::Kept(store.keep_checkout(checkout.clone()).await?),
        Tx::CloseCheckout(id, session) => {
            TxResult::Taken(store.close_checkout(*id, session.clone()).await?)
        }
        Tx::RecordUnanswered(id, session, _) => {
            let it =
                CheckoutDeferral { order: *id, session: session.clone(), ms: 0, unanswered: true };
            TxResult::Taken(store.defer_checkouts(vec![it]).await? == 1)
        }
        Tx::RecallBegin(id, grant, target, units) => {
            TxResult::Recall(store.begin_recall(*id, *grant, *target, *units).await?)
        }
        Tx::RecallFinish(id, taken) => TxResult::Moved(store.finish_recall(*id, *taken).await?),
        Tx::Join(item, joiner, _) => {
            TxResult::JoinOutcome(inspect::join_waitlist(store, *item, joiner.clone()).await?)
        }
        Tx::Leave(id, _) => TxResult::LeaveOutcome(store.leave_waitlist(*id).await?),
        Tx::Serve(item, _) => TxResult::Served(store.serve_waitlist(*item).await?),
        Tx::EndWaitlist(item, _) => TxResult::WaitlistEnded(store.end_waitlist(*item).await?),
        Tx::Show(item, intent) => {
            let step = match intent {
                None => PhaseStep::Resume,
                Some((Phase::Closed, _)) => PhaseStep::Close,
                Some(_) => PhaseStep::Pause,
            };
            store.step_sale(&sale_of(item), step).await?;
            return Ok(None);
        }
        Tx::Intend(..) | Tx::Promote | Tx::TakeStep(..) | Tx::MoveStart(..) => return Ok(None),
    }))
}

async fn adjust(
    store: &Store,
    item: ItemId,
    units: i64,
    key: String,
) -> Result<Option<TxResult>, StoreError> {
    let adjustment = Adjustment { item, units, reason: "simulated".into(), key };
    Ok(Some(TxResult::AdjustResult(match store.adjust(adjustment).await? {
        AdjustOutcome::Done(_) => return Ok(None),
        AdjustOutcome::NotInPool(pool) => AdjustResult::NotInPool(pool),
        AdjustOutcome::TooMuch => AdjustResult::TooMuch,
        AdjustOutcome::Unlimited => AdjustResult::Unlimited,
        AdjustOutcome::Closed => AdjustResult::Closed,
        _ => AdjustResult::NotFound,
    })))
}

async fn apply_money_tx(store: &Store, tx: &Tx) -> Result<TxResult, StoreError> {
    Ok(match tx {
        Tx::Capture(capture, last, _) => {
            TxResult::CaptureOutcome(store.capture(capture.clone(), *last).await?)
        }
        Tx::FailPayment(capture, _) => TxResult::Taken(store.fail_payment(capture.clone()).await?),
        Tx::SettleRefund(event, id, update, _) => {
            let outcome = store
                .settle_refund(rules::PROVIDER.into(), event.clone(), id.clone(), update.clone())
                .await?;
            TxResult::Taken(outcome == RefundMessageOutcome::Applied)
        }
        Tx::AnswerRefund(requested, update, _) => {
            TxResult::Refund(store.answer_refund(requested.clone(), update.clone()).await?)
        }
        Tx::RecordReversal(report, _) => {
            TxResult::Reversal(store.record_reversal(report.clone()).await?)
        }
        Tx::RetryRefund(id, _) => TxResult::Refund(store.retry_refund(id.clone()).await?),
        _ => TxResult::Nothing,
    })
}
