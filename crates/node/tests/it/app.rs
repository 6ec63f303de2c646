//! The fixture that gives each test its own server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_auth::{NewToken, token};
use doorbuster_config::{Flags, load};
use doorbuster_node::boot::{ServeError, serve};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::{Connection, Reply, request};
use crate::watch::Stopwatch;

pub(crate) const SECRET: &str = "a secret of the shop, long enough for anyone";
pub(crate) const ADMIN_KEY: &str = "an-operators-key-that-is-long-enough";
/// The header with which a purchase waits up to five seconds for its verdict. The test machine
/// never stalls for so long.
pub(crate) const WAIT_FOR_ORDER: (&str, &str) = ("Prefer", "wait=5");
/// The longest time that a test waits for an event. It is long, because the machine may be slow.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// A time later than the end of every test, in seconds since 1970.
pub(crate) const FAR_FUTURE: i64 = 4_000_000_000;

pub(crate) struct TestApp {
    pub address: SocketAddr,
    dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<(), ServeError>>>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a server with these settings in the environment.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
        Self::try_start(dir, settings, false).await.expect("the server starts")
    }

    pub(crate) async fn demo() -> Self {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
        Self::try_start(dir, &[], true).await.expect("the server starts")
    }

    pub(crate) async fn try_start(
        dir: PathBuf,
        settings: &[(&str, &str)],
        demo: bool,
    ) -> Result<Self, ServeError> {
        let flags = Flags {
            listen: Some("127.0.0.1:0".into()),
            data_dir: Some(dir.clone()),
            demo,
            ..Flags::default()
        };
        let mut env = vec![("DOORBUSTER_AUTH__ADMIN_KEY", ADMIN_KEY), ("DOORBUSTER_WORKERS", "2")];
        if !settings.iter().any(|(name, _)| *name == "DOORBUSTER_AUTH__BUYER_JWKS") {
            env.push(("DOORBUSTER_AUTH__BUYER_SECRET", SECRET));
        }
        env.extend_from_slice(settings);
        let settings =
            load(&flags, env.into_iter().map(|(name, value)| (name.into(), value.into())));
        let (ready, address) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let serving = serve(
            settings.expect("valid settings"),
            None,
            move |address| ready.send(address).expect("the test waits"),
            async move {
                // A dropped sender counts as a stop too.
                let _ = stopped.await;
            },
        );
        let task = tokio::spawn(serving);
        match address.await {
            Ok(address) => Ok(Self { address, dir, stop: Some(stop), task: Some(task) }),
            Err(_) => Err(task
                .await
                .expect("the server did not panic")
                .expect_err("the server never became ready")),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Asks the server to stop. The returned task ends with the server's result.
    pub(crate) fn ask_to_stop(&mut self) -> JoinHandle<Result<(), ServeError>> {
        self.stop.take();
        self.task.take().expect("the server was not asked to stop before")
    }

    /// Stops the server. Returns its directory, so that another server can use it.
    pub(crate) async fn stop(mut self) -> PathBuf {
        self.ask_to_stop()
            .await
            .expect("the server did not panic")
            .expect("the server stops without an error");
        std::mem::take(&mut self.dir)
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::connect(self.address).await
    }

    /// Sends the request on a new connection.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut connection = self.connect().await;
        connection.send(&request(method, path, headers, body)).await;
        let reply = connection.reply(method == "HEAD").await;
        reply.unwrap_or_else(|| panic!("{method} {path}: the connection ended without an answer"))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], b"").await
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.admin_with(method, path, &[], body).await
    }

    pub(crate) async fn admin_with(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        if !bytes.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        headers.extend_from_slice(more);
        self.call(method, path, &headers, bytes.as_bytes()).await
    }

    pub(crate) async fn buyer(&self, name: &str, method: &str, path: &str) -> Reply {
        self.call(method, path, &[("Authorization", &bearer(name))], b"").await
    }

    pub(crate) async fn buy(
        &self,
        buyer: &str,
        key: &str,
        sale: &str,
        item: &str,
        units: u32,
    ) -> Reply {
        self.buy_with(
            buyer,
            key,
            &[WAIT_FOR_ORDER],
            &json!({"sale": sale, "item": item, "units": units}).to_string(),
        )
        .await
    }

    /// Buys one unit. On a busy machine, the database may be slow, so the purchase is repeated with
    /// the same key after a `503`.
    pub(crate) async fn buy_retrying(&self, buyer: &str, key: &str, sale: &str) -> Reply {
        let timer = Stopwatch::start();
        loop {
            let reply = self.buy(buyer, key, sale, "phone", 1).await;
            if reply.verdict() != "503 unavailable" || timer.elapsed() > TIMEOUT {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn buy_with(
        &self,
        buyer: &str,
        key: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let bearer = bearer(buyer);
        let mut headers = vec![
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", key),
            ("Content-Type", "application/json"),
        ];
        headers.extend_from_slice(more);
        self.call("POST", "/v1/orders", &headers, body.as_bytes()).await
    }

    pub(crate) async fn open_sale(&self, id: &str, stock: Value, limit: u32) {
        self.make_sale(id, stock, limit).await;
        self.step(id, "open").await;
    }

    pub(crate) async fn make_sale(&self, id: &str, stock: Value, limit: u32) {
        let reply = self.admin("POST", "/v1/admin/sales", Some(sale(id, stock, limit))).await;
        assert_eq!(reply.verdict(), "201", "{}", reply.text());
    }

    pub(crate) async fn step(&self, id: &str, step: &str) {
        let reply = self.admin("POST", &format!("/v1/admin/sales/{id}/{step}"), None).await;
        assert_eq!(reply.verdict(), "200", "{step}: {}", reply.text());
    }

    pub(crate) async fn count_actions(&self, action: &str) -> usize {
        let path = format!("/v1/admin/actions?limit=200&action={action}");
        let list = self.admin("GET", &path, None).await.json();
        list["actions"].as_array().expect("a list").len()
    }

    pub(crate) async fn until(
        &self,
        path: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let timer = Stopwatch::start();
        loop {
            let found = self.admin("GET", path, None).await.json();
            if holds(&found) {
                return found;
            }
            assert!(timer.elapsed() < TIMEOUT, "timed out; expected: {what}; found: {found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        if !self.dir.as_os_str().is_empty() {
            // A directory that cannot be removed stays among the system's temporary files.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub(crate) fn bearer(buyer: &str) -> String {
    format!(
        "Bearer {}",
        token(
            SECRET.as_bytes(),
            &NewToken { exp: FAR_FUTURE, ..NewToken::new(buyer, 0, Duration::ZERO) }
        )
    )
}

pub(crate) fn sale(id: &str, stock: Value, limit: u32) -> Value {
    json!({
        "id": id, "title": "Spring drop",
        "items": [{"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": stock,
                   "limit_per_buyer": limit}]
    })
}
