//! The refusals that buyers got from all nodes.
//!
//! Each node remembers its own refusals. A node that needs the refusals of other nodes writes a
//! question into the row of its lease. Whenever a node renews its lease, it reads the lease rows of
//! all nodes and writes its answers into its own row. So questions do not slow down refusals, and a
//! node needs no addresses of other nodes.
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_api::problem::Code;
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::{IdKey, ItemId, Millis, NodeId, TicketId, Token, Verdict};
use doorbuster_store::{NodeRow, StoreResult};
use doorbuster_telemetry::answer_counts::AnswerKind;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::Engine;
use crate::catalogue::{ItemState, SaleState};
use crate::control::LEASE_MS;
use crate::refusal_memory::{NotedRefusal, RefusalMemory};
use crate::waiters::TicketInfo;

/// How long other nodes may take to answer. If a node does not answer in time, the result may lack
/// refusals.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Time between two reads of the answers.
const READ_EVERY: Duration = Duration::from_millis(100);
/// The maximum number of questions of one node at the same time. Further questions wait.
const QUESTIONS_MAX: usize = 4;
/// The maximum number of answers in a node's row at the same time. Further questions get an answer
/// at a later renewal.
const ANSWERS_MAX: usize = 64;

/// A question about a buyer's refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    id: u64,
    /// The buyer's hash.
    buyer: u64,
    /// See [`RefusalMemory::hash_check`].
    hash_check: u64,
}

/// A node's answer to a question of another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RemoteAnswer {
    asked_by: u32,
    id: u64,
    is_complete: bool,
    /// Time, item and problem code of each refusal.
    refusals: Vec<(i64, i64, String)>,
}

/// The notes for other nodes, which a node writes into the row of its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    questions: Vec<Question>,
    answers: Vec<RemoteAnswer>,
    /// When an edge last sent a health check to the node. Edges also refuse requests, but they
    /// answer no questions. So a list of a buyer's refusals may lack those of an edge.
    edge_heard_at: i64,
}

/// The part of a node's description that has the node's notes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AboutNotes {
    notes: Notes,
}

impl Notes {
    fn of(row: &NodeRow) -> Self {
        serde_json::from_str::<AboutNotes>(&row.about).unwrap_or_default().notes
    }
}

/// This node's refusals, and its questions and answers.
#[derive(Debug)]
pub struct Refusals {
    memory: RefusalMemory,
    notes: Mutex<Notes>,
    edge_heard_at: AtomicI64,
    asking: Semaphore,
}

/// A buyer's refusals, newest first.
#[derive(Debug, Default)]
pub struct FoundRefusals {
    /// Each refusal, with the node that gave it.
    pub refusals: Vec<(NodeId, NotedRefusal)>,
    /// Whether the list is complete: every node answered, and no node has lost a refusal.
    pub is_complete: bool,
}

impl Refusals {
    pub(super) fn new(key: &IdKey) -> Self {
        Self {
            memory: RefusalMemory::new(key),
            notes: Mutex::default(),
            edge_heard_at: AtomicI64::new(0),
            asking: Semaphore::new(QUESTIONS_MAX),
        }
    }

    /// Returns the notes that other nodes read in this node's lease.
    pub(super) fn notes(&self) -> impl Serialize {
        let edge_heard_at = self.edge_heard_at.load(Ordering::Relaxed);
        Notes { edge_heard_at, ..self.lock().clone() }
    }

    /// Answers the questions in these rows. Forgets an answer when its question is no longer in a
    /// row. Returns whether there is a new answer.
    fn answer(&self, own: NodeId, rows: &[NodeRow]) -> bool {
        let others = rows.iter().filter(|row| row.node != own);
        let posed: Vec<(NodeId, Question)> = others
            .flat_map(|row| Notes::of(row).questions.into_iter().map(|one| (row.node, one)))
            .collect();
        let answers = |answer: &RemoteAnswer, node: NodeId, question: &Question| {
            (answer.asked_by, answer.id) == (node.0, question.id)
        };
        let mut notes = self.lock();
        notes
            .answers
            .retain(|answer| posed.iter().any(|(node, question)| answers(answer, *node, question)));
        let known = notes.answers.len();
        for (node, question) in &posed {
            let is_new = !notes.answers.iter().any(|answer| answers(answer, *node, question));
            if is_new && notes.answers.len() < ANSWERS_MAX {
                let answer = self.answer_to(*node, question);
                notes.answers.push(answer);
            }
        }
        notes.answers.len() > known
    }

