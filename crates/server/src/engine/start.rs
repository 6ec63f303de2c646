//! How an engine starts: store and slots of its shape, what a stopped or killed program left, the
//! jobs of its roles.
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{CloseCause, IdKey, ItemId, NodeId};
use doorbuster_slots::{Locks, RedisOptions, Shared, Slots};
use doorbuster_store::{CommitSink, PostgresOptions, SqliteOptions, Store};
use futures_util::{StreamExt, TryStreamExt};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::views::Views;
use super::{Engine, EngineError, Jobs};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Roles;
use crate::control::{self, Control};
use crate::holders::Holders;
use crate::layout::Layout;
use crate::meter::Meter;
use crate::notify::Hub;
use crate::settle;
use crate::waiters::Waiters;

/// Settlers of a node. One: what comes while its batch commits is the next batch, so that batches
/// are as large as they can be. A second one takes tickets away from it: more commits, each
/// smaller, and a twentieth fewer orders a second (measured with one to three).
const SETTLERS: usize = 1;
/// Grants closed at the same time at start; the store commits them in groups.
const RECOVER_AT_ONCE: usize = 64;
/// Requests read at once while a node's memory is rebuilt.
const HOLDERS_PAGE: usize = 10_000;

/// Where stock is decided and kept.
pub enum Place {
    /// In this process, and in a directory.
    Directory(PathBuf),
    /// A slot in the memory of each node; the truth in PostgreSQL, at this address.
    Postgres(SecretString),
    /// Slots in Redis, at these addresses; the truth in PostgreSQL, at this address.
    Cluster {
        /// The truth's.
        store: SecretString,
        /// The slots'.
        slots: Vec<SecretString>,
        /// Replicas that are waited for before tickets there are told.
        wait_replicas: u32,
    },
}

