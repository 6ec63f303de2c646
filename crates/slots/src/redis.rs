//! Slots in Redis, which any number of nodes share. Every call is one script, which runs on the
//! slot's server.
//!
//! All keys of a slot are on one server ([`keys`](self)). Redis may lose any of its data: a
//! comparison with the store then finds the loss, and the loss costs only time.
pub(crate) mod address;
mod batcher;
mod calls;
mod codec;
pub(crate) mod failure;
mod find_request;
mod health;
mod keys;
mod limits;
pub(crate) mod link;
mod live_consumers;
mod queues;
mod reader;
mod release;
mod routes;
mod script;
#[cfg(feature = "script-host")]
mod scripted;
mod ticket_buffer;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, SlotBounds, SlotView, TicketAnswer, TicketRequest,
};
use doorbuster_core::{Epoch, FeedRow, GrantId, IdKey, NodeId, RecallId, SlotKey};
use redis::{Cmd, Value};
use tokio::task::JoinSet;

use self::batcher::RedisSettings;
use self::calls::{Applied, FoundRequests};
use self::failure::RedisFailure;
use self::keys::Keys;
use self::limits::{ATTEMPT_PAUSE, ATTEMPTS_MAX, SCRIPT_ROWS_MAX};
use self::live_consumers::LiveConsumers;
use self::reader::QueueReader;
use self::routes::Routes;
use self::script::{Script, ScriptForm};
#[cfg(feature = "script-host")]
pub use self::scripted::{HostReply, ScriptHost, ScriptedSlot};
use self::ticket_buffer::TicketBuffer;
use self::watch::ServerWatch;
use crate::{LossEvidence, SlotError};

/// Options of slots in Redis. This type is not printable, because the URLs contain passwords.
#[derive(Clone)]
pub struct RedisOptions {
    /// The URLs of one or more plain servers, or of some servers of a cluster. Every node must have
    /// the same URLs.
    pub urls: Vec<String>,
    /// The prefix of every key. Deployments that share a Redis need different prefixes.
    pub prefix: String,
    /// The deployment's key for ids.
    pub id_key: IdKey,
    /// This node.
    pub node: NodeId,
    /// The bounds of one slot's memory.
    pub bounds: SlotBounds,
    /// How many replicas should confirm a ticket before its caller gets it. If too few replicas
    /// confirm in time, the caller gets the ticket anyway. If this number is 0, there is no wait.
    /// Safety does not depend on this setting.
    pub wait_replicas: u32,
}

