//! The way of requests to one server: what comes at the same time goes in one write, and in one
//! call for each slot.
//!
//! While a write is answered the next one gathers, so that a write grows with the load by itself
//! and the network is not paid for each request.
use std::sync::Arc;

use doorbuster_core::SlotKey;
use doorbuster_core::slot::{SlotBounds, TicketAnswer, TicketRequest};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, oneshot};

use super::codec;
use super::failure::{RedisFailure, check_reply};
use super::keys::Keys;
use super::limits::{
    BATCH_MAX, BATCH_WRITERS, BATCHER_WAITING_MAX, REPLICAS_WAIT, RESPONSE_MAX, SCRIPT_TICKETS_MAX,
};
use super::link::Link;
use super::script::{Script, ScriptForm};

/// What every call needs to know of the deployment.
#[derive(Clone, Debug)]
pub(super) struct RedisSettings {
    pub(super) prefix: String,
    pub(super) bounds: SlotBounds,
    /// Replicas that are waited for before tickets are told.
    pub(super) replicas: u32,
}

type TicketReply = Result<TicketAnswer, RedisFailure>;

/// A request on its way.
#[derive(Debug)]
struct PendingTicket {
    slot: SlotKey,
    request: TicketRequest,
    answer: oneshot::Sender<TicketReply>,
}

/// Takes requests for one server. When it is dropped, what waits is still answered, and its tasks
/// end.
#[derive(Debug)]
pub(super) struct TicketBatcher(Sender<PendingTicket>);

impl TicketBatcher {
    pub(super) fn start(link: &Arc<Link>, settings: &Arc<RedisSettings>) -> Self {
        let (sender, receiver) = channel(BATCHER_WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..BATCH_WRITERS {
            let writer =
                BatchWriter { link: link.clone(), settings: settings.clone(), connection: None };
            drop(tokio::spawn(writer.run(receiver.clone())));
        }
        Self(sender)
    }

    /// One request, one answer.
    pub(super) async fn ask(&self, slot: SlotKey, request: &TicketRequest) -> TicketReply {
        let (answer, reply) = oneshot::channel();
        let ask = PendingTicket { slot, request: request.clone(), answer };
        if self.0.try_send(ask).is_err() {
            return Err(RedisFailure::Refused("too many requests wait for the server".to_owned()));
        }
        reply
            .await
            .unwrap_or_else(|_| Err(RedisFailure::NoReply("the program is stopping".to_owned())))
    }
}

/// One of the writes that may be in flight, with a connection of its own: one that is slow holds up
/// nobody else.
struct BatchWriter {
    link: Arc<Link>,
    settings: Arc<RedisSettings>,
    connection: Option<MultiplexedConnection>,
}

impl BatchWriter {
    async fn run(mut self, waiting: Arc<Mutex<Receiver<PendingTicket>>>) {
        let mut pending = Vec::with_capacity(BATCH_MAX);
        loop {
            if self.connection.is_none() {
                // Before anybody waits for it.
                self.connection = self.link.connect(Some(RESPONSE_MAX)).await.ok();
            }
            if waiting.lock().await.recv_many(&mut pending, BATCH_MAX).await == 0 {
                return;
            }
            // Whoever went away before anything was done gets nothing done.
            pending.retain(|ask| !ask.answer.is_closed());
            pending.sort_by_key(|ask| ask.slot);
            self.send_batch(&mut pending).await;
        }
    }

    async fn send_batch(&mut self, pending: &mut Vec<PendingTicket>) {
        let mut parts = split_by_slot(pending);
        let mut reply = self.write(&parts, ScriptForm::Digest).await;
        let unknown =
            |reply: &Result<Value, RedisFailure>| matches!(reply, Err(RedisFailure::NoScript));
        if reply.iter().any(unknown) {
            let again: Vec<usize> = (0..parts.len()).filter(|&i| unknown(&reply[i])).collect();
            let some: Vec<Vec<PendingTicket>> =
                again.iter().map(|&i| std::mem::take(&mut parts[i])).collect();
            let answers = self.write(&some, ScriptForm::Source).await;
            for ((i, part), answer) in again.into_iter().zip(some).zip(answers) {
                (parts[i], reply[i]) = (part, answer);
            }
        }
        for (part, reply) in parts.into_iter().zip(reply) {
            send_answers(part, reply);
        }
    }

    /// One write of one call for each part, and the answers to the calls; behind the calls the wait
    /// for replicas, if any are to have the tickets. How many have them in time changes nothing: no
    /// ticket is a promise, and one that a failover forgets is asked for again.
    async fn write(
        &mut self,
        parts: &[Vec<PendingTicket>],
        by: ScriptForm,
    ) -> Vec<Result<Value, RedisFailure>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => match self.link.connect(Some(RESPONSE_MAX)).await {
                Ok(connection) => none.insert(connection),
                Err(fail) => return vec![Err(fail); parts.len()],
            },
        };
        let mut pipe = Pipeline::with_capacity(parts.len());
        for part in parts {
            let mut call = self.link.scripts.call(
                Script::Ticket,
                by,
                &Keys::of(&self.settings.prefix, part[0].slot),
            );
            codec::ticket_bounds(&mut call, &self.settings.bounds);
            part.iter().for_each(|ask| codec::ticket_request(&mut call, &ask.request));
            pipe.add_command(call);
        }
        let mut expected = parts.len();
        if self.settings.replicas > 0 {
            pipe.cmd("WAIT").arg(self.settings.replicas).arg(REPLICAS_WAIT.as_millis() as u64);
            expected += 1;
        }
        match connection.send_packed_commands(&pipe, 0, expected).await {
            Ok(values) if values.len() == expected => {
                values.into_iter().take(parts.len()).map(check_reply).collect()
            }
            reply => {
                let fail = reply.map_or_else(
                    |e| RedisFailure::of(&e),
                    |_| RedisFailure::NoReply("the server sent too few answers".to_owned()),
                );
                let fail = fail.with_address(&self.link.address);
                self.connection = None;
                self.link.report_broken();
                vec![Err(fail); parts.len()]
            }
        }
    }
}

/// Requests by slot, at most so many together as one call may carry.
fn split_by_slot(pending: &mut Vec<PendingTicket>) -> Vec<Vec<PendingTicket>> {
    let mut parts: Vec<Vec<PendingTicket>> = Vec::new();
    for ask in pending.drain(..) {
        match parts.last_mut() {
            Some(part) if part[0].slot == ask.slot && part.len() < SCRIPT_TICKETS_MAX => {
                part.push(ask)
            }
            _ => parts.push(vec![ask]),
        }
    }
    parts
}

/// Fans one call's answer out. Whoever does not listen any more asks again, or the ticket settles
/// by itself.
fn send_answers(part: Vec<PendingTicket>, reply: Result<Value, RedisFailure>) {
    let answers = reply.and_then(|value| codec::ticket_answers(value, part.len()));
    match answers {
        Ok(Some((grant, values))) => {
            for (ask, value) in part.into_iter().zip(values) {
                let reply = codec::ticket_answer(grant, &value, &ask.request);
                drop(ask.answer.send(reply));
            }
        }
        Ok(None) => {
            part.into_iter().for_each(|ask| drop(ask.answer.send(Ok(TicketAnswer::NoEpoch))))
        }
        Err(fail) => part.into_iter().for_each(|ask| drop(ask.answer.send(Err(fail.clone())))),
    }
}
