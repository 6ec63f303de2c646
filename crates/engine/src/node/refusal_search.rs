//! Finds the refusals that a buyer got from any node. The nodes ask each other with the messages of
//! the module `refusals`.
//!
//! This part of a node owns no state. It calls the refusals, the waiting requests and the store of
//! the node. The handlers of requests note refusals here and search for refusals. The job that
//! renews the leases answers other nodes' questions. The module `sightings` calls
//! [`Node::note_edge`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_api::problem::Code;
use doorbuster_core::{ItemId, Millis, NodeId, TicketId};
use doorbuster_store::{NodeRow, StoreResult};
use doorbuster_telemetry::answer_counts::AnswerKind;
use tokio::time::{Instant, sleep, timeout};

use super::Node;
use super::refusals::{AskedQuestion, PeerMessages, Refusals, RemoteAnswer};
use crate::catalogue::{ItemState, SaleState};
use crate::control::LEASE_MS;
use crate::refusal_memory::NotedRefusal;

/// How long a search waits for the other nodes' answers. After this time, the search ends, and its
/// result may lack refusals.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// The time between two reads of the other nodes' answers.
const READ_INTERVAL: Duration = Duration::from_millis(100);

/// A buyer's refusals, newest first.
#[derive(Debug, Default)]
pub struct FoundRefusals {
    /// Each refusal, with the node that gave it.
    pub refusals: Vec<(NodeId, NotedRefusal)>,
    /// Whether the list has all refusals. The list may lack refusals if an edge was alive, or if a
    /// node did not answer, has ended, or has overwritten refusals.
    pub is_complete: bool,
}

impl Node {
    fn refusals(&self) -> &Refusals {
        &self.memory.refusals
    }

    /// Counts the response to a purchase. If the response is a refusal, also notes the refusal for
    /// operators.
    pub fn count_answer(
        &self,
        sale: &SaleState,
        item: &ItemState,
        buyer: &str,
        answer: AnswerKind,
        now: Millis,
    ) {
        sale.runtime.answer_counts.count(answer);
        if let Some(code) = answer.refusal_code() {
            self.note_refusal(item, buyer, code, now);
        }
    }

    /// Notes that this buyer was refused.
    pub fn note_refusal(&self, item: &ItemState, buyer: &str, code: Code, at: Millis) {
        let memory = &self.refusals().memory;
        memory.note(memory.hash(buyer), NotedRefusal { at, item: item.row.id, code });
    }

    /// Notes that a request of this buyer is queued. The note is removed when the ticket gets its
    /// verdict.
    pub fn note_queued(&self, buyer: &str, id: TicketId, now: Millis) {
        let Some(ticket) = id.parts().map(|parts| parts.token) else { return };
        let memory = &self.refusals().memory;
        let buyer = memory.hash(buyer);
        memory.note_queued(buyer, ticket, now);
        // If no request waits for this ticket, its verdict has already arrived, or another node has
        // the note. No later verdict would then remove the new note, so it is removed now.
        if self.waiters().info(ticket).is_none() {
            memory.forget_queued(buyer, ticket);
        }
    }

    /// Records that an edge is alive. The result of a search may then be incomplete: an edge may
    /// have refused the buyer, but edges answer no questions.
    pub fn note_edge(&self) {
        self.refusals().edge_heard_at.store(self.now().0, Ordering::Relaxed);
    }

    /// Answers the questions about refusals in these nodes' rows. Returns `true` if there is a new
    /// answer. The caller must then write this node's row at once, so that the other nodes can read
    /// the answer.
    pub(crate) fn answer_questions(&self, nodes: &[NodeRow]) -> bool {
        self.refusals().answer(self.id(), nodes)
    }

