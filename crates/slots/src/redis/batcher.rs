//! Batches the ticket requests to one server. A write has one call for each slot, with the slot's
//! requests. While the current writes wait for their answers, new requests gather for the next
//! write. So the batches grow with the load.
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
use super::link::ServerConnections;
use super::script::{Script, ScriptForm};

#[derive(Clone, Debug)]
pub(super) struct RedisSettings {
    pub(super) prefix: String,
    pub(super) bounds: SlotBounds,
    /// How many replicas should confirm the tickets before the callers get them.
    pub(super) replicas: u32,
}

type TicketReply = Result<TicketAnswer, RedisFailure>;

#[derive(Debug)]
struct PendingTicket {
    slot: SlotKey,
    request: TicketRequest,
    answer: oneshot::Sender<TicketReply>,
}

/// Sends requests to the tasks that write tickets. If the batcher is dropped, these tasks still
/// answer the waiting requests, and then end.
#[derive(Debug)]
pub(super) struct TicketBatcher(Sender<PendingTicket>);

impl TicketBatcher {
    pub(super) fn start(link: &Arc<ServerConnections>, settings: &Arc<RedisSettings>) -> Self {
        let (sender, receiver) = channel(BATCHER_WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..BATCH_WRITERS {
            let writer =
                BatchWriter { link: link.clone(), settings: settings.clone(), connection: None };
            drop(tokio::spawn(writer.run(receiver.clone())));
        }
        Self(sender)
    }

    pub(super) async fn ask(&self, slot: SlotKey, request: &TicketRequest) -> TicketReply {
        let (answer, reply) = oneshot::channel();
        let ask = PendingTicket { slot, request: request.clone(), answer };
        if self.0.try_send(ask).is_err() {
            return Err(RedisFailure::Refused(
                "too many requests already wait for the slot's server".to_owned(),
            ));
        }
        reply
            .await
            .unwrap_or_else(|_| Err(RedisFailure::NoReply("the program is stopping".to_owned())))
    }
}

/// A task that writes batches. Each writer has its own connection, so that a slow write does not
/// delay the other writers.
struct BatchWriter {
    link: Arc<ServerConnections>,
    settings: Arc<RedisSettings>,
    connection: Option<MultiplexedConnection>,
}

impl BatchWriter {
    async fn run(mut self, waiting: Arc<Mutex<Receiver<PendingTicket>>>) {
        let mut pending = Vec::with_capacity(BATCH_MAX);
        loop {
            if self.connection.is_none() {
                // Connect early, so that no request waits for the connection.
                self.connection = self.link.connect(Some(RESPONSE_MAX)).await.ok();
            }
            if waiting.lock().await.recv_many(&mut pending, BATCH_MAX).await == 0 {
                return;
            }
            // A caller that no longer waits needs no ticket, so its request is dropped.
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

    /// Sends Redis one script call for each part. If the settings require replicas, adds a `WAIT`
    /// command. The answers are used even if too few replicas confirm, because a ticket is not yet
    /// an order.
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

/// Splits the requests into parts. All requests of a part have the same slot, and a part is small
/// enough for one call.
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

/// Gives each caller its answer. If a caller no longer waits, its ticket is settled anyway, and the
/// buyer can repeat the request.
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
