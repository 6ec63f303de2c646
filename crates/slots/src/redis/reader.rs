//! Reads the queue of one slot. Each reader has its own connection, because a read waits for
//! tickets. In a cluster, one command can wait only for queues with the same hash slot, so several
//! slots cannot share a connection.
//!
//! One node at a time reads a queue. When another node begins to read the queue, that node claims
//! the unacknowledged tickets of other nodes. It claims the tickets of a dead node at once, and the
//! tickets of a live node only after [`CLAIM_IDLE`]. Only the script `acknowledge.lua` acknowledges
//! tickets.
use std::sync::Arc;

use doorbuster_core::{NodeId, SlotKey};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::codec::{self, array, text};
use super::failure::{RedisFailure, check_reply};
use super::keys::{GROUP, Keys};
use super::limits::{CLAIM_IDLE, CLAIM_INTERVAL, READ_BLOCK, READ_MAX, READ_PAUSE, RESPONSE_MAX};
use super::live_consumers::LiveConsumers;
use super::routes::Routes;
use super::ticket_buffer::TicketBuffer;
use crate::DequeuedTicket;

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) slot: SlotKey,
    pub(super) keys: Keys,
    pub(super) consumer: String,
    pub(super) routes: Arc<Routes>,
    pub(super) inbox: Arc<TicketBuffer>,
    pub(super) live: Arc<LiveConsumers>,
    /// Cancelled when this node no longer reads the slot.
    pub(super) ends: CancellationToken,
}

/// A running [`Reader`]. Dropping this value ends the reader at once.
#[derive(Debug)]
pub(super) struct QueueReader {
    ends: CancellationToken,
    task: JoinSet<()>,
}

impl QueueReader {
    pub(super) fn start(reader: Reader) -> Self {
        let mut this = Self { ends: reader.ends.clone(), task: JoinSet::new() };
        this.task.spawn(reader.run());
        this
    }

    /// Ends the reader after its current read. If the reader ended during the read, the tickets
    /// that the read returns would wait until another node claims them.
    pub(super) fn end_after_read(&mut self) {
        self.ends.cancel();
        self.task.detach_all();
    }

    /// Ends the reader, and waits until its connection is closed.
    pub(super) async fn shutdown(mut self) {
        self.task.shutdown().await;
    }
}

/// An id that is lower than the id of every entry. The first claim begins at this id. If a claim
/// returns this id as the next id, no entries are left.
pub(super) const CLAIM_START: &str = "0-0";

pub(super) fn consumer(node: NodeId) -> String {
    format!("node-{node}")
}

impl Reader {
    async fn run(self) {
        while !self.ends.is_cancelled() {
            if self.session().await.is_ok() {
                return;
            }
            // The connection failed. The queue may have moved to another server.
            drop(self.routes.refresh().await);
            tokio::time::sleep(READ_PAUSE).await;
        }
    }

