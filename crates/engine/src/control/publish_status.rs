//! Sends events with the changed statuses of sales to connected clients, at most four per second
//! for each sale. If only the counts changed, the pause between two events grows with the number of
//! connected clients.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::catalogue::SaleState;
use crate::node::Node;
use crate::notify::EventKind;

/// The shortest time between two status events of one sale.
const PACE: Duration = Duration::from_millis(250);
/// While only the counts of a sale change, all connected clients together get at most this many
/// status events per second. More events would slow down purchases.
const READERS_PER_SEC: u32 = 5_000;

/// Publishes changed statuses of sales until the program stops.
pub async fn run(node: Arc<Node>) {
    let mut published = StatusPacer::default();
    let mut postponed = HashSet::new();
    loop {
        if postponed.is_empty() {
            node.control().sales_changed.notified().await;
        }
        postponed.extend(node.control().take_sales());
        let (catalogue, now, readers) =
            (node.catalogue(), Instant::now(), node.hub().status_readers());
        postponed.retain(|sale: &Arc<str>| {
            let is_due = published.is_due(
                sale,
                catalogue.sale(sale).map(|sale| StatusDigest::from_sale(sale)),
                now,
                readers,
            );
            if is_due {
                node.hub().publish(EventKind::Status(sale.clone()));
            }
            !is_due
        });
        sleep(PACE).await;
    }
}

/// The part of a status whose changes are published without the longer pause: the version of the
/// status and, for each item, two flags. The first flag is true if no unit is free. The second is
/// true if no held or kept unit can become free again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StatusDigest(u64, Vec<(bool, bool)>);

impl StatusDigest {
    fn from_sale(sale: &SaleState) -> Self {
        let state =
            |free: doorbuster_core::sold_out::FreeUnits| (free.free == Some(0), free.reserved == 0);
        Self(sale.state_version, sale.items.iter().map(|item| state(item.gauge.free())).collect())
    }
}

/// For each sale, when its status was last published, and its digest at that time.
#[derive(Debug, Default)]
struct StatusPacer(HashMap<Arc<str>, (Instant, StatusDigest)>);

impl StatusPacer {
    /// Returns whether the sale's status must be published now. `readers` is the number of
    /// connected clients. If the result is false, the caller asks again later. `digest` is `None`
    /// if the sale was deleted.
    fn is_due(
        &mut self,
        sale: &Arc<str>,
        digest: Option<StatusDigest>,
        now: Instant,
        readers: usize,
    ) -> bool {
        let Some(digest) = digest else {
            self.0.remove(sale);
            return true;
        };
        let readers = u32::try_from(readers).unwrap_or(u32::MAX);
        let wait = (Duration::from_secs(1) * readers / READERS_PER_SEC).max(PACE);
        if self.0.get(sale).is_some_and(|(at, published)| *published == digest && now < *at + wait)
        {
            return false;
        }
        self.0.insert(sale.clone(), (now, digest));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_changes_are_published_less_often_with_more_readers_and_other_changes_at_once() {
        let sale: Arc<str> = "spring".into();
        let digest = |version, is_gone| Some(StatusDigest(version, vec![(is_gone, false)]));
        let (begun, mut published) = (Instant::now(), StatusPacer::default());
        let mut is_due = |after_ms, digest, readers| {
            published.is_due(&sale, digest, begun + Duration::from_millis(after_ms), readers)
        };
        assert!(is_due(0, digest(1, false), 10), "the first status must be published at once");
        assert!(!is_due(249, digest(1, false), 10));
        assert!(
            is_due(250, digest(1, false), 10),
            "with few connected clients, counts must be published four times a second"
        );
        assert!(!is_due(2_249, digest(1, false), 10_000));
        assert!(
            is_due(2_250, digest(1, false), 10_000),
            "with 10,000 connected clients, counts must be published every two seconds"
        );
        assert!(
            is_due(2_300, digest(1, true), 20_000),
            "the first status without free units must be published at once"
        );
        assert!(!is_due(2_350, digest(1, true), 20_000));
        assert!(is_due(2_400, digest(2, true), 20_000), "a new phase must be published at once");
        assert!(is_due(2_450, None, 20_000), "the deletion of a sale must be published at once");
        assert!(
            is_due(2_500, digest(2, true), 20_000),
            "the first status of a sale that was created again must be published"
        );
        assert!(published.0.len() == 1);
    }
}