    /// Returns the refusals that the buyer got from any node since `since`.
    pub async fn refusals_of(&self, buyer: &str, since: Millis) -> StoreResult<FoundRefusals> {
        let memory = &self.refusals().memory;
        let hash = memory.hash(buyer);
        let (own, is_complete) = memory.of_buyer(hash);
        let mut found = FoundRefusals { is_complete, ..FoundRefusals::default() };
        found.refusals.extend(own.into_iter().map(|noted| (self.id(), noted)));
        if self.layout().is_single_node() {
            found.is_complete &=
                self.this_node.started_at().is_some_and(|started| started <= since);
        } else {
            found.is_complete &= self.ask_nodes(hash, since, &mut found.refusals).await?;
        }
        found.refusals.retain(|(_, noted)| noted.at >= since);
        // Two nodes may refuse in the same millisecond. With the node as a second sort key, every
        // node returns the refusals in the same order.
        found.refusals.sort_by_key(|(node, noted)| (std::cmp::Reverse(noted.at), *node));
        Ok(found)
    }

    /// Adds the other nodes' refusals of this buyer to `found`. Returns `true` if the refusals of
    /// the other nodes are certainly complete.
    async fn ask_nodes(
        &self,
        buyer: u64,
        since: Millis,
        found: &mut Vec<(NodeId, NotedRefusal)>,
    ) -> StoreResult<bool> {
        let Ok(Ok(_permit)) = timeout(ANSWER_WAIT, self.refusals().asking.acquire()).await else {
            return Ok(false);
        };
        let question = AskedQuestion::new(self.refusals(), buyer);
        if !self.write_notes().await? {
            return Ok(false);
        }
        let until = Instant::now() + ANSWER_WAIT;
        let (answers, mut is_complete) = loop {
            let rows = self.store.nodes().await?;
            let (answers, all) = self.answers_to(question.id, &rows, since);
            if all.has_answered || Instant::now() >= until {
                break (answers, all.has_answered && !all.has_edges);
            }
            sleep(READ_INTERVAL).await;
        };
        for (node, answer) in answers {
            is_complete &= answer.is_complete;
            found.extend(answer.refusals.into_iter().filter_map(|row| Some((node, noted(row)?))));
        }
        // If a node has ended since `since`, the refusals in its memory are lost.
        Ok(is_complete && self.store.nodes_gone_since(since).await? == 0)
    }

    /// Reads from `rows` the other nodes' answers to this node's question `id`. Also returns
    /// whether all nodes have answered, and whether an edge has contacted a node since `since`.
    fn answers_to(
        &self,
        id: u64,
        rows: &[NodeRow],
        since: Millis,
    ) -> (Vec<(NodeId, RemoteAnswer)>, AllNodes) {
        let mut answers = Vec::new();
        let mut all = AllNodes { has_answered: true, has_edges: false };
        for row in rows {
            let notes = PeerMessages::of(row);
            all.has_edges |= notes.edge_heard_at >= since.0;
            if row.node == self.id() {
                continue;
            }
            let is_ours = |answer: &RemoteAnswer| (answer.asked_by, answer.id) == (self.id().0, id);
            match notes.answers.into_iter().find(is_ours) {
                Some(answer) => answers.push((row.node, answer)),
                None => all.has_answered = false,
            }
        }
        (answers, all)
    }

    /// Writes this node's row at once, so that the other nodes can read its notes. Returns `false`
    /// if the node has released its lease because it is stopping.
    async fn write_notes(&self) -> StoreResult<bool> {
        let released = self.this_node.lock_leases().await;
        if *released {
            return Ok(false);
        }
        self.store.renew_node_lease(self.id(), LEASE_MS, &self.node_description()).await?;
        Ok(true)
    }
}

struct AllNodes {
    has_answered: bool,
    has_edges: bool,
}

/// Converts a refusal from a row. Returns `None` if this version of the program does not know the
/// problem code.
fn noted((at, item, code): (i64, i64, String)) -> Option<NotedRefusal> {
    Some(NotedRefusal { at: Millis(at), item: ItemId(item), code: Code::parse(&code)? })
}
