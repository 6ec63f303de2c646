//! Starts the engine: opens the store and the slots, recovers the state that an earlier process
//! left, and starts the jobs. Only this module creates the parts of the engine.
use std::path::PathBuf;
use std::sync::Arc;

use doorbuster_base::clock::Clock;
use doorbuster_config::Roles;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{CloseCause, IdKey, NodeId};
use doorbuster_slots::{Locks, RedisOptions, SharedRedis, Slots};
use doorbuster_store::{
    CommitBuffer, CommitSink, KnownHistories, PostgresOptions, SqliteOptions, Store,
};
use futures_util::{StreamExt, TryStreamExt};
use secrecy::{ExposeSecret, SecretString};

use crate::cache::Cache;
use crate::catalogue::SharedCatalogue;
use crate::catalogue_reader::CatalogueReader;
use crate::control::{self, JobSignals};
use crate::database::{DatabaseState, history_asker, pause_after_change};
use crate::edge::EdgeNode;
use crate::error::{EngineError, FatalError, OnFatal};
use crate::holders::RequestsWithOrders;
use crate::meter::EngineMeter;
use crate::node::{Lifecycle, LiveNodes, Node, NodeMemory, Refusals, ThisNode};
use crate::notify::Hub;
use crate::orders::Orders;
use crate::outage_log::OutageLog;
use crate::purchase::Purchases;
use crate::sales::SaleControl;
use crate::settle;
use crate::slot_layout::{SlotLayout, redis_prefix};
use crate::stock::{self, StockControl};
use crate::waiters::VerdictWaiters;
use crate::waitlists::Waitlists;

/// The number of settlers in each node. In measurements with two or three settlers, batches were
/// smaller, and the server created 5% fewer orders per second.
const SETTLERS: usize = 1;
/// The maximum number of old grants that a starting node closes at the same time.
const RECOVERIES_AT_ONCE: usize = 64;

/// Where the slots and the store are.
pub enum StockLocation {
    /// The slots are in the memory of this process. The store is embedded, and its data is in this
    /// directory.
    Directory(PathBuf),
    /// Like [`StockLocation::Directory`]. In addition, each commit is copied for a continuous
    /// backup.
    CopiedDirectory(PathBuf, CommitBuffer),
    /// The slots are in the memory of each node. The store is PostgreSQL at this address.
    Postgres(SecretString),
    /// This process is an edge. It has neither slots nor a store.
    Edge(Arc<EdgeNode>),
    /// The slots are in Redis. The store is PostgreSQL.
    Cluster {
        /// The store's address.
        store: SecretString,
        /// The addresses of the slots' servers.
        slots: Vec<SecretString>,
        /// How many Redis replicas should confirm a ticket. A node waits only a short time for
        /// them.
        wait_replicas: u32,
    },
}

/// The sources from which a node learns the newest history of its database. With this history, the
/// node detects that it is connected to an old primary.
#[derive(Debug, Default)]
pub struct DatabaseOptions {
    /// The newest history that is stored on this machine.
    pub history: KnownHistories,
    /// Addresses of other nodes, such as `http://10.0.0.2:8080`.
    pub peers: Vec<String>,
}

/// The options of the engine.
pub struct EngineOptions {
    /// Where the slots and the store are.
    pub location: StockLocation,
    /// The roles of this process.
    pub roles: Roles,
    /// The deployment's key for ids.
    pub id_key: IdKey,
    /// The clock of an embedded store.
    pub clock: Clock,
    /// The file `pass_key`. Set if the keys of the front door come from this file.
    pub pass_key: Option<doorbuster_secrets::PassKeyFile>,
    /// This node's id.
    pub node: NodeId,
    /// The bounds of one slot's memory. Tests use lower bounds, because a test could not reach the
    /// real bounds.
    pub bounds: SlotBounds,
    /// Whether this node acts as leader even while another node is the leader. Set only in tests of
    /// two leaders.
    pub always_leads: bool,
    /// Whether to accept a PostgreSQL with `fsync` off. Set only in tests.
    pub allow_fsync_off: bool,
    /// If nodes share the database, where the node finds the newest history of the database.
    pub database: DatabaseOptions,
    /// Called when the store has failed permanently, or when a job has ended too early. This
    /// function must end the process.
    pub on_fatal: OnFatal,
}

/// The started parts of the engine.
pub struct EngineParts {
    /// What this node is and knows.
    pub node: Arc<Node>,
    /// Makes the slots agree with the store's rows, and stops the node.
    pub stock: Arc<StockControl>,
    /// Reads the changes that other nodes made to the catalogue.
    pub catalogue_reader: Arc<CatalogueReader>,
    /// Changes sales.
    pub sales: Arc<SaleControl>,
    /// Reads and changes orders.
    pub orders: Arc<Orders>,
    /// Changes waitlists.
    pub waitlists: Waitlists,
    /// Handles purchases.
    pub purchases: Arc<Purchases>,
}

