//! The notes with which nodes ask each other for the refusals that buyers got.
//!
//! Each node remembers its own refusals. To ask, a node writes a question into the row of its
//! lease. The other nodes read this row when they renew their leases, and write their answers into
//! their own rows. So a node does not need the addresses of the other nodes.
//!
//! This part of a node owns the refusals, and the notes for other nodes. It calls no other part of
//! the node. The node's memory and the module `refusal_search` record refusals here, and
//! `refusal_search` also reads them. The node's description contains the notes.
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_api::problem::Code;
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::{IdKey, NodeId, Token, Verdict};
use doorbuster_store::NodeRow;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::refusal_memory::{NotedRefusal, RefusalMemory};
use crate::waiters::TicketInfo;

/// A node asks the other nodes at most this many questions at the same time. Further searches wait.
const QUESTIONS_MAX: usize = 4;
/// The maximum number of answers in a node's row. If the row is full, the node answers further
/// questions at a later renewal of its lease.
const ANSWERS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    id: u64,
    buyer: u64,
    /// A number that is equal on two nodes only if they hash buyers in the same way; see
    /// [`RefusalMemory::hash_check`]. A node whose number differs cannot answer the question.
    hash_check: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RemoteAnswer {
    pub(super) asked_by: u32,
    pub(super) id: u64,
    pub(super) is_complete: bool,
    /// For each refusal: the time, the item and the problem code.
    pub(super) refusals: Vec<(i64, i64, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PeerMessages {
    questions: Vec<Question>,
    pub(super) answers: Vec<RemoteAnswer>,
    /// When an edge last sent a health check to the node. Edges refuse requests, but nodes cannot
    /// ask edges about these refusals. So if an edge was alive, a search may not find all refusals.
    pub(super) edge_heard_at: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AboutNotes {
    notes: PeerMessages,
}

impl PeerMessages {
    pub(super) fn of(row: &NodeRow) -> Self {
        serde_json::from_str::<AboutNotes>(&row.about).unwrap_or_default().notes
    }
}

/// The refusals that this node remembers, the questions about refusals that it asks other nodes,
/// and its answers to the other nodes' questions.
#[derive(Debug)]
pub struct Refusals {
    pub(super) memory: RefusalMemory,
    notes: Mutex<PeerMessages>,
    pub(super) edge_heard_at: AtomicI64,
    pub(super) asking: Semaphore,
}

impl Refusals {
    pub(crate) fn new(key: &IdKey) -> Self {
        Self {
            memory: RefusalMemory::new(key),
            notes: Mutex::default(),
            edge_heard_at: AtomicI64::new(0),
            asking: Semaphore::new(QUESTIONS_MAX),
        }
    }

    pub(super) fn notes(&self) -> impl Serialize {
        let edge_heard_at = self.edge_heard_at.load(Ordering::Relaxed);
        PeerMessages { edge_heard_at, ..self.lock().clone() }
    }

    /// Answers the other nodes' questions about refused buyers, which are in these nodes' rows.
    /// Removes the answers to questions that are no longer there. Returns whether there is a new
    /// answer.
    pub(super) fn answer(&self, own: NodeId, rows: &[NodeRow]) -> bool {
        let others = rows.iter().filter(|row| row.node != own);
        let posed: Vec<(NodeId, Question)> = others
            .flat_map(|row| PeerMessages::of(row).questions.into_iter().map(|one| (row.node, one)))
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
    /// the verdict is a refusal and no request waits for it, `refused` is its problem code, and
    /// this function notes the refusal. Otherwise `refused` is `None`: the handler of a waiting
    /// request notes the refusal itself.
    pub(super) fn note_verdict(&self, ticket: Token, info: &TicketInfo, refused: Option<Code>) {
        let buyer = self.memory.hash(info.buyer.as_str());
        self.memory.forget_queued(buyer, ticket);
        if let Some(code) = refused {
            // The time of the request, which is shortly before the verdict.
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

    fn lock(&self) -> MutexGuard<'_, PeerMessages> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question in this node's notes. Dropping this value removes the question.
pub(super) struct AskedQuestion<'a> {
    refusals: &'a Refusals,
    pub(super) id: u64,
}

impl<'a> AskedQuestion<'a> {
    pub(crate) fn new(refusals: &'a Refusals, buyer: u64) -> Self {
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

/// Returns the problem code of a refusal, or `None` if the verdict is an order.
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
    use doorbuster_core::{ItemId, Millis};

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
        assert!(
            !asked.answer(NodeId(2), &[row(1, &asking)]),
            "a question must be answered only once"
        );
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
