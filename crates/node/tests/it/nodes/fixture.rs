//! A fixture for nodes with their own event loops. A test can stop one of the nodes abruptly.
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorbuster_base::clock::Clock;
use doorbuster_config::Roles;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{BuyerId, IdKey, NodeId, Phase, RequestKey, Spread, Stock, Units};
use doorbuster_engine::catalogue::ItemState;
use doorbuster_engine::control::{AuditView, audit};
use doorbuster_engine::item_gauge::ItemGauge;
use doorbuster_engine::purchase::{
    DoorAnswer, Purchase, PurchaseOutcome, Refusal, refuse_from_memory,
};
use doorbuster_engine::start::{self, DatabaseOptions, EngineOptions, EngineParts, StockLocation};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{ItemCounts, NewItem, NewSale, SpreadOutcome, StepOutcome};
use tokio::runtime::{Builder, Runtime};

use super::redis::Redis;
use crate::app::TIMEOUT;
use crate::postgres;
use crate::watch::Stopwatch;

pub(crate) const SALE: &str = "spring";
const WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let began = Stopwatch::start();
    while !holds().await {
        assert!(began.elapsed() < TIMEOUT, "timed out; expected: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A private store, and slots in Redis or in the nodes.
pub(crate) struct Deployment {
    database: String,
    /// The slots are spread over these servers. If the list is empty, the slots are in the nodes'
    /// memory.
    redis: Vec<Redis>,
    pub(crate) bounds: SlotBounds,
    pub(crate) all_lead: bool,
}

impl Deployment {
    pub(crate) fn postgres() -> Self {
        Self {
            database: postgres::shared().database(),
            redis: Vec::new(),
            bounds: SlotBounds::default(),
            all_lead: false,
        }
    }

    pub(crate) fn cluster() -> Self {
        Self { redis: vec![Redis::start()], ..Self::postgres() }
    }

    pub(crate) fn with_two_redis_servers() -> Self {
        Self { redis: vec![Redis::start(), Redis::start()], ..Self::postgres() }
    }

    pub(crate) fn redis(&self) -> &Redis {
        self.redis.first().expect("a cluster")
    }

    pub(crate) fn redis_servers(&self) -> &[Redis] {
        &self.redis
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        postgres::shared().psql(&self.database, sql).expect("the database answers")
    }

    /// Locks a table. All changes of the table's rows wait until the lock is released.
    pub(crate) fn lock_table(&self, table: &str) -> TableLock {
        self.lock(table, "EXCLUSIVE", "ExclusiveLock")
    }

    /// Locks a table. All reads and changes of the table's rows wait until the lock is released.
    pub(crate) fn lock_reads(&self, table: &str) -> TableLock {
        self.lock(table, "ACCESS EXCLUSIVE", "AccessExclusiveLock")
    }

    fn lock(&self, table: &str, mode: &str, lock_name: &str) -> TableLock {
        let database = self.database.clone();
        let lock = format!("BEGIN; LOCK TABLE {table} IN {mode} MODE; SELECT pg_sleep(60)");
        let locking = std::thread::spawn(move || postgres::shared().psql(&database, &lock));
        let held = format!(
            "SELECT pid FROM pg_locks WHERE relation = '{table}'::regclass AND mode = \
             '{lock_name}' AND granted"
        );
        let mut backend_pid = String::new();
        let began = Stopwatch::start();
        while backend_pid.is_empty() {
            assert!(began.elapsed() < TIMEOUT, "timed out; expected: {table} is locked");
            backend_pid = self.sql(&held).trim().to_owned();
        }
        TableLock { backend_pid, locking }
    }

    pub(crate) async fn node(&self, roles: Roles) -> TestNode {
        let store = postgres::shared().url(&self.database).into();
        let slots: Vec<_> = self.redis.iter().map(|redis| redis.url().into()).collect();
        let location = match slots.is_empty() {
            true => StockLocation::Postgres(store),
            false => StockLocation::Cluster { store, slots, wait_replicas: 0 },
        };
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let options = EngineOptions {
            pass_key: None,
            location,
            roles,
            id_key: IdKey::new([3; 32]),
            clock: Clock::default(),
            node: NodeId(rand::random_range(1..1 << 31)),
            bounds: self.bounds,
            always_leads: self.all_lead,
            allow_fsync_off: true,
            database: DatabaseOptions::default(),
            on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
        };
        let engine = runtime
            .spawn(start::start(options))
            .await
            .expect("the task did not panic")
            .expect("the servers are available");
        TestNode { engine: Arc::new(engine), runtime: OnceLock::from(runtime) }
    }
}

pub(crate) struct TableLock {
    backend_pid: String,
    locking: std::thread::JoinHandle<Result<String, String>>,
}

impl TableLock {
    pub(crate) fn release(self) {
        let end = format!("SELECT pg_terminate_backend({})", self.backend_pid);
        postgres::shared().psql("postgres", &end).expect("the database answers");
        self.locking
            .join()
            .expect("the task did not panic")
            .expect_err("the connection that locks the table was ended");
    }
}

pub(crate) struct TestNode {
    pub(crate) engine: Arc<EngineParts>,
    runtime: OnceLock<Runtime>,
}

pub(crate) fn phone(stock: u64, limit: u32) -> NewItem {
    NewItem {
        price_minor: 10,
        currency: "CNY".into(),
        list_price_minor: None,
        hold_ms: 900_000,
        ..new_item("phone", Stock::Counted(stock), limit)
    }
}

/// A buyer at a node. Calls the parts of the node directly, without HTTP.
#[derive(Clone)]
pub(crate) struct BuyerClient {
    engine: Arc<EngineParts>,
    handle: tokio::runtime::Handle,
}

impl BuyerClient {
    pub(crate) async fn buy(&self, buyer: &str, key: &str, units: u32) -> PurchaseOutcome {
        let (engine, buyer, key) = (self.engine.clone(), buyer.to_owned(), key.to_owned());
        let buying = self.handle.spawn(async move {
            let sale = engine.node.catalogue().sale(SALE).cloned().expect("created");
            let item = sale.items[0].clone();
            let units = Units::new(units).expect("the number is in range");
            let request = engine.node.id_key().request_hash(&buyer, &key);
            if let Some(refusal) =
                refuse_from_memory(&engine.node, request, &sale, &item, units, |_| DoorAnswer::Open)
            {
                return PurchaseOutcome::Refused(refusal);
            }
            let (buyer, key) =
                (BuyerId::new(&buyer).expect("a buyer"), RequestKey::new(&key).expect("a key"));
            let wait = WAIT;
            engine
                .purchases
                .buy(&Purchase { buyer, key, request, sale, item, units, wait, door: None })
                .await
        });
        buying.await.expect("the task did not panic")
    }
}

impl TestNode {
    pub(crate) fn buyer_client(&self) -> BuyerClient {
        let handle = self.runtime.get().expect("the node is running").handle().clone();
        BuyerClient { engine: self.engine.clone(), handle }
    }

    pub(crate) async fn buy(&self, buyer: &str, key: &str, units: u32) -> PurchaseOutcome {
        self.buyer_client().buy(buyer, key, units).await
    }

    pub(crate) fn item(&self) -> Arc<ItemState> {
        self.engine.node.catalogue().sale(SALE).expect("created").items[0].clone()
    }

    pub(crate) fn gauge(&self) -> Arc<ItemGauge> {
        self.item().gauge.clone()
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let handle = self.runtime.get().expect("the node is running").handle().clone();
        handle.spawn(work).await.expect("the task did not panic")
    }

    /// Blocks all jobs of this node for this time, as if its process were paused.
    pub(crate) fn block_runtime(&self, so_long: Duration) -> tokio::task::JoinHandle<()> {
        let handle = self.runtime.get().expect("the node is running").handle().clone();
        handle.spawn(async move { std::thread::sleep(so_long) })
    }

    /// Blocks all jobs of this node until the channel gets a message or is closed.
    pub(crate) fn block_until_released(
        &self,
    ) -> (std::sync::mpsc::SyncSender<()>, tokio::task::JoinHandle<()>) {
        let (go_on, release) = std::sync::mpsc::sync_channel(1);
        let handle = self.runtime.get().expect("the node is running").handle().clone();
        let stands = handle.spawn(async move {
            let _ = release.recv();
        });
        (go_on, stands)
    }

    pub(crate) fn refuse_from_memory(&self, buyer: &str, key: &str, units: u32) -> Option<Refusal> {
        let sale = self.engine.node.catalogue().sale(SALE).cloned().expect("created");
        refuse_from_memory(
            &self.engine.node,
            self.engine.node.id_key().request_hash(buyer, key),
            &sale,
            &sale.items[0],
            Units::new(units).expect("the number is in range"),
            |_| DoorAnswer::Open,
        )
    }

    /// Returns the number of unsettled tickets in the slots that this node reaches.
    pub(crate) async fn queued(&self) -> u64 {
        self.engine.stock.queued(&self.item()).await
    }

    pub(crate) fn parked(&self) -> usize {
        self.engine.purchases.parked()
    }

    pub(crate) async fn counts(&self) -> ItemCounts {
        self.engine.node.store().counts(None).await.expect("the store is available")[0]
    }

    pub(crate) async fn audit(&self) -> AuditView {
        audit(&self.engine.node).await.expect("the store is available")
    }

    pub(crate) async fn open_sale(&self, stock: u64, limit: u32, spread: Spread) {
        self.make_sale(stock, limit, spread).await;
        self.step(PhaseStep::Open).await;
    }

    pub(crate) async fn make_sale(&self, stock: u64, limit: u32, spread: Spread) {
        let sale = NewSale { front_door: "{}".into(), ..new_sale(SALE, vec![phone(stock, limit)]) };
        self.engine
            .sales
            .create_sale(sale)
            .await
            .expect("the store is available")
            .expect("the sale's id is free");
        let set = self
            .engine
            .sales
            .set_spread(&self.item(), spread, None)
            .await
            .expect("the store is available");
        assert!(matches!(set, SpreadOutcome::Done(_)), "{set:?}");
    }

    pub(crate) async fn step(&self, step: PhaseStep) {
        let outcome =
            self.engine.sales.step_sale(SALE, step).await.expect("the store is available");
        assert!(matches!(outcome, StepOutcome::Done { changed: true, .. }), "{outcome:?}");
    }

    pub(crate) async fn wait_for_phase(&self, phase: Phase) {
        let shows = async || {
            self.engine.node.catalogue().sale(SALE).is_some_and(|sale| sale.row.phase == phase)
        };
        until("the node shows the other node's change", shows).await;
    }

    pub(crate) async fn stop(mut self) {
        let (runtime, engine) =
            (self.runtime.take().expect("the node is running"), self.engine.clone());
        runtime
            .spawn(async move { engine.stock.stop_node().await })
            .await
            .expect("the task did not panic");
        runtime.shutdown_background();
    }

    /// Stops abruptly, as if killed.
    pub(crate) fn crash(mut self) {
        self.runtime.take().expect("the node is running").shutdown_background();
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