/// Slots in Redis.
#[derive(Clone, Debug)]
pub struct Redis(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Arc<RedisSettings>,
    id_key: IdKey,
    consumer: String,
    routes: Arc<Routes>,
    inbox: Arc<TicketBuffer>,
    watch: Arc<ServerWatch>,
    readers: Mutex<HashMap<SlotKey, QueueReader>>,
    live: Arc<LiveConsumers>,
    /// The watch task. This task and the readers end when the slots are dropped.
    _tasks: JoinSet<()>,
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, HashMap<SlotKey, QueueReader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Redis {
    pub(crate) async fn open(options: RedisOptions) -> Result<Self, SlotError> {
        let RedisOptions { urls, prefix, id_key, node, bounds, wait_replicas } = options;
        let settings = Arc::new(RedisSettings { prefix, bounds, replicas: wait_replicas });
        let (routes, healths) = Routes::open(&urls, settings.clone()).await?;
        let watch = Arc::new(ServerWatch::new(healths));
        let mut tasks = JoinSet::new();
        tasks.spawn(watch.clone().run(routes.clone()));
        Ok(Self(Arc::new(Shared {
            settings,
            id_key,
            consumer: reader::consumer(node),
            routes,
            inbox: Arc::default(),
            watch,
            readers: Mutex::default(),
            live: Arc::default(),
            _tasks: tasks,
        })))
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.0.routes.is_cluster
    }

    fn keys(&self, slot: SlotKey) -> Keys {
        Keys::of(&self.0.settings.prefix, slot)
    }

    /// Calls a script. Repeats the call only if it certainly had no effect.
    async fn call(
        &self,
        slot: SlotKey,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, RedisFailure> {
        let keys = self.keys(slot);
        self.repeat(|| self.call_once(slot, script, &keys, &arguments)).await
    }

    async fn call_once(
        &self,
        slot: SlotKey,
        script: Script,
        keys: &Keys,
        arguments: &impl Fn(&mut Cmd),
    ) -> Result<Value, RedisFailure> {
        let link = &self.0.routes.server(slot)?.link;
        let call = |by| {
            let mut call = link.scripts.call(script, by, keys);
            arguments(&mut call);
            call
        };
        match link.ask(&call(ScriptForm::Digest)).await {
            Err(RedisFailure::NoScript) => link.ask(&call(ScriptForm::Source)).await,
            reply => reply,
        }
    }

    /// Calls `once`, at most [`ATTEMPTS_MAX`] times. Calls it again only if the call had no effect,
    /// because the server does not have the slot or is not available. Before each repetition, asks
    /// the cluster which servers have which slots.
    async fn repeat<T, F>(&self, once: impl Fn() -> F) -> Result<T, RedisFailure>
    where
        F: Future<Output = Result<T, RedisFailure>>,
    {
        for _ in 1..ATTEMPTS_MAX {
            match once().await {
                Err(RedisFailure::WrongServer(_)) => {}
                reply => return reply,
            }
            drop(self.0.routes.refresh_after_refusal().await);
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
        once().await
    }

    pub(crate) async fn init(
        &self,
        slot: SlotKey,
        terms: GrantTerms,
    ) -> Result<ApplyOutcome, SlotError> {
        calls::check_epoch(slot, terms.epoch)?;
        let reply = self.call(slot, Script::Init, |call| calls::init(call, terms)).await?;
        Ok(calls::outcome(&reply)?)
    }

    pub(crate) async fn ticket(
        &self,
        slot: SlotKey,
        request: &TicketRequest,
    ) -> Result<TicketAnswer, SlotError> {
        Ok(self.repeat(|| self.ticket_once(slot, request)).await?)
    }

    async fn ticket_once(
        &self,
        slot: SlotKey,
        request: &TicketRequest,
    ) -> Result<TicketAnswer, RedisFailure> {
        let server = self.0.routes.server(slot)?;
        server.batcher.ask(slot, request).await
    }

    pub(crate) async fn apply(
        &self,
        slot: SlotKey,
        epoch: Epoch,
        rows: &[FeedRow],
    ) -> Result<ApplyOutcome, SlotError> {
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
                .map_or(ApplyOutcome::Foreign, |view| ApplyOutcome::At(view.applied))),
        }
    }

    /// Applies rows of one grant in one call. If the script needs the request of a ticket that is
    /// no longer in the queue, the script changes nothing. This function then searches the slot's
    /// memory for all missing requests, and calls the script again.
    async fn apply_some(
        &self,
        slot: SlotKey,
        epoch: Epoch,
        rows: &[FeedRow],
    ) -> Result<ApplyOutcome, RedisFailure> {
        let mut found = FoundRequests::new();
        loop {
            let arguments =
                |call: &mut Cmd| calls::apply(call, &self.0.id_key, epoch, rows, &found);
            let reply = self.call(slot, Script::Apply, arguments).await?;
            let unknown = match calls::parse_apply_reply(&reply, rows, &found)? {
                Applied::Outcome(outcome) => return Ok(outcome),
                Applied::NeedsRequests(unknown) => unknown,
            };
            let (routes, keys) = (&self.0.routes, self.keys(slot));
            found.extend(find_request::find_requests(routes, slot, &keys, unknown).await?);
        }
    }

    pub(crate) async fn recall(
        &self,
        slot: SlotKey,
        id: RecallId,
        grant: GrantId,
        epoch: Epoch,
        units: u64,
    ) -> Result<RecallOutcome, SlotError> {
        let recalls = self.0.settings.bounds.recalls;
        let arguments = |call: &mut Cmd| calls::recall(call, id, grant, epoch, units, recalls);
        Ok(calls::parse_recall_reply(self.call(slot, Script::Recall, arguments).await?)?)
    }

    pub(crate) async fn stop(&self, slot: SlotKey, stopped: bool) -> Result<(), SlotError> {
        self.call(slot, Script::Stop, |call| calls::stop(call, stopped)).await?;
        Ok(())
    }

    pub(crate) async fn view(&self, slot: SlotKey) -> Result<Option<SlotView>, SlotError> {
        Ok(codec::view(self.call(slot, Script::View, |_| {}).await?, &self.0.settings.bounds)?)
    }

    pub(crate) async fn retire(
        &self,
        slot: SlotKey,
        closed: Option<Epoch>,
    ) -> Result<bool, SlotError> {
        let arguments = |call: &mut Cmd| calls::retire(call, closed);
        Ok(codec::number(&self.call(slot, Script::Retire, arguments).await?)? == 1)
    }

    pub(crate) fn evidence(&self) -> LossEvidence {
        self.0.watch.evidence()
    }

    pub(crate) async fn wait_for_change(&self, seen: u64) -> u64 {
        let mut changes = self.0.watch.changes();
        let now = changes.wait_for(|&now| now != seen).await.ok().map(|now| *now);
        match now {
            Some(now) => now,
            // Unreachable, because the watch lives as long as these slots.
            None => std::future::pending().await,
        }
    }
}