    /// Reads the queue until the connection fails or `ends` is cancelled.
    async fn session(&self) -> Result<(), RedisFailure> {
        let link = self.routes.server(self.slot)?.link.clone();
        let mut connection = link.connect(None).await?;
        while let Err(failure) = self.read(&mut connection).await {
            match failure {
                // The server is busy, or the queue does not exist yet. The slot's next grant
                // creates the queue.
                RedisFailure::Refused(_) | RedisFailure::Busy(_) if !self.ends.is_cancelled() => {
                    tokio::time::sleep(READ_PAUSE).await
                }
                failure => {
                    link.report_broken();
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    async fn read(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisFailure> {
        // First, read the tickets that this node received before its restart, or over an earlier
        // connection, and did not acknowledge.
        let mut from = "0".to_owned();
        loop {
            let (tickets, last) = self
                .deliver(connection, xreadgroup(&self.keys, &self.consumer, &from, READ_MAX))
                .await?;
            let Some(last) = last else { break };
            self.inbox.push(tickets);
            from = last;
            self.inbox.wait_for_room().await;
        }
        self.take_over(connection).await?;
        let mut claimed = Instant::now();
        while !self.ends.is_cancelled() {
            self.inbox.wait_for_room().await;
            if claimed.elapsed() >= CLAIM_INTERVAL {
                claimed = Instant::now();
                let call =
                    claim(&self.keys, &self.consumer, CLAIM_IDLE.as_millis() as u64, CLAIM_START);
                let claimed = read_claimed(self.slot, send(connection, &call).await?)?;
                self.inbox.push(claimed.tickets);
                self.drop_unreadable(connection, &claimed.unreadable).await?;
            }
            let (tickets, _) = self
                .deliver(connection, xreadgroup(&self.keys, &self.consumer, ">", READ_MAX))
                .await?;
            if !tickets.is_empty() {
                self.inbox.push(tickets);
            }
        }
        Ok(())
    }

    /// Claims the tickets that dead nodes received. The name of a ticket's consumer shows which
    /// node received it.
    async fn take_over(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisFailure> {
        let mut command = Cmd::new();
        command.arg("XINFO").arg("CONSUMERS").arg(self.keys.queue()).arg(GROUP);
        for consumer in self.live.parse_dead_consumers(send(connection, &command).await?)? {
            loop {
                let received = pending(&self.keys, &consumer, "-");
                let ids = pending_ids(send(connection, &received).await?)?;
                if ids.is_empty() {
                    break;
                }
                let mut take = Cmd::new();
                take.arg("XCLAIM").arg(self.keys.queue()).arg(GROUP).arg(&self.consumer);
                take.arg(0).arg(&ids);
                let claimed = read_entries(self.slot, send(connection, &take).await?)?;
                self.inbox.push(claimed.tickets);
                self.drop_unreadable(connection, &claimed.unreadable).await?;
                self.inbox.wait_for_room().await;
            }
        }
        Ok(())
    }

    /// Drops entries that a reader claimed but cannot decode. If such an entry stayed in the queue,
    /// no drain could end, and the slot would seem to have no settler. No order depends on such an
    /// entry.
    async fn drop_unreadable(
        &self,
        connection: &mut MultiplexedConnection,
        ids: &[String],
    ) -> Result<(), RedisFailure> {
        if ids.is_empty() {
            return Ok(());
        }
        tracing::error!(
            slot = %self.slot,
            entries = ?ids,
            event = "slot.entries_unreadable",
            "dropped unreadable entries of a slot's queue"
        );
        let mut acknowledge = Cmd::new();
        acknowledge.arg("XACK").arg(self.keys.queue()).arg(GROUP).arg(ids);
        send(connection, &acknowledge).await?;
        let mut drop_them = Cmd::new();
        drop_them.arg("XDEL").arg(self.keys.queue()).arg(ids);
        send(connection, &drop_them).await.map(drop)
    }

    /// Returns the tickets of one read, and the id of its last entry.
    async fn deliver(
        &self,
        connection: &mut MultiplexedConnection,
        call: Cmd,
    ) -> Result<(Vec<DequeuedTicket>, Option<String>), RedisFailure> {
        let read = read_streams(self.slot, send(connection, &call).await?)?;
        Ok((read.tickets, read.last))
    }
}

/// Sends a command, and waits for its answer as long as a read of a queue may take.
async fn send(connection: &mut MultiplexedConnection, call: &Cmd) -> Result<Value, RedisFailure> {
    match tokio::time::timeout(READ_BLOCK + RESPONSE_MAX, connection.send_packed_command(call))
        .await
    {
        Ok(reply) => reply.map_err(|e| RedisFailure::of(&e)).and_then(check_reply),
        Err(_) => Err(RedisFailure::NoReply("the queue was not read in time".to_owned())),
    }
}

/// Builds a read of at most `count` entries. If `from` is ">", the read returns entries that no
/// consumer has received yet. Otherwise, it returns the entries after the id `from` that this
/// consumer received and did not acknowledge.
pub(super) fn xreadgroup(keys: &Keys, consumer: &str, from: &str, count: usize) -> Cmd {
    let mut call = Cmd::new();
    call.arg("XREADGROUP").arg("GROUP").arg(GROUP).arg(consumer).arg("COUNT").arg(count);
    call.arg("BLOCK").arg(READ_BLOCK.as_millis() as u64).arg("STREAMS").arg(keys.queue()).arg(from);
    call
}

/// Builds a claim: `consumer` takes over unacknowledged entries that were delivered at least
/// `idle_ms` ago. The claim begins at the id `from`.
pub(super) fn claim(keys: &Keys, consumer: &str, idle_ms: u64, from: &str) -> Cmd {
    let mut call = Cmd::new();
    call.arg("XAUTOCLAIM")
        .arg(keys.queue())
        .arg(GROUP)
        .arg(consumer)
        .arg(idle_ms)
        .arg(from)
        .arg("COUNT")
        .arg(READ_MAX);
    call
}

/// Builds a query for the ids of the entries that `consumer` received and did not acknowledge,
/// beginning at the id `from`.
pub(super) fn pending(keys: &Keys, consumer: &str, from: &str) -> Cmd {
    let mut call = Cmd::new();
    call.arg("XPENDING").arg(keys.queue()).arg(GROUP).arg(from).arg("+");
    call.arg(READ_MAX).arg(consumer);
    call
}

pub(super) fn pending_ids(reply: Value) -> Result<Vec<String>, RedisFailure> {
    let id = |row: Value| text(&array(row)?.into_iter().next().unwrap_or_default()).map(Into::into);
    array(reply)?.into_iter().map(id).collect()
}

pub(super) struct Claimed {
    /// The id at which the next claim begins. This id is [`CLAIM_START`] if no entries are left.
    pub(super) next: String,
    pub(super) tickets: Vec<DequeuedTicket>,
    unreadable: Vec<String>,
}

pub(super) fn read_claimed(slot: SlotKey, reply: Value) -> Result<Claimed, RedisFailure> {
    let mut parts = array(reply)?.into_iter();
    let next = text(&parts.next().unwrap_or_default())?.to_owned();
    let Entries { tickets, unreadable, .. } = read_entries(slot, parts.next().unwrap_or_default())?;
    Ok(Claimed { next, tickets, unreadable })
}

#[derive(Default)]
pub(super) struct Entries {
    pub(super) tickets: Vec<DequeuedTicket>,
    last: Option<String>,
    unreadable: Vec<String>,
}

pub(super) fn read_streams(slot: SlotKey, reply: Value) -> Result<Entries, RedisFailure> {
    let Some(stream) = array(reply)?.into_iter().next() else { return Ok(Entries::default()) };
    read_entries(slot, array(stream)?.into_iter().nth(1).unwrap_or_default())
}

/// Decodes the entries of a reply. An invalid entry does not prevent the delivery of the entries
/// after it.
fn read_entries(slot: SlotKey, entries: Value) -> Result<Entries, RedisFailure> {
    let mut read = Entries::default();
    for entry in array(entries)?.into_iter().filter(|entry| !matches!(entry, Value::Nil)) {
        let mut parts = array(entry)?.into_iter();
        let id = text(&parts.next().unwrap_or_default())?.to_owned();
        let fields = parts.next().unwrap_or_default();
        match codec::delivery(slot, &id, fields) {
            Some(delivery) => read.tickets.push(DequeuedTicket { slot, delivery }),
            None => read.unreadable.push(id.clone()),
        }
        read.last = Some(id);
    }
    Ok(read)
}
