//! Tells readers that a sale's status changed: at once, then at most a few times a second; and of
//! mere counts more seldom, the more readers there are.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::notify::EventKind;

/// Between two events of one sale.
const PACE: Duration = Duration::from_millis(250);
/// Readers whom a node tells of mere counts within a second: each event costs it a write to every
/// connection, which a crowd that only watches must not take from those who buy.
const TOLD_PER_SEC: u32 = 5_000;

/// Announces until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut told = Told::default();
    let mut put_off = HashSet::new();
    loop {
        if put_off.is_empty() {
            engine.control().sales_changed.notified().await;
        }
        put_off.extend(engine.control().take_sales());
        let (catalogue, now, readers) =
            (engine.catalogue(), Instant::now(), engine.hub().readers());
        put_off.retain(|sale: &Arc<str>| {
            let is_due =
                told.is_due(sale, catalogue.sale(sale).map(|sale| Gist::of(sale)), now, readers);
            if is_due {
                engine.hub().publish(EventKind::Status(sale.clone()));
            }
            !is_due
        });
        sleep(PACE).await;
    }
}

/// What nobody should wait for: the sale's own row, its phase among it, and of which items there
/// are none left, or none for good.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gist(u64, Vec<(bool, bool)>);

impl Gist {
    fn of(sale: &SaleState) -> Self {
        let state =
            |free: doorbuster_core::refusal::FreeUnits| (free.free == Some(0), free.reserved == 0);
        Self(sale.state_version, sale.items.iter().map(|item| state(item.gauge.free())).collect())
    }
}

/// When each sale was told last, and what of it.
#[derive(Debug, Default)]
struct Told(HashMap<Arc<str>, (Instant, Gist)>);

impl Told {
    /// Whether so many readers are told of the sale now; if not, they are when this is asked again
    /// later. A sale without a gist is none any more.
    fn is_due(
        &mut self,
        sale: &Arc<str>,
        gist: Option<Gist>,
        now: Instant,
        readers: usize,
    ) -> bool {
        let Some(gist) = gist else {
            self.0.remove(sale);
            return true;
        };
        let readers = u32::try_from(readers).unwrap_or(u32::MAX);
        let wait = (Duration::from_secs(1) * readers / TOLD_PER_SEC).max(PACE);
        if self.0.get(sale).is_some_and(|(at, told)| *told == gist && now < *at + wait) {
            return false;
        }
        self.0.insert(sale.clone(), (now, gist));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_the_more_seldom_the_more_readers_there_are_and_everything_else_at_once() {
        let sale: Arc<str> = "spring".into();
        let gist = |version, is_gone| Some(Gist(version, vec![(is_gone, false)]));
        let (begun, mut told) = (Instant::now(), Told::default());
        let mut is_due = |after_ms, gist, readers| {
            told.is_due(&sale, gist, begun + Duration::from_millis(after_ms), readers)
        };
        assert!(is_due(0, gist(1, false), 10), "the first time");
        assert!(!is_due(249, gist(1, false), 10));
        assert!(is_due(250, gist(1, false), 10), "four times a second where there are few readers");
        assert!(!is_due(2_249, gist(1, false), 10_000));
        assert!(is_due(2_250, gist(1, false), 10_000), "10,000 of them: every two seconds");
        assert!(is_due(2_300, gist(1, true), 20_000), "none are left");
        assert!(!is_due(2_350, gist(1, true), 20_000));
        assert!(is_due(2_400, gist(2, true), 20_000), "another phase");
        assert!(is_due(2_450, None, 20_000), "no sale any more");
        assert!(is_due(2_500, gist(2, true), 20_000), "and once more");
        assert!(told.0.len() == 1);
    }
}