/// Opens the store, recovers the state that an earlier process left, and starts the jobs.
///
/// # Errors
///
/// If the store cannot be opened or read.
pub async fn start(options: EngineOptions) -> Result<EngineParts, EngineError> {
    let (on_fatal, roles) = (options.on_fatal.clone(), options.roles);
    let (node, slots) = open_node(options).await?;
    let stock = Arc::new(StockControl::new(node.clone(), slots.clone()));
    let catalogue_reader = Arc::new(CatalogueReader::new(node.clone(), slots.clone()));
    let sales = Arc::new(SaleControl::new(&stock));
    let orders = Arc::new(Orders::new(&stock, &catalogue_reader));
    if !node.layout().is_edge() {
        recover(&stock, roles).await?;
        let jobs = node.lifecycle().jobs(on_fatal);
        for _ in 0..if roles.settle { SETTLERS } else { 0 } {
            jobs.start("settle", settle::run(node.clone(), slots.clone()));
        }
        control::start(&jobs, roles, &stock, &catalogue_reader, &sales);
    }
    Ok(EngineParts {
        waitlists: Waitlists::new(&node, &orders),
        purchases: Arc::new(Purchases::new(node.clone(), slots)),
        node,
        stock,
        catalogue_reader,
        sales,
        orders,
    })
}

async fn open_node(options: EngineOptions) -> Result<(Arc<Node>, Slots), EngineError> {
    let node_memory = Arc::new(NodeMemory {
        catalogue: SharedCatalogue::default(),
        holders: RequestsWithOrders::default(),
        hub: Hub::new(options.clock.now()),
        control: JobSignals::default(),
        waiters: VerdictWaiters::default(),
        refusals: Refusals::new(&options.id_key),
        key: options.id_key.clone(),
    });
    let (store, slots, layout) = open(&options, &node_memory).await?;
    if !layout.is_edge() {
        store.bind_key().await?;
        if let Some(file) = &options.pass_key {
            store.bind_pass_key(&file.fingerprint, file.is_new).await?;
        }
        pause_after_change(&store).await?;
    }
    let node = Node {
        memory: node_memory,
        store,
        cache: Cache::new(open_shared(&options, &slots)?),
        clock: options.clock,
        database: DatabaseState::new(options.database.history),
        edge: match &options.location {
            StockLocation::Edge(edge) => Some(edge.clone()),
            _ => None,
        },
        this_node: ThisNode::new(options.node, options.roles, layout, options.always_leads),
        live_nodes: LiveNodes::new(options.node, layout),
        meter: EngineMeter::default(),
        outage_log: OutageLog::default(),
        lifecycle: Lifecycle::default(),
    };
    Ok((Arc::new(node), slots))
}

/// Loads the catalogue and the requests that hold orders, and reconciles the loaded items. On a
/// single node, first closes all open grants. The slots of these grants were in the memory of an
/// earlier process, and are gone.
async fn recover(stock: &StockControl, roles: Roles) -> Result<(), EngineError> {
    let (node, slots) = (&stock.node, stock.slots());
    if node.layout().is_single_node() {
        let open = node.store().open_grants().await?;
        let closing = futures_util::stream::iter(open)
            .map(|grant| node.store().close_grant(grant.id, CloseCause::LeaseLapsed));
        closing.buffer_unordered(RECOVERIES_AT_ONCE).try_for_each(async |_| Ok(())).await?;
    }
    // The counts must be read before the requests that hold orders. The node then knows the request
    // of every order that the counts include. In the reverse sequence, the node could lack the
    // newest requests.
    let counts = node.store().counts(None).await?;
    let sales = node.store().sales().await?;
    let items = sales.iter().flat_map(|row| row.items.iter().map(|item| item.id)).collect();
    let (key, layout) = (&node.memory.key, node.layout());
    node.change_catalogue(|c| {
        sales.into_iter().for_each(|row| c.put_sale(row, &counts, key, layout))
    });
    if !node.layout().is_single_node() {
        node.read_counts(items).await?;
    }
    node.load_holders().await?;
    control::renew_leases(node, slots, roles).await?;
    if roles.settle {
        control::select_queues(node, slots);
    }
    if node.watches_slots() {
        // With many items, the reconciliation takes longer than this node's lease lasts. So the
        // leases are renewed in the meantime.
        let items = node.items_with_open_slots();
        tokio::select! {
            () = stock::reconcile_all(stock, &items) => {}
            () = control::keep_leases(node, slots, roles) => {}
        }
    }
    Ok(())
}