    /// Notes the verdict of a ticket, and removes the note that the ticket's request is queued. If
    /// the verdict is a refusal and no request waits for it, `refused` is the reason. If a request
    /// waits for the verdict, that request notes its own answer.
    pub(super) fn note_verdict(&self, ticket: Token, info: &TicketInfo, refused: Option<Code>) {
        let buyer = self.memory.hash(info.buyer.as_str());
        self.memory.forget_queued(buyer, ticket);
        if let Some(code) = refused {
            // The request's time. The verdict came at most a few seconds after the request.
            let at = info.decide_by.plus(-DECIDE_WITHIN_MS);
            self.memory.note(buyer, NotedRefusal { at, item: info.item, code });
        }
    }

    fn answer_to(&self, asked_by: NodeId, question: &Question) -> RemoteAnswer {
        let can_read = question.hash_check == self.memory.hash_check();
        let (noted, is_complete) = match can_read {
            true => self.memory.of_buyer(question.buyer),
            false => (Vec::new(), false),
        };
        let row = |noted: NotedRefusal| (noted.at.0, noted.item.0, noted.code.as_str().into());
        let refusals = noted.into_iter().map(row).collect();
        RemoteAnswer { asked_by: asked_by.0, id: question.id, is_complete, refusals }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question in this node's notes. Dropping this value removes the question.
struct AskedQuestion<'a> {
    refusals: &'a Refusals,
    id: u64,
}

impl<'a> AskedQuestion<'a> {
    fn new(refusals: &'a Refusals, buyer: u64) -> Self {
        let (id, hash_check) = (rand::random(), refusals.memory.hash_check());
        refusals.lock().questions.push(Question { id, buyer, hash_check });
        Self { refusals, id }
    }
}

impl Drop for AskedQuestion<'_> {
    fn drop(&mut self) {
        self.refusals.lock().questions.retain(|question| question.id != self.id);
    }
}

impl Engine {
    fn refusals(&self) -> &Refusals {
        &self.node_memory.refusals
    }

    /// Counts the answer to a purchase. If the answer is a refusal, also notes it.
    pub fn count_answer(
        &self,
        sale: &SaleState,
        item: &ItemState,
        buyer: &str,
        answer: AnswerKind,
        now: Millis,
    ) {
        sale.flags.answer_counts.count(answer);
        if let Some(code) = answer.refusal_code() {
            self.note_refusal(item, buyer, code, now);
        }
    }

    /// Notes that this buyer was refused.
    pub fn note_refusal(&self, item: &ItemState, buyer: &str, code: Code, at: Millis) {
        let memory = &self.refusals().memory;
        memory.note(memory.hash(buyer), NotedRefusal { at, item: item.row.id, code });
    }

    /// Notes that the request of this buyer is queued. The ticket's verdict removes the note.
    pub fn note_queued(&self, buyer: &str, id: TicketId, now: Millis) {
        let Some(ticket) = id.parts().map(|parts| parts.token) else { return };
        let memory = &self.refusals().memory;
        let buyer = memory.hash(buyer);
        memory.note_queued(buyer, ticket, now);
        // If this node does not expect the verdict, the note is removed. Either this node has noted
        // the verdict already, or another node notes it.
        if self.waiters().info(ticket).is_none() {
            memory.forget_queued(buyer, ticket);
        }
    }

    /// Records that an edge is alive. The edge may have refused buyers.
    pub fn note_edge(&self) {
        self.refusals().edge_heard_at.store(self.now().0, Ordering::Relaxed);
    }

    /// Answers the questions of these nodes. Returns `true` if there is a new answer. The caller
    /// must then show the answer to the other nodes at once.
    pub(crate) fn answer_questions(&self, nodes: &[NodeRow]) -> bool {
        self.refusals().answer(self.node, nodes)
    }

    /// Returns the refusals that a buyer got from all nodes since `since`.
    pub async fn refusals_of(&self, buyer: &str, since: Millis) -> StoreResult<FoundRefusals> {
        let memory = &self.refusals().memory;
        let hash = memory.hash(buyer);
        let (own, is_complete) = memory.of_buyer(hash);
        let mut found = FoundRefusals { is_complete, ..FoundRefusals::default() };
        found.refusals.extend(own.into_iter().map(|noted| (self.node, noted)));
        if self.layout.is_single_node() {
            found.is_complete &= self.started_at().is_some_and(|started| started <= since);
        } else {
            found.is_complete &= self.ask_nodes(hash, since, &mut found.refusals).await?;
        }
        found.refusals.retain(|(_, noted)| noted.at >= since);
        // Two nodes may refuse in the same millisecond. This sort gives the same sequence on every
        // node.
        found.refusals.sort_by_key(|(node, noted)| (std::cmp::Reverse(noted.at), *node));
        Ok(found)
    }