/// What an engine is started with.
pub struct EngineOptions {
    /// Where stock is decided and kept.
    pub place: Place,
    /// The parts of the work that this process does.
    pub roles: Roles,
    /// The deployment's key for ids.
    pub id_key: IdKey,
    /// The clock of an embedded store.
    pub clock: Clock,
    /// This node.
    pub node: NodeId,
    /// How much one slot may hold: lower in tests, so that it is reached.
    pub bounds: SlotBounds,
    /// Do the work of one for all whoever else does it: for tests of two leaders at once.
    pub leads_regardless: bool,
    /// Use a PostgreSQL also when it does not sync: for tests.
    pub allow_fsync_off: bool,
    /// Called once when the store has failed for good: the process must end.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Engine {
    /// Opens the store, recovers what a stopped or killed program left, warms the slots and starts
    /// settling.
    ///
    /// # Errors When the store cannot be opened or read.
    pub async fn start(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let views = Arc::new(Views {
            catalogue: ArcSwap::default(),
            holders: Holders::default(),
            hub: Hub::new(options.clock.now()),
            control: Control::default(),
            waiters: Waiters::default(),
            key: options.id_key.clone(),
        });
        let on_fatal = options.on_fatal.clone();
        let (store, slots, layout) = open(&options, &views).await?;
        let cache = Cache::new(shared(&options, &slots)?);
        let engine = Arc::new(Self {
            views,
            store,
            slots,
            cache,
            clock: options.clock,
            node: options.node,
            leads_regardless: options.leads_regardless,
            layout,
            living: Arc::default(),
            parked: AtomicUsize::new(0),
            meter: Meter::default(),
            drained: Notify::new(),
            changing: Mutex::default(),
            looked: tokio::sync::Mutex::default(),
            stopping: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        engine.recover(options.roles).await?;
        let jobs = Jobs { tasks: engine.tasks.clone(), stop: engine.stop.clone(), on_fatal };
        for _ in 0..if options.roles.settle { SETTLERS } else { 0 } {
            jobs.start("settle", settle::run(engine.clone()));
        }
        control::start(&engine, &jobs, options.roles);
        Ok(engine)
    }

    /// Slots in memory died with the last process: their grants are closed, and warm items get the
    /// next ones.
    async fn recover(&self, roles: Roles) -> Result<(), EngineError> {
        if self.layout.is_alone() {
            let open = self.store.open_grants().await?;
            let closing = futures_util::stream::iter(open)
                .map(|grant| self.store.close_grant(grant.id, CloseCause::LeaseLapsed));
            closing.buffer_unordered(RECOVER_AT_ONCE).try_for_each(async |_| Ok(())).await?;
        }
        // Counts before the requests that hold an order: the latter are complete up to the former.
        let counts = self.store.counts(None).await?;
        let sales = self.store.sales().await?;
        let items = sales.iter().flat_map(|row| row.items.iter().map(|item| item.id)).collect();
        let (key, layout) = (&self.views.key, self.layout);
        self.change_catalogue(|c| {
            sales.into_iter().for_each(|row| c.put(row, &counts, key, layout))
        });
        if !self.layout.is_alone() {
            self.read_counts(items).await?;
        }
        self.remember_holders().await?;
        if roles.settle {
            self.serve();
        }
        control::lead_now(self, roles).await?;
        if self.watches() {
            control::tend_all(self, &self.warm_items()).await;
        }
        Ok(())
    }
}

impl Engine {
    /// Reads which requests hold an order, of every sale that is not long over.
    pub(crate) async fn remember_holders(&self) -> Result<(), EngineError> {
        let now = self.now();
        let items: Vec<ItemId> = {
            let catalogue = self.catalogue();
            let kept = catalogue
                .sales()
                .filter(|sale| !sale.is_long_over(now))
                .flat_map(|sale| &sale.items);
            kept.map(|item| item.row.id).collect()
        };
        let mut after = 0;
        loop {
            let (page, next) = self.store.request_hashes_of(&items, after, HOLDERS_PAGE).await?;
            page.iter().for_each(|&half| self.views.holders.insert(half));
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }
}

/// The one place that knows what a shape is made of.
async fn open(
    options: &EngineOptions,
    views: &Arc<Views>,
) -> Result<(Store, Slots, Layout), EngineError> {
    let sink = views.clone();
    let sink: CommitSink = Arc::new(move |committed| sink.publish(committed));
    match &options.place {
        Place::Directory(dir) => {
            let clock = options.clock.clone();
            let store = Store::open_sqlite(SqliteOptions {
                dir: dir.clone(),
                id_key: options.id_key.clone(),
                clock: Arc::new(move || clock.now()),
                sink,
                on_fatal: options.on_fatal.clone(),
            })?;
            Ok((store, Slots::local(options.id_key.clone(), options.bounds), Layout::Alone))
        }
        Place::Postgres(url) => {
            let store = open_postgres(options, url, sink).await?;
            Ok((
                store,
                Slots::local(options.id_key.clone(), options.bounds),
                Layout::PerNode(options.roles.api.then_some(options.node)),
            ))
        }
        Place::Cluster { store, slots, wait_replicas } => {
            let store = open_postgres(options, store, sink).await?;
            Ok((store, open_redis(options, slots, *wait_replicas).await?, Layout::Shared))
        }
    }
}

async fn open_postgres(
    options: &EngineOptions,
    url: &SecretString,
    sink: CommitSink,
) -> Result<Store, EngineError> {
    let store = Store::open_postgres(PostgresOptions {
        url: url.expose_secret().to_owned(),
        id_key: options.id_key.clone(),
        clock: None,
        node: options.node,
        sink,
        on_fatal: options.on_fatal.clone(),
        allow_fsync_off: options.allow_fsync_off,
    });
    Ok(store.await?)
}

/// The server that nodes share for what may be forgotten, and locks there, in the shape that has
/// one.
fn shared(options: &EngineOptions, slots: &Slots) -> Result<Option<(Shared, Locks)>, EngineError> {
    let Place::Cluster { slots: urls, .. } = &options.place else { return Ok(None) };
    let (urls, prefix) = (exposed(urls), prefix(options));
    let shared = Shared::new(&urls, &prefix)?;
    // Servers that know nothing of each other decide by majority; a cluster is one, whatever it is
    // made of.
    let places = if slots.is_cluster() {
        vec![shared.clone()]
    } else {
        Shared::one_per_server(&urls, &prefix)?
    };
    Ok(Some((shared, Locks::new(places)?)))
}

fn exposed(urls: &[SecretString]) -> Vec<String> {
    urls.iter().map(|url| url.expose_secret().to_owned()).collect()
}

/// What every key in Redis begins with: what another deployment left in these servers is none of
/// ours.
fn prefix(options: &EngineOptions) -> String {
    let deployment = options.id_key.request_hash("doorbuster", "slots").id_bits();
    format!("doorbuster:{deployment:06x}")
}

async fn open_redis(
    options: &EngineOptions,
    urls: &[SecretString],
    wait_replicas: u32,
) -> Result<Slots, EngineError> {
    let slots = Slots::redis(RedisOptions {
        urls: exposed(urls),
        prefix: prefix(options),
        id_key: options.id_key.clone(),
        node: options.node,
        bounds: options.bounds,
        wait_replicas,
    });
    Ok(slots.await?)
}