async fn open(
    options: &EngineOptions,
    node_memory: &Arc<NodeMemory>,
) -> Result<(Store, Slots, SlotLayout), EngineError> {
    let memory = node_memory.clone();
    let sink: CommitSink = Arc::new(move |committed| memory.publish(committed));
    match &options.location {
        StockLocation::Directory(dir) | StockLocation::CopiedDirectory(dir, _) => {
            let clock = options.clock.clone();
            let opened = SqliteOptions {
                dir: dir.clone(),
                id_key: options.id_key.clone(),
                clock: Arc::new(move || clock.now()),
                sink,
                on_fatal: on_store_failure(options),
            };
            let store = match &options.location {
                StockLocation::CopiedDirectory(_, copy) => {
                    Store::open_copied_sqlite(opened, copy.clone())?
                }
                _ => Store::open_sqlite(opened)?,
            };
            Ok((
                store,
                Slots::local(options.id_key.clone(), options.bounds),
                SlotLayout::SingleNode,
            ))
        }
        StockLocation::Edge(edge) => {
            let edge = edge.clone();
            Ok((
                Store::absent(options.id_key.clone(), Arc::new(move || edge.now())),
                Slots::local(options.id_key.clone(), options.bounds),
                SlotLayout::Edge,
            ))
        }
        StockLocation::Postgres(url) => {
            let store = open_postgres(options, node_memory, url, None, sink).await?;
            Ok((
                store,
                Slots::local(options.id_key.clone(), options.bounds),
                SlotLayout::PerNode(options.roles.api.then_some(options.node)),
            ))
        }
        StockLocation::Cluster { store, slots, wait_replicas } => {
            let shared = SharedRedis::new(&expose_urls(slots), &redis_prefix(&options.id_key))?;
            let store = open_postgres(options, node_memory, store, Some(shared), sink).await?;
            Ok((store, open_redis(options, slots, *wait_replicas).await?, SlotLayout::Shared))
        }
    }
}

fn on_store_failure(options: &EngineOptions) -> Arc<dyn Fn(&str) + Send + Sync> {
    let on_fatal = options.on_fatal.clone();
    Arc::new(move |reason: &str| on_fatal(&FatalError::Store(reason.to_owned())))
}

async fn open_postgres(
    options: &EngineOptions,
    node_memory: &Arc<NodeMemory>,
    url: &SecretString,
    shared: Option<SharedRedis>,
    sink: CommitSink,
) -> Result<Store, EngineError> {
    let DatabaseOptions { history, peers } = &options.database;
    let hub = node_memory.hub.clone();
    history.set_ask_peers(history_asker(history, shared, peers.clone()));
    let store = Store::open_postgres(PostgresOptions {
        url: url.expose_secret().to_owned(),
        id_key: options.id_key.clone(),
        clock: None,
        monotonic_clock: None,
        node: options.node,
        sink,
        follows: Arc::new(move |buyer| hub.follows(buyer)),
        on_fatal: on_store_failure(options),
        allow_fsync_off: options.allow_fsync_off,
        history: history.clone(),
    });
    Ok(store.await?)
}

/// Opens the Redis that all nodes share, for data that may be lost. Also opens the locks in this
/// Redis. Returns `None` if the deployment has no Redis.
fn open_shared(
    options: &EngineOptions,
    slots: &Slots,
) -> Result<Option<(SharedRedis, Locks)>, EngineError> {
    let StockLocation::Cluster { slots: urls, .. } = &options.location else { return Ok(None) };
    let (urls, prefix) = (expose_urls(urls), redis_prefix(&options.id_key));
    let shared = SharedRedis::new(&urls, &prefix)?;
    // A task gets a lock if a majority of the Redis servers agree. A Redis cluster counts as one
    // server.
    let places = if slots.is_cluster() {
        vec![shared.clone()]
    } else {
        SharedRedis::one_per_server(&urls, &prefix)?
    };
    Ok(Some((shared, Locks::new(places)?)))
}

/// Returns the addresses as plain text.
pub fn expose_urls(urls: &[SecretString]) -> Vec<String> {
    urls.iter().map(|url| url.expose_secret().to_owned()).collect()
}

async fn open_redis(
    options: &EngineOptions,
    urls: &[SecretString],
    wait_replicas: u32,
) -> Result<Slots, EngineError> {
    let slots = Slots::redis(RedisOptions {
        urls: expose_urls(urls),
        prefix: redis_prefix(&options.id_key),
        id_key: options.id_key.clone(),
        node: options.node,
        bounds: options.bounds,
        wait_replicas,
    });
    Ok(slots.await?)
}
