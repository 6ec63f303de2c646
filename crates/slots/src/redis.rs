//! Slots in Redis, which any number of nodes share: every call is one script on the server that has the slot.
//!
//! One server, several plain ones, or a Redis Cluster; all keys of a slot stand on one server ([`keys`](self)). Redis holds nothing that must not be
//! lost: whatever it forgets, repeats or rolls back is found by comparing with the truth, and costs time only.
pub(crate) mod fail;
mod health;
mod inbox;
mod keys;
mod lane;
mod leave;
mod limits;
mod link;
mod reader;
mod routes;
mod script;
mod search;
mod watch;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{Applied, Bounds, Recalled, Request, SlotView, Terms, TicketAnswer};
use doorbuster_core::{Epoch, Feed, GrantId, IdKey, NodeId, RecallId, Seq, SlotKey};
use redis::{Cmd, Value};
use tokio::task::JoinSet;

use self::fail::{Fail, strange};
use self::inbox::Inbox;
use self::keys::Keys;
use self::lane::Setting;
use self::limits::{
    ATTEMPT_PAUSE, ATTEMPTS_MAX, EPOCH_MAX, RETIRED_KEEP, SCRIPT_DONE_MAX, SCRIPT_ROWS_MAX,
    SERVED_MAX,
};
use self::reader::Reader;
use self::routes::Routes;
use self::script::{By, Script};
use self::watch::Watch;
use crate::{Done, Evidence, SlotError, Taken};

/// How slots in Redis are opened. Not to be printed: URLs hold passwords.
#[derive(Clone)]
pub struct RedisOptions {
    /// One server, several plain ones, or some of a cluster's; the same on every node.
    pub urls: Vec<String>,
    /// What every key begins with: deployments that share a Redis differ in it.
    pub prefix: String,
    /// The deployment's key for ids.
    pub id_key: IdKey,
    /// This node.
    pub node: NodeId,
    /// How much one slot may hold.
    pub bounds: Bounds,
    /// Replicas of a server that are waited for, a moment at most, before tickets are told: 0 for none. Nothing is safe because of them.
    pub wait_replicas: u32,
}

