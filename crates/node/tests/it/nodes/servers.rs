//! A fixture for whole servers of shape `cluster`. A test can stop one server abruptly.

use tokio::runtime::{Builder, Runtime};

use super::redis::Redis;
use crate::app::TestApp;
use crate::postgres::Cluster;
use crate::several_servers::address;

pub(crate) struct ServerCluster {
    home: Cluster,
    database: String,
    pub(crate) redis: Redis,
    pub(crate) slots: String,
}

impl ServerCluster {
    pub(crate) fn start() -> Self {
        let (home, (redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
        let database = home.database();
        Self { home, database, redis, slots }
    }

    pub(crate) fn settings(&self, roles: &'static str) -> Vec<(&'static str, String)> {
        vec![
            ("DOORBUSTER_SHAPE", "cluster".to_owned()),
            ("DOORBUSTER_STORE__URL", address(&self.home, &self.database)),
            ("DOORBUSTER_SLOTS__URLS", self.slots.clone()),
            ("DOORBUSTER_ROLES", roles.to_owned()),
        ]
    }

    pub(crate) async fn node(&self, roles: &'static str) -> TestApp {
        start(self.settings(roles)).await
    }

    /// Starts a node in its own runtime. If the runtime ends, the node stops as if its process were
    /// killed.
    pub(crate) async fn node_in_runtime(&self, roles: &'static str) -> (TestApp, Runtime) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads");
        let starting = runtime.spawn(start(self.settings(roles)));
        (starting.await.expect("the node starts"), runtime)
    }
}

pub(crate) async fn start(settings: Vec<(&'static str, String)>) -> TestApp {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestApp::with(&settings).await
}
