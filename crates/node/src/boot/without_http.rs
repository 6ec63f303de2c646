//! Runs the embedded shape without HTTP. With this module, the crate `doorbuster-lab` measures the
//! cost of HTTP.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{BuyerId, RequestKey, Units};
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_engine::node::Node;
use doorbuster_engine::purchase::{
    DoorAnswer, Purchase, PurchaseOutcome, Purchases, Refusal, refuse_from_memory,
};
use doorbuster_engine::start::EngineParts;

use super::{ServeError, Settings, start_engine};

/// How long a purchase waits for its verdict.
const WAIT: Duration = Duration::from_secs(10);

/// An item of a sale, and the running node that sells it.
pub struct DirectSale {
    node: Arc<Node>,
    purchases: Arc<Purchases>,
    sale: Arc<SaleState>,
    item: Arc<ItemState>,
}

/// The answer to a direct purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectAnswer {
    /// The buyer has an order.
    Reserved,
    /// Too few units are left.
    SoldOut,
    /// The request is not decided yet, or the node cannot decide it now. The buyer may send the
    /// request again with the same key.
    TryAgain,
    /// Any other refusal, or a name, key or number that is not valid.
    Other,
}

impl DirectSale {
    /// Buys units, with the same checks as for an HTTP request. The sale must have no front door.
    pub async fn buy(&self, buyer: &str, key: &str, units: u32) -> DirectAnswer {
        let (Some(id), Some(request_key), Some(units)) =
            (BuyerId::new(buyer), RequestKey::new(key), Units::new(units))
        else {
            return DirectAnswer::Other;
        };
        let (sale, item) = (&self.sale, &self.item);
        let request = self.node.id_key().request_hash(buyer, key);
        let refused =
            refuse_from_memory(&self.node, request, sale, item, units, |_| DoorAnswer::Open);
        let outcome = match refused {
            Some(refusal) => PurchaseOutcome::Refused(refusal),
            None => {
                let (sale, item) = (sale.clone(), item.clone());
                let (buyer, key, wait) = (id, request_key, WAIT);
                let purchase =
                    Purchase { buyer, key, request, sale, item, units, wait, door: None };
                self.purchases.buy(&purchase).await
            }
        };
        match outcome {
            PurchaseOutcome::Created(_) | PurchaseOutcome::Replayed(_) => DirectAnswer::Reserved,
            PurchaseOutcome::Queued { .. } => DirectAnswer::TryAgain,
            PurchaseOutcome::Refused(refusal) => match refusal {
                Refusal::SoldOut(_) => DirectAnswer::SoldOut,
                Refusal::Overloaded | Refusal::Unavailable => DirectAnswer::TryAgain,
                _ => DirectAnswer::Other,
            },
        }
    }
}

/// Starts a node, runs `work` with the item `item` of each sale, and stops the node.
/// Returns `None` if a sale is missing or has no such item.
///
/// # Errors
///
/// Like [`super::serve`].
pub async fn without_http<T>(
    settings: &Settings,
    (sales, item): (&[&str], &str),
    work: impl AsyncFnOnce(Vec<Arc<DirectSale>>) -> T,
) -> Result<Option<T>, ServeError> {
    let EngineParts { node, stock, purchases, .. } = start_engine(settings).await?.engine;
    let found: Option<Vec<Arc<DirectSale>>> = {
        let catalogue = node.catalogue();
        let sales = sales.iter().map(|sale| {
            let sale = catalogue.sale(sale).cloned()?;
            let item = sale.item(item).cloned()?;
            Some(Arc::new(DirectSale {
                node: node.clone(),
                purchases: purchases.clone(),
                sale,
                item,
            }))
        });
        sales.collect()
    };
    let result = match found {
        Some(sales) => Some(work(sales).await),
        None => None,
    };
    match tokio::time::timeout(super::error::SETTLE_TIMEOUT, stock.stop_node()).await {
        Ok(()) => Ok(result),
        Err(_) => Err(ServeError::Unsettled),
    }
}
