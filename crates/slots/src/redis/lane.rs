//! The way of requests to one server: what comes at the same time goes in one write, and in one call for each slot.
//!
//! While a write is answered the next one gathers, so that a write grows with the load by itself and the network is not paid for each request.
use std::sync::Arc;

use doorbuster_core::SlotKey;
use doorbuster_core::slot::{Bounds, Request, TicketAnswer};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, oneshot};

use super::fail::{Fail, answer};
use super::keys::Keys;
use super::limits::{
    LANE_BATCH_MAX, LANE_WAITING_MAX, LANE_WRITES, REPLICAS_WAIT, RESPONSE_MAX, SCRIPT_TICKETS_MAX,
};
use super::link::Link;
use super::script::{By, Script};
use super::words;

/// What every call needs to know of the deployment.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) prefix: String,
    pub(super) bounds: Bounds,
    /// Replicas that are waited for before tickets are told.
    pub(super) replicas: u32,
}

type Said = Result<TicketAnswer, Fail>;

/// A request on its way.
#[derive(Debug)]
struct Ask {
    slot: SlotKey,
    request: Request,
    answer: oneshot::Sender<Said>,
}

/// Takes requests for one server. When it is dropped, what waits is still answered, and its tasks end.
#[derive(Debug)]
pub(super) struct Lane(Sender<Ask>);

impl Lane {
    pub(super) fn start(link: &Arc<Link>, setting: &Arc<Setting>) -> Self {
        let (sender, receiver) = channel(LANE_WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..LANE_WRITES {
            let writer = Writer { link: link.clone(), setting: setting.clone(), connection: None };
            drop(tokio::spawn(writer.run(receiver.clone())));
        }
        Self(sender)
    }

    /// One request, one answer.
    pub(super) async fn ask(&self, slot: SlotKey, request: &Request) -> Said {
        let (answer, said) = oneshot::channel();
        let ask = Ask { slot, request: request.clone(), answer };
        if self.0.try_send(ask).is_err() {
            return Err(Fail::Refused("too many requests wait for the server".to_owned()));
        }
        said.await.unwrap_or_else(|_| Err(Fail::Lost("the program is stopping".to_owned())))
    }
}

/// One of the writes that may be in flight, with a connection of its own: one that is slow holds up nobody else.
struct Writer {
    link: Arc<Link>,
    setting: Arc<Setting>,
    connection: Option<MultiplexedConnection>,
}

impl Writer {
    async fn run(mut self, waiting: Arc<Mutex<Receiver<Ask>>>) {
        let mut asks = Vec::with_capacity(LANE_BATCH_MAX);
        loop {
            if self.connection.is_none() {
                // Before anybody waits for it.
                self.connection = self.link.connect(Some(RESPONSE_MAX)).await.ok();
            }
            if waiting.lock().await.recv_many(&mut asks, LANE_BATCH_MAX).await == 0 {
                return;
            }
            // Whoever went away before anything was done gets nothing done.
            asks.retain(|ask| !ask.answer.is_closed());
            asks.sort_by_key(|ask| ask.slot);
            self.serve(&mut asks).await;
        }
    }

    async fn serve(&mut self, asks: &mut Vec<Ask>) {
        let mut parts = split(asks);
        let mut said = self.write(&parts, By::Digest).await;
        let unknown = |said: &Result<Value, Fail>| matches!(said, Err(Fail::NoScript));
        if said.iter().any(unknown) {
            let again: Vec<usize> = (0..parts.len()).filter(|&i| unknown(&said[i])).collect();
            let some: Vec<Vec<Ask>> =
                again.iter().map(|&i| std::mem::take(&mut parts[i])).collect();
            let answers = self.write(&some, By::Source).await;
            for ((i, part), answer) in again.into_iter().zip(some).zip(answers) {
                (parts[i], said[i]) = (part, answer);
            }
        }
        for (part, said) in parts.into_iter().zip(said) {
            tell(part, said);
        }
    }

    /// One write of one call for each part, and the answers to the calls; behind the calls the wait for replicas, if any are to have the tickets. How
    /// many have them in time changes nothing: no ticket is a promise, and one that a failover forgets is asked for again.
    async fn write(&mut self, parts: &[Vec<Ask>], by: By) -> Vec<Result<Value, Fail>> {
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
                &Keys::of(&self.setting.prefix, part[0].slot),
            );
            words::ticket_bounds(&mut call, &self.setting.bounds);
            part.iter().for_each(|ask| words::ticket_request(&mut call, &ask.request));
            pipe.add_command(call);
        }
        let mut expected = parts.len();
        if self.setting.replicas > 0 {
            pipe.cmd("WAIT").arg(self.setting.replicas).arg(REPLICAS_WAIT.as_millis() as u64);
            expected += 1;
        }
        match connection.send_packed_commands(&pipe, 0, expected).await {
            Ok(values) if values.len() == expected => {
                values.into_iter().take(parts.len()).map(answer).collect()
            }
            said => {
                let fail = said.map_or_else(
                    |e| Fail::of(&e),
                    |_| Fail::Lost("answers are missing".to_owned()),
                );
                let fail = fail.at(&self.link.address);
                self.connection = None;
                self.link.disturb();
                vec![Err(fail); parts.len()]
            }
        }
    }
}

/// Requests by slot, at most so many together as one call may carry.
fn split(asks: &mut Vec<Ask>) -> Vec<Vec<Ask>> {
    let mut parts: Vec<Vec<Ask>> = Vec::new();
    for ask in asks.drain(..) {
        match parts.last_mut() {
            Some(part) if part[0].slot == ask.slot && part.len() < SCRIPT_TICKETS_MAX => {
                part.push(ask)
            }
            _ => parts.push(vec![ask]),
        }
    }
    parts
}

/// Fans one call's answer out. Whoever does not listen any more asks again, or the ticket settles by itself.
fn tell(part: Vec<Ask>, said: Result<Value, Fail>) {
    let answers = said.and_then(|value| words::ticket_answers(value, part.len()));
    match answers {
        Ok(Some((grant, values))) => {
            for (ask, value) in part.into_iter().zip(values) {
                let said = words::ticket_answer(grant, &value, &ask.request);
                drop(ask.answer.send(said));
            }
        }
        Ok(None) => {
            part.into_iter().for_each(|ask| drop(ask.answer.send(Ok(TicketAnswer::NoEpoch))))
        }
        Err(fail) => part.into_iter().for_each(|ask| drop(ask.answer.send(Err(fail.clone())))),
    }
}
