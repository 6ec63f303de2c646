//! Detects that a stream must end, even if its client reads nothing.

use std::pin::pin;

use doorbuster_core::BuyerId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::{EventFeed, FeedEvent};
use crate::App;
use crate::identity::ClientAddress;
use crate::limits::CLOSE_TIMEOUT;

impl EventFeed {
    /// Waits until the stream must end, and returns the reason, which is never
    /// [`FeedEvent::Event`]. Callers may drop the future, because it takes no event from the queue.
    pub(in super::super) async fn must_end(&mut self) -> FeedEvent {
        let lagged = self.subscription.lagged();
        let buyer = self.subscription.buyer().expect("the reader subscribed as a buyer");
        let (client, ends_at) = (self.client, self.ends_at);
        wait(&self.app, (client, buyer), &mut self.blocks, ends_at, lagged).await
    }

    /// Waits until the stream must end, and then [`CLOSE_TIMEOUT`] longer, so that the client can
    /// read the last event. The wait uses the token's expiry at the time of this call, even if the
    /// token is renewed later.
    pub(in super::super) fn overdue(&self) -> impl Future<Output = ()> + Send + use<> {
        let (app, buyer, mut blocks) =
            (self.app.clone(), self.buyer().clone(), self.blocks.clone());
        let (client, ends_at, lagged) = (self.client, self.ends_at, self.subscription.lagged());
        async move {
            wait(&app, (client, &buyer), &mut blocks, ends_at, lagged).await;
            sleep(CLOSE_TIMEOUT).await;
        }
    }
}

/// Waits until the stream must end, and returns the reason. `lagged` completes when the reader's
/// queue overflows, because the reader is too slow.
async fn wait(
    app: &App,
    (client, buyer): (ClientAddress, &BuyerId),
    blocks: &mut watch::Receiver<()>,
    ends_at: Instant,
    lagged: impl Future<Output = ()>,
) -> FeedEvent {
    let mut lagged = pin!(lagged);
    loop {
        tokio::select! {
            biased;
            // The sender lives as long as the server, so an error cannot occur.
            _ = blocks.changed() => {}
            () = sleep_until(ends_at) => return FeedEvent::Expired,
            () = &mut lagged => return FeedEvent::TooSlow,
        }
        if app.ensure_not_blocked(client, buyer).is_err() {
            return FeedEvent::TurnedAway;
        }
    }
}