/// Slots in Redis.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    setting: Arc<Setting>,
    id_key: IdKey,
    consumer: String,
    routes: Arc<Routes>,
    inbox: Arc<Inbox>,
    watch: Arc<Watch>,
    readers: Mutex<HashMap<SlotKey, JoinSet<()>>>,
    /// The watch. Like the readers it ends when the slots are dropped.
    _tasks: JoinSet<()>,
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, HashMap<SlotKey, JoinSet<()>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Redis {
    pub(crate) async fn open(options: RedisOptions) -> Result<Self, SlotError> {
        let RedisOptions { urls, prefix, id_key, node, bounds, wait_replicas } = options;
        let setting = Arc::new(Setting { prefix, bounds, replicas: wait_replicas });
        let (routes, healths) = Routes::open(&urls, setting.clone()).await?;
        let watch = Arc::new(Watch::new(healths));
        let mut tasks = JoinSet::new();
        tasks.spawn(watch.clone().run(routes.clone()));
        Ok(Self(Arc::new(Shared {
            setting,
            id_key,
            consumer: reader::consumer(node),
            routes,
            inbox: Arc::default(),
            watch,
            readers: Mutex::default(),
            _tasks: tasks,
        })))
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.0.routes.is_cluster
    }

    fn keys(&self, slot: SlotKey) -> Keys {
        Keys::of(&self.0.setting.prefix, slot)
    }

    /// One call of a script. Asked again only while nothing was done.
    async fn call(
        &self,
        slot: SlotKey,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, Fail> {
        let keys = self.keys(slot);
        let mut said = self.call_once(slot, script, &keys, &arguments).await;
        for _ in 1..ATTEMPTS_MAX {
            if !is_elsewhere(&said) {
                break;
            }
            self.look_again().await;
            said = self.call_once(slot, script, &keys, &arguments).await;
        }
        said
    }

    async fn call_once(
        &self,
        slot: SlotKey,
        script: Script,
        keys: &Keys,
        arguments: &impl Fn(&mut Cmd),
    ) -> Result<Value, Fail> {
        let link = &self.0.routes.server(slot)?.link;
        let call = |by| {
            let mut call = link.scripts.call(script, by, keys);
            arguments(&mut call);
            call
        };
        match link.ask(&call(By::Digest)).await {
            Err(Fail::NoScript) => link.ask(&call(By::Source)).await,
            said => said,
        }
    }

    /// Looks for the slots' servers again, when the one asked says that it did nothing.
    async fn look_again(&self) {
        drop(self.0.routes.refresh().await);
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }

    pub(crate) async fn init(&self, slot: SlotKey, terms: Terms) -> Result<Applied, SlotError> {
        let Terms { grant, epoch, counted, available, threshold } = terms;
        if epoch.0 > EPOCH_MAX {
            let reason = format!("epoch {epoch} of slot {slot} is past the last one, {EPOCH_MAX}");
            return Err(SlotError { reason, may_have_happened: false });
        }
        let arguments = |call: &mut Cmd| {
            call.arg(grant.0).arg(epoch.0).arg(u8::from(counted)).arg(available).arg(threshold);
        };
        Ok(applied(&self.call(slot, Script::Init, arguments).await?)?)
    }

    pub(crate) async fn ticket(
        &self,
        slot: SlotKey,
        request: &Request,
    ) -> Result<TicketAnswer, SlotError> {
        let mut said = self.ticket_once(slot, request).await;
        for _ in 1..ATTEMPTS_MAX {
            if !is_elsewhere(&said) {
                break;
            }
            self.look_again().await;
            said = self.ticket_once(slot, request).await;
        }
        Ok(said?)
    }

    async fn ticket_once(&self, slot: SlotKey, request: &Request) -> Result<TicketAnswer, Fail> {
        let server = self.0.routes.server(slot)?;
        server.lane.ask(slot, request).await
    }

    pub(crate) async fn apply(
        &self,
        slot: SlotKey,
        epoch: Epoch,
        rows: &[Feed],
    ) -> Result<Applied, SlotError> {
        let mut at = None;
        for some in rows
            .chunk_by(|a, b| a.grant == b.grant)
            .flat_map(|of_grant| of_grant.chunks(SCRIPT_ROWS_MAX))
        {
            at = Some(self.apply_some(slot, epoch, some).await?);
        }
        match at {
            Some(at) => Ok(at),
            None => Ok(self
                .view(slot)
                .await?
                .map_or(Applied::Foreign, |view| Applied::At(view.applied))),
        }
    }

    /// Rows of one grant, in one call. A row that names a ticket and no request makes the script ask which request it was, if the queue does not know.
    async fn apply_some(
        &self,
        slot: SlotKey,
        epoch: Epoch,
        rows: &[Feed],
    ) -> Result<Applied, Fail> {
        let mut found: HashMap<usize, Vec<u8>> = HashMap::new();
        loop {
            let arguments = |call: &mut Cmd| {
                call.arg(rows[0].grant.0).arg(epoch.0);
                rows.iter().enumerate().for_each(|(i, row)| self.row(call, row, found.get(&i)));
            };
            let said = self.call(slot, Script::Apply, arguments).await?;
            let unknown = match &said {
                Value::Array(values) => values.get(1).map(words::number).transpose()?,
                _ => None,
            };
            let Some(i) = unknown else { return applied(&said) };
            let i = usize::try_from(i).unwrap_or(0).wrapping_sub(1);
            let token = rows.get(i).and_then(|row| row.ticket?.parts()).map(|parts| parts.token);
            let (Some(token), false) = (token, found.contains_key(&i)) else {
                return Err(strange(&said));
            };
            let hash = search::request_of(&self.0.routes, slot, &self.keys(slot), token).await?;
            found.insert(i, hash.unwrap_or_else(|| b"-".to_vec()));
        }
    }

    /// The arguments of one feed row; `found` is the hash of its request where that had to be looked for.
    fn row(&self, call: &mut Cmd, row: &Feed, found: Option<&Vec<u8>>) {
        let key = &self.0.id_key;
        let brings = matches!(row.cause, FeedCause::Refill | FeedCause::Recalled);
        call.arg(row.seq.0).arg(row.units).arg(row.counter.as_str()).arg(u8::from(brings));
        match &row.buyer {
            Some(buyer) => call.arg(&key.buyer_hash(buyer.as_str()).to_be_bytes()[..]),
            None => call.arg(""),
        };
        call.arg(row.quota_delta);
        let parts = if row.cause == FeedCause::Returned {
            row.ticket.and_then(|ticket| ticket.parts())
        } else {
            None
        };
        let Some(parts) = parts else {
            call.arg("").arg("").arg("");
            return;
        };
        call.arg(parts.token.0).arg(parts.n.0);
        match (&row.buyer, &row.key, found) {
            (.., Some(hash)) => call.arg(hash),
            (Some(buyer), Some(request), None) => {
                call.arg(&key.request_hash(buyer.as_str(), request.as_str()).0.to_be_bytes()[..])
            }
            _ => call.arg(""),
        };
    }

    pub(crate) async fn recall(
        &self,
        slot: SlotKey,
        id: RecallId,
        grant: GrantId,
        epoch: Epoch,
        units: u64,
    ) -> Result<Recalled, SlotError> {
        let arguments = |call: &mut Cmd| {
            call.arg(id.0).arg(grant.0).arg(epoch.0).arg(units).arg(self.0.setting.bounds.recalls);
        };
        let said = words::array(self.call(slot, Script::Recall, arguments).await?)?;
        Ok(match said.first() {
            Some(taken) => Recalled::Taken(words::number(taken)?),
            None => Recalled::Refused,
        })
    }

    /// From now on this node reads the queues of these slots and of no others; of more than the bound it reads the first.
    pub(crate) fn serve(&self, slots: &[SlotKey]) -> Result<(), SlotError> {
        let read: HashSet<SlotKey> = slots.iter().copied().take(SERVED_MAX).collect();
        let mut readers = self.0.readers();
        // A reader that is dropped ends. What it was just given is claimed by whoever reads the slot next.
        readers.retain(|slot, _| read.contains(slot));
        for slot in read {
            readers.entry(slot).or_insert_with(|| {
                let mut task = JoinSet::new();
                task.spawn(self.reader(slot).run());
                task
            });
        }
        if slots.len() > SERVED_MAX {
            let reason =
                format!("{} slots are more than one node reads, {SERVED_MAX}", slots.len());
            return Err(SlotError { reason, may_have_happened: false });
        }
        Ok(())
    }

    fn reader(&self, slot: SlotKey) -> Reader {
        let Shared { consumer, routes, inbox, .. } = &*self.0;
        Reader {
            slot,
            keys: self.keys(slot),
            consumer: consumer.clone(),
            routes: routes.clone(),
            inbox: inbox.clone(),
        }
    }

    pub(crate) async fn take(&self, at_most: usize) -> Vec<Taken> {
        self.0.inbox.take(at_most).await
    }

    pub(crate) async fn acknowledge(&self, done: &[Done]) -> Result<(), SlotError> {
        let mut done = done.to_vec();
        done.sort_by_key(|d| (d.slot, d.at));
        for some in done
            .chunk_by(|a, b| a.slot == b.slot)
            .flat_map(|of_slot| of_slot.chunks(SCRIPT_DONE_MAX))
        {
            let arguments = |call: &mut Cmd| {
                for one in some {
                    call.arg(words::entry_id(one.at)).arg(one.token.0);
                }
            };
            self.call(some[0].slot, Script::Acknowledge, arguments).await?;
        }
        Ok(())
    }

    /// Everything that was delivered, to whomever, is delivered here again, in its order, and what waits here of the slot with it.
    pub(crate) async fn redeliver(&self, slot: SlotKey) -> Result<(), SlotError> {
        let (keys, mut from, mut tickets) = (self.keys(slot), "0-0".to_owned(), Vec::new());
        loop {
            let mut said = self.claim_once(slot, &keys, &from).await;
            for _ in 1..ATTEMPTS_MAX {
                if !is_elsewhere(&said) {
                    break;
                }
                self.look_again().await;
                said = self.claim_once(slot, &keys, &from).await;
            }
            let claimed = match said {
                // No queue: nothing was delivered.
                Err(Fail::Refused(_)) => break,
                said => reader::read_claimed(slot, said?)?,
            };
            tickets.extend(claimed.tickets);
            from = claimed.next;
            if from == "0-0" {
                break;
            }
        }
        self.0.inbox.replace(slot, tickets);
        Ok(())
    }

    async fn claim_once(&self, slot: SlotKey, keys: &Keys, from: &str) -> Result<Value, Fail> {
        let call = reader::claim(keys, &self.0.consumer, 0, from);
        self.0.routes.server(slot)?.link.ask(&call).await
    }

    pub(crate) async fn stop(&self, slot: SlotKey, stopped: bool) -> Result<(), SlotError> {
        let arguments = |call: &mut Cmd| {
            call.arg(u8::from(stopped));
        };
        self.call(slot, Script::Stop, arguments).await?;
        Ok(())
    }

    pub(crate) async fn view(&self, slot: SlotKey) -> Result<Option<SlotView>, SlotError> {
        Ok(words::view(self.call(slot, Script::View, |_| {}).await?, &self.0.setting.bounds)?)
    }

    pub(crate) async fn retire(&self, slot: SlotKey) -> Result<bool, SlotError> {
        let arguments = |call: &mut Cmd| {
            call.arg(RETIRED_KEEP.as_millis() as u64);
        };
        Ok(words::number(&self.call(slot, Script::Retire, arguments).await?)? == 1)
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.0.watch.evidence()
    }

    pub(crate) async fn changed(&self, seen: u64) -> u64 {
        let mut changes = self.0.watch.changes();
        let now = changes.wait_for(|&now| now != seen).await.ok().map(|now| *now);
        match now {
            Some(now) => now,
            // The watch lives as long as these slots do.
            None => std::future::pending().await,
        }
    }
}

/// Whether nothing was done, because the slot is on another server now.
fn is_elsewhere<T>(said: &Result<T, Fail>) -> bool {
    matches!(said, Err(Fail::Elsewhere(_)))
}

/// The answer to `init` and `apply`.
fn applied(said: &Value) -> Result<Applied, Fail> {
    match said {
        Value::Array(values) => match values.first() {
            Some(seq) => Ok(Applied::At(Seq(words::number(seq)?))),
            None => Ok(Applied::Foreign),
        },
        other => Err(strange(other)),
    }
}