    /// Adds the refusals that other nodes remember. Returns true if no refusal can be missing.
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
            sleep(READ_EVERY).await;
        };
        for (node, answer) in answers {
            is_complete &= answer.is_complete;
            found.extend(answer.refusals.into_iter().filter_map(|row| Some((node, noted(row)?))));
        }
        // The memory of a node that ended is lost, so refusals may be missing.
        Ok(is_complete && self.store.nodes_gone_since(since).await? == 0)
    }

    /// Returns the answers to a question in these rows.
    fn answers_to(
        &self,
        id: u64,
        rows: &[NodeRow],
        since: Millis,
    ) -> (Vec<(NodeId, RemoteAnswer)>, AllNodes) {
        let mut answers = Vec::new();
        let mut all = AllNodes { has_answered: true, has_edges: false };
        for row in rows {
            let notes = Notes::of(row);
            all.has_edges |= notes.edge_heard_at >= since.0;
            if row.node == self.node {
                continue;
            }
            let is_ours = |answer: &RemoteAnswer| (answer.asked_by, answer.id) == (self.node.0, id);
            match notes.answers.into_iter().find(is_ours) {
                Some(answer) => answers.push((row.node, answer)),
                None => all.has_answered = false,
            }
        }
        (answers, all)
    }

    /// Writes this node's notes at once. Returns false if the node is stopping.
    async fn write_notes(&self) -> StoreResult<bool> {
        let released = self.lock_leases().await;
        if *released {
            return Ok(false);
        }
        self.store.renew_node_lease(self.node, LEASE_MS, &self.node_description()).await?;
        Ok(true)
    }
}

/// A summary of the rows of all nodes.
struct AllNodes {
    has_answered: bool,
    /// True if an edge was alive and may have refused buyers.
    has_edges: bool,
}

/// Reads a refusal that another node remembers. Returns `None` if this version of the program does
/// not know the refusal's problem code.
fn noted((at, item, code): (i64, i64, String)) -> Option<NotedRefusal> {
    Some(NotedRefusal { at: Millis(at), item: ItemId(item), code: Code::parse(&code)? })
}

/// Returns the problem code of a verdict. Returns `None` if the request holds an order.
pub(super) fn verdict_code(verdict: Verdict) -> Option<Code> {
    match verdict {
        Verdict::Reserved | Verdict::Order(_) => None,
        Verdict::KeyReused => Some(Code::IdempotencyKeyReused),
        Verdict::LimitReached => Some(Code::LimitReached),
        Verdict::Unavailable => Some(Code::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: u32, refusals: &Refusals) -> NodeRow {
        let about = serde_json::json!({"roles": ["api"], "notes": refusals.notes()}).to_string();
        NodeRow { node: NodeId(node), lease_until: Millis(9), leader: false, about }
    }

    fn refusals(key: u8) -> Refusals {
        Refusals::new(&IdKey::new([key; 32]))
    }

    #[test]
    fn a_node_answers_a_question_once_and_forgets_it_with_the_question() {
        let (asking, asked) = (refusals(1), refusals(1));
        let buyer = asking.memory.hash("ann");
        let noted = NotedRefusal { at: Millis(5), item: ItemId(7), code: Code::SoldOut };
        asked.memory.note(buyer, noted);
        let question = AskedQuestion::new(&asking, buyer);
        assert!(asked.answer(NodeId(2), &[row(1, &asking), row(2, &asked)]));
        let answer = asked.lock().answers[0].clone();
        assert_eq!((answer.asked_by, answer.id, answer.is_complete), (1, question.id, true));
        assert_eq!(answer.refusals, [(5, 7, "sold_out".to_owned())]);
        assert!(!asked.answer(NodeId(2), &[row(1, &asking)]), "it has been answered");
        drop(question);
        assert!(!asked.answer(NodeId(2), &[row(1, &asking)]));
        assert_eq!(asked.lock().answers, []);
    }

    #[test]
    fn a_node_with_other_hashes_says_that_its_answer_may_lack_refusals() {
        let (asking, asked) = (refusals(1), refusals(2));
        let _question = AskedQuestion::new(&asking, asking.memory.hash("ann"));
        assert!(asked.answer(NodeId(2), &[row(1, &asking)]));
        assert!(!asked.lock().answers[0].is_complete);
    }

    #[test]
    fn a_node_does_not_answer_itself_and_reads_descriptions_without_notes() {
        let asking = refusals(1);
        let _question = AskedQuestion::new(&asking, 7);
        let older = NodeRow { about: "{}".to_owned(), ..row(2, &asking) };
        assert!(!asking.answer(NodeId(1), &[row(1, &asking), older]));
    }
}
