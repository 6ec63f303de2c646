//! Deletes the sandbox's documents about checkouts that ended long ago; only the leader does this.
//!
//! If the shop requests a refund after its payment's documents were deleted, the refund stays
//! pending.

use doorbuster_core::Millis;
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log;
use doorbuster_engine::scheduler::{NextRun, Work};

use super::{Sandbox, SandboxCheckout, delivery, session_key};

const PAGE_SIZE: usize = 200;
/// How long documents are kept after the end of their checkout: as long as the ids of providers'
/// messages.
const KEPT_MS: i64 = 90 * 86_400_000;

/// For each kind of document, the last key that the cleanup has read.
#[derive(Debug, Default)]
struct CleanupCursor {
    sessions: String,
    payments: String,
}

impl Sandbox {
    /// Deletes old documents until the program stops.
    pub async fn delete_expired(&self) {
        let mut cursor = CleanupCursor::default();
        let (mut turns, mut next) = (self.node.turns(Work::SandboxCleanup), NextRun::Now);
        loop {
            turns.wait(next).await;
            // After a jump of the clock, documents may seem old although they are not. So no
            // documents are deleted then.
            let may = !self.node.clock_stepped();
            let before = self.node.store().monotonic_now().plus(-KEPT_MS);
            let forgotten = if may { self.forget_page(&mut cursor, before).await } else { Ok(0) };
            next = match forgotten {
                Ok(0) => NextRun::Idle,
                Ok(_) => NextRun::Now,
                Err(error) => {
                    outage_log::warn!(
                        self.node.outage_log(),
                        error,
                        event = "sandbox.cleanup_failed",
                        "failed to delete old documents of the sandbox; will retry"
                    );
                    NextRun::Idle
                }
            };
        }
    }

    /// Deletes announcements that were due before the time `before`, and documents of checkouts
    /// that ended before this time. Returns the number of deleted documents.
    async fn forget_page(
        &self,
        round: &mut CleanupCursor,
        before: Millis,
    ) -> Result<usize, EngineError> {
        let store = self.node.store();
        let mut old = store.sandbox_list("due/".to_owned(), String::new(), PAGE_SIZE).await?;
        old.retain(|(key, _)| {
            delivery::parse_announcement(key).is_some_and(|(due, _)| due < before.0)
        });
        let sessions = self.next_page("session/", &mut round.sessions).await?;
        let is_over = |text: &str| {
            serde_json::from_str(text)
                .is_ok_and(|session: SandboxCheckout| session.expires_at < before.0)
        };
        old.extend(sessions.into_iter().filter(|(_, text)| is_over(text)));
        // A document under `payment/` has no end time. It is deleted once its session is deleted.
        for (key, session) in self.next_page("payment/", &mut round.payments).await? {
            if store.sandbox_get(&session_key(&session)).await?.is_none() {
                old.push((key, session));
            }
        }
        if old.is_empty() { Ok(0) } else { Ok(store.sandbox_delete(old).await?) }
    }

    /// Returns the page of documents after the key `after`, and moves `after` to the end of this
    /// page. After the last page, the next call begins at the first page.
    async fn next_page(
        &self,
        prefix: &str,
        after: &mut String,
    ) -> Result<Vec<(String, String)>, EngineError> {
        let page =
            self.node.store().sandbox_list(prefix.to_owned(), after.clone(), PAGE_SIZE).await?;
        *after = page
            .last()
            .filter(|_| page.len() == PAGE_SIZE)
            .map(|(key, _)| key.clone())
            .unwrap_or_default();
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_base::clock::Clock;
    use doorbuster_testkit::TempDir;

    use super::super::fixture;
    use super::*;
    use crate::fixture::engine as start_engine;

    #[tokio::test]
    async fn only_documents_of_checkouts_that_ended_long_ago_are_deleted() {
        let dir = TempDir::new();
        let engine = start_engine(&dir, Clock::default()).await;
        let sandbox = Sandbox::new(engine.node.clone(), Vec::new());
        let put = async |key: String, value: String| {
            assert!(engine.node.store().sandbox_swap(key, None, value).await.expect("writes"));
        };
        let many = PAGE_SIZE as i64 + 50;
        for n in 0..2 * many {
            let session = SandboxCheckout { closed: true, ..fixture::session(n) };
            put(
                session_key(&format!("cs_{:03}", n * 7 % (2 * many))),
                super::super::session_json(&session),
            )
            .await;
        }
        for n in 0..many {
            put(format!("payment/pay_{n:03}"), format!("cs_{n:03}")).await;
            put(format!("due/{n:020}/cs_1/x"), "done".to_owned()).await;
        }
        put("due/00000000000000009999/cs_1/x".to_owned(), String::new()).await;
        let mut round = CleanupCursor::default();
        let (mut rounds, mut deleted) = (0, 0);
        while rounds < 20 {
            let forgotten =
                sandbox.forget_page(&mut round, Millis(many)).await.expect("reads and writes");
            assert!(
                forgotten <= 3 * PAGE_SIZE,
                "a round deleted more documents than one page of each kind: {forgotten}"
            );
            (rounds, deleted) = (rounds + 1, deleted + forgotten);
        }
        let list = async |prefix: &str| {
            let (mut all, mut after) = (Vec::new(), String::new());
            loop {
                let page = engine
                    .node
                    .store()
                    .sandbox_list(prefix.to_owned(), after.clone(), PAGE_SIZE)
                    .await
                    .expect("reads");
                let Some((last, _)) = page.last() else { return all };
                after = last.clone();
                all.extend(page);
            }
        };
        let sessions = list("session/").await;
        let young = |text: &str| {
            serde_json::from_str::<SandboxCheckout>(text).expect("a session").expires_at >= many
        };
        assert!(
            sessions.len() == many as usize && sessions.iter().all(|(_, text)| young(text)),
            "{}",
            sessions.len()
        );
        let known = |session: &str| sessions.iter().any(|(key, _)| *key == session_key(session));
        let payments = list("payment/").await;
        assert!(!payments.is_empty() && payments.iter().all(|(_, session)| known(session)));
        assert_eq!(list("due/").await.len(), 1);
        assert_eq!(deleted as i64, many + (many - payments.len() as i64) + many);
    }
}
