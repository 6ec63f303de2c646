//! A slot without a server, for tests. An interpreter runs the real scripts, with the same
//! arguments and replies as on a server. Some methods contain copies of loops in [`crate::Slots`],
//! because the original loops need a server.
use std::collections::VecDeque;

use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, SlotBounds, SlotView, TicketAnswer, TicketRequest,
};
use doorbuster_core::{
    Epoch, FeedRow, GrantId, IdKey, NodeId, QueuedTicket, RecallId, SlotKey, Token,
};
use redis::{Arg, Cmd, Value};

use super::calls::{self, Applied, FoundRequests, RowsByToken};
use super::failure::RedisFailure;
use super::find_request::Search;
use super::keys::Keys;
use super::script::{Script, call_by_source};
use super::{codec, reader};
use crate::{DeliveryRef, SlotError};

/// Takes the place of a Redis server for one slot. Executes the commands `EVAL`, `HSCAN`,
/// `XREADGROUP` and `XAUTOCLAIM`.
pub trait ScriptHost {
    /// Executes a command. The first word is the command's name.
    fn execute(&mut self, words: Vec<Vec<u8>>) -> HostReply;
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostReply {
    /// No value.
    Nil,
    /// A number.
    Int(i64),
    /// A word, such as `OK`.
    Status(&'static str),
    /// A text.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<Self>),
    /// An error, which begins with its code.
    Error(String),
}

impl From<HostReply> for Value {
    fn from(reply: HostReply) -> Self {
        match reply {
            // No error gets here: the caller handles an error before this conversion, and no list
            // of replies contains an error.
            HostReply::Nil | HostReply::Error(_) => Self::Nil,
            HostReply::Int(n) => Self::Int(n),
            HostReply::Status(word) => Self::SimpleString(word.to_owned()),
            HostReply::Bulk(text) => Self::BulkString(text),
            HostReply::Array(replies) => Self::Array(replies.into_iter().map(Self::from).collect()),
        }
    }
}

/// A slot whose scripts run in `host`. The methods of this type have the same effects as the
/// methods of [`crate::Slots`].
#[derive(Clone, Debug)]
pub struct ScriptedSlot<H> {
    host: H,
    slot: SlotKey,
    keys: Keys,
    id_key: IdKey,
    bounds: SlotBounds,
    consumer: String,
    /// Tickets that the slot delivered again, and that no settler has taken since then.
    redelivered: VecDeque<QueuedTicket>,
}

type Reply<T> = Result<T, SlotError>;

impl<H: ScriptHost> ScriptedSlot<H> {
    /// Returns a slot whose data is in `host`.
    pub fn new(host: H, slot: SlotKey, id_key: IdKey, bounds: SlotBounds) -> Self {
        let (keys, consumer) = (Keys::of("scripted", slot), reader::consumer(NodeId(0)));
        Self { host, slot, keys, id_key, bounds, consumer, redelivered: VecDeque::new() }
    }

    fn call(
        &mut self,
        script: Script,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<Value, RedisFailure> {
        let mut call = call_by_source(script, &self.keys);
        arguments(&mut call);
        self.execute(&call)
    }

    fn execute(&mut self, command: &Cmd) -> Result<Value, RedisFailure> {
        let words = command.args_iter().filter_map(|word| match word {
            Arg::Simple(word) => Some(word.to_vec()),
            _ => None,
        });
        match self.host.execute(words.collect()) {
            HostReply::Error(text) => Err(RedisFailure::of_text(&text)),
            reply => Ok(reply.into()),
        }
    }

    /// See [`crate::Slots::init`].
    ///
    /// # Errors
    /// If the epoch is above the maximum, or if the script fails.
    pub fn init(&mut self, terms: GrantTerms) -> Reply<ApplyOutcome> {
        calls::check_epoch(self.slot, terms.epoch)?;
        Ok(calls::outcome(&self.call(Script::Init, |call| calls::init(call, terms))?)?)
    }

    /// See [`crate::Slots::ticket`].
    ///
    /// # Errors
    /// If the script fails.
    pub fn ticket(&mut self, request: &TicketRequest) -> Reply<TicketAnswer> {
        let bounds = self.bounds;
        let reply = self.call(Script::Ticket, |call| {
            codec::ticket_bounds(call, &bounds);
            codec::ticket_request(call, request);
        })?;
        Ok(match codec::ticket_answers(reply, 1)? {
            Some((grant, answers)) => codec::ticket_answer(grant, &answers[0], request)?,
            None => TicketAnswer::NoEpoch,
        })
    }

    /// See [`crate::Slots::apply`].
    ///
    /// # Errors
    /// If the script fails.
    pub fn apply(&mut self, epoch: Epoch, row: &FeedRow) -> Reply<ApplyOutcome> {
        let (rows, id_key) = (std::slice::from_ref(row), self.id_key.clone());
        let mut found = FoundRequests::new();
        loop {
            let arguments = |call: &mut Cmd| calls::apply(call, &id_key, epoch, rows, &found);
            let reply = self.call(Script::Apply, arguments)?;
            match calls::parse_apply_reply(&reply, rows, &found)? {
                Applied::Outcome(outcome) => return Ok(outcome),
                Applied::NeedsRequests(unknown) => found.extend(self.find_requests(unknown)?),
            }
        }
    }

    fn find_requests(&mut self, unknown: RowsByToken) -> Result<FoundRequests, RedisFailure> {
        let mut search = Search::new(unknown);
        loop {
            let reply = self.execute(&search.next_step(&self.keys))?;
            if search.take(reply)? {
                return Ok(search.into_found());
            }
        }
    }

    /// See [`crate::Slots::recall`].
    ///
    /// # Errors
    /// If the script fails.
    pub fn recall(
        &mut self,
        id: RecallId,
        grant: GrantId,
        epoch: Epoch,
        units: u64,
    ) -> Reply<RecallOutcome> {
        let recalls = self.bounds.recalls;
        let arguments = |call: &mut Cmd| calls::recall(call, id, grant, epoch, units, recalls);
        Ok(calls::parse_recall_reply(self.call(Script::Recall, arguments)?)?)
    }

    /// See [`crate::Slots::take`].
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn take(&mut self, at_most: usize) -> Reply<Vec<QueuedTicket>> {
        let again = at_most.min(self.redelivered.len());
        let mut taken: Vec<QueuedTicket> = self.redelivered.drain(..again).collect();
        let lacks = at_most - taken.len();
        if lacks > 0 {
            let call = reader::xreadgroup(&self.keys, &self.consumer, ">", lacks);
            match self.execute(&call) {
                // No queue exists.
                Err(RedisFailure::Refused(_)) => {}
                reply => {
                    let tickets = reader::read_streams(self.slot, reply?)?.tickets;
                    taken.extend(tickets.into_iter().map(|ticket| ticket.delivery));
                }
            }
        }
        Ok(taken)
    }

    /// See [`crate::Slots::redeliver`].
    ///
    /// # Errors
    /// If the queue cannot be read.
    pub fn redeliver(&mut self) -> Reply<()> {
        self.redelivered.clear();
        let mut from = reader::CLAIM_START.to_owned();
        loop {
            let call = reader::claim(&self.keys, &self.consumer, 0, &from);
            let claimed = match self.execute(&call) {
                // The queue does not exist, so there is no ticket to deliver.
                Err(RedisFailure::Refused(_)) => return Ok(()),
                reply => reader::read_claimed(self.slot, reply?)?,
            };
            self.redelivered.extend(claimed.tickets.into_iter().map(|ticket| ticket.delivery));
            if claimed.next == reader::CLAIM_START {
                return Ok(());
            }
            from = claimed.next;
        }
    }

    /// See [`crate::Slots::acknowledge`].
    ///
    /// # Errors
    /// If the script fails.
    pub fn acknowledge(&mut self, at: u64, token: Token) -> Reply<()> {
        let ticket = DeliveryRef { slot: self.slot, at, token };
        self.call(Script::Acknowledge, |call| calls::acknowledge(call, &[ticket]))?;
        // On a real server, an acknowledged ticket may be delivered once more, but this changes
        // nothing. Here, such a ticket is not delivered again.
        self.redelivered.retain(|it| (it.at, it.ticket.token) != (at, token));
        Ok(())
    }

    /// See [`crate::Slots::stop`].
    ///
    /// # Errors
    /// If the script fails.
    pub fn stop(&mut self, stopped: bool) -> Reply<()> {
        self.call(Script::Stop, |call| calls::stop(call, stopped))?;
        Ok(())
    }

    /// See [`crate::Slots::view`].
    ///
    /// # Errors
    /// If the script fails.
    pub fn view(&mut self) -> Reply<Option<SlotView>> {
        Ok(codec::view(self.call(Script::View, |_| {})?, &self.bounds)?)
    }
}
