//! The product in its three shapes, as child processes. The lab's buyers use its HTTP API.

pub use crate::shape::Shape;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use doorbuster_harness::audit::StoreLocation;
use doorbuster_harness::cluster::{self, Cluster, ClusterPlan, NetworkCondition, free_port, http};
use rusqlite::OpenFlags;

use crate::driver::{SERIES, Target};
use crate::limits::{READY_WITHIN, SLOW_BY, WORKERS};
use crate::order::Order;
use crate::servers::{RedisReturn, WorkDir, restart_redis, wait_until};

/// The only item of every sale.
pub const ITEM: &str = "unit";

const ORDERS: &str = "SELECT o.id, o.buyer, o.units FROM orders o JOIN item i ON i.id = o.item_id
    WHERE i.sale_id = ";

/// A node opens this many connections to the database before its first connection that writes
/// orders. The earlier connections are for its lease, for notifications, and for the watch of the
/// database.
const OTHER_CONNECTIONS: usize = 3;

/// An order in the store.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// The order's id.
    pub id: String,
    /// The buyer's full name.
    pub buyer: String,
    /// The number of units.
    pub units: i64,
}

/// A running installation.
pub struct ProductInstallation {
    installation: Installation,
    dir: WorkDir,
    admin_key: String,
    secret: String,
    sales: u32,
}

enum Installation {
    Embedded(EmbeddedServer),
    Nodes(Box<Cluster>),
}

struct EmbeddedServer {
    program: PathBuf,
    data_dir: PathBuf,
    port: u16,
    admin_key: String,
    secret: String,
    child: Option<Child>,
}

impl ProductInstallation {
    /// Starts an installation, which ends when the calling thread ends. [`Self::slow_down`] has an
    /// effect only if `proxies` is true.
    pub async fn start(program: &Path, shape: Shape, proxies: bool) -> Result<Self> {
        let dir = WorkDir::create()?;
        let (installation, admin_key, secret) = match shape {
            Shape::Embedded => {
                let mut server = EmbeddedServer {
                    program: program.to_owned(),
                    data_dir: dir.path().join("data"),
                    port: free_port()?,
                    admin_key: secret(),
                    secret: secret(),
                    child: None,
                };
                server.start()?;
                let keys = (server.admin_key.clone(), server.secret.clone());
                (Installation::Embedded(server), keys.0, keys.1)
            }
            Shape::Postgres | Shape::Cluster => {
                let kind = match shape {
                    Shape::Cluster => cluster::Shape::Cluster,
                    _ => cluster::Shape::Postgres,
                };
                let mut plan = ClusterPlan::new(program, &dir.path().join("cluster"), kind);
                (plan.nodes, plan.shards, plan.replicas) = (WORKERS, 1, false);
                plan.proxies = proxies;
                let cluster = Cluster::start(&plan)?;
                let key = cluster.admin_key().to_owned();
                let secret = std::fs::read_to_string(cluster.buyer_secret())?;
                (Installation::Nodes(Box::new(cluster)), key, secret)
            }
        };
        let product = Self { installation, dir, admin_key, secret, sales: 0 };
        product.wait_until_ready().await?;
        Ok(product)
    }

    /// Makes one in ten connections from a node to the database slow. These are the connections
    /// whose number ends with the digit `slow` + [`OTHER_CONNECTIONS`]. The first connection has
    /// the number 0.
    pub fn slow_down(&self, slow: usize) {
        let Installation::Nodes(cluster) = &self.installation else { return };
        let slow = OTHER_CONNECTIONS + slow;
        let condition = NetworkCondition::SlowOneInTen { by: SLOW_BY, slow, from: slow };
        for proxy in cluster.postgres_proxies.iter().flatten() {
            proxy.set_condition(condition);
        }
    }

    async fn wait_until_ready(&self) -> Result<()> {
        for addr in self.addrs() {
            let ready = wait_until(READY_WITHIN, async || is_ready(addr)).await;
            ensure!(ready, "the server at {addr} is not ready");
        }
        Ok(())
    }

    /// Returns the addresses that buyers use.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        match &self.installation {
            Installation::Embedded(server) => vec![server.addr()],
            Installation::Nodes(cluster) => cluster.nodes.iter().map(cluster::Node::addr).collect(),
        }
    }

    /// Returns where the auditor finds the store: the data directory or the database URL.
    pub fn store(&self) -> String {
        match &self.installation {
            Installation::Embedded(server) => server.data_dir.display().to_string(),
            Installation::Nodes(cluster) => cluster.store_url(),
        }
    }

    /// Returns the secret that signs buyers' tokens.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// Returns the name of the buyer with this number.
    pub fn buyer_name(buyer: i64) -> String {
        format!("{SERIES}-{buyer:08}")
    }

    /// Returns the command `lab direct`. The command sells without HTTP, on the data directory of
    /// the stopped server.
    pub fn direct_command(&self) -> Result<Command> {
        let Installation::Embedded(server) = &self.installation else {
            bail!("only the embedded shape runs without HTTP");
        };
        let mut command = server.command();
        command.args(["lab", "direct", "--data-dir"]).arg(&server.data_dir);
        Ok(command)
    }

    /// Opens a new sale, and returns it as the target of requests. Before that, waits until all
    /// servers are ready, because an earlier run may have restarted them.
    pub async fn open_sale(&mut self, stock: i64, units: i64) -> Result<Target> {
        self.wait_until_ready().await?;
        self.sales += 1;
        let sale = format!("lab-{}", self.sales);
        let item = format!(
            r#"{{"id":"{ITEM}","title":"Unit","price":{{"amount_minor":100,"currency":"EUR"}},"stock":{stock},"limit_per_buyer":{units},"hold_secs":86400}}"#
        );
        // All buyers of the lab have the same IP address, so the sale must not have rate limits.
        let door = r#"{"limits":{"buyer":null,"ip":null,"interface":null}}"#;
        let body =
            format!(r#"{{"id":"{sale}","title":"Lab","front_door":{door},"items":[{item}]}}"#);
        self.admin("/v1/admin/sales", &body, 201)?;
        self.admin(&format!("/v1/admin/sales/{sale}/open"), "", 200)?;
        Ok(Target::Product { sale, secret: self.secret.as_bytes().to_vec() })
    }

    fn admin(&self, path: &str, body: &str, status: u16) -> Result<()> {
        let key = format!("Authorization: Bearer {}\r\n", self.admin_key);
        let addr = *self.addrs().first().context("the installation has no server")?;
        let reply = http::send_request(addr, "POST", path, &key, body)?;
        ensure!(reply.status == status, "POST {path}: {} {}", reply.status, reply.body);
        Ok(())
    }

    /// Kills one server process without a clean stop, and starts it again.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        match &mut self.installation {
            Installation::Embedded(server) => {
                server.kill();
                server.start()
            }
            Installation::Nodes(cluster) => {
                let node = cluster.nodes.get_mut(number).context("there is no such node")?;
                node.kill()?;
                Ok(node.start()?)
            }
        }
    }

    /// Writes a snapshot of each Redis server. Does nothing in a shape without Redis.
    pub fn save_redis(&self) -> Result<()> {
        if let Installation::Nodes(cluster) = &self.installation {
            for server in cluster.redis.iter().flat_map(cluster::Redis::servers) {
                server.run_command(&["SAVE"])?;
            }
        }
        Ok(())
    }

    /// Kills each Redis server and starts it again. Returns true if a process was connected to one
    /// of these servers, because only then the fault had an effect.
    pub fn restart_redis(&mut self, how: RedisReturn) -> Result<bool> {
        let Installation::Nodes(cluster) = &mut self.installation else { return Ok(false) };
        let Some(redis) = &mut cluster.redis else { return Ok(false) };
        let mut is_used = false;
        for number in 0..redis.servers().len() {
            is_used |= restart_redis(redis.server(number), how)?;
        }
        Ok(is_used)
    }

    /// Returns how many chunks of data between the nodes and the database have been delayed.
    pub fn slow_chunks(&self) -> usize {
        let Installation::Nodes(cluster) = &self.installation else { return 0 };
        cluster.postgres_proxies.iter().flatten().map(|proxy| proxy.delayed_chunks()).sum()
    }

    /// Returns every order of the sale as an order of the lab, earliest commit first.
    pub fn orders(&self, target: &Target) -> Result<Vec<Order>> {
        let rows = self.order_rows(target)?.into_iter();
        rows.map(|OrderRow { buyer, units, .. }| {
            let number = buyer.strip_prefix(SERIES).and_then(|rest| rest.strip_prefix('-'));
            let number = number.context("the order's buyer is not a buyer of the lab")?;
            Ok(Order { buyer: number.parse()?, units })
        })
        .collect()
    }

    /// Returns every order of the sale as the store has it, earliest commit first.
    pub fn order_rows(&self, target: &Target) -> Result<Vec<OrderRow>> {
        let Target::Product { sale, .. } = target else {
            bail!("the target must be a sale of Doorbuster")
        };
        match &self.installation {
            Installation::Embedded(server) => sqlite_orders(&server.data_dir, sale),
            Installation::Nodes(cluster) => {
                let text = cluster.postgres.sql(&format!("{ORDERS}'{sale}' ORDER BY o.seq"))?;
                text.lines().map(parse_row).collect()
            }
        }
    }

    /// Stops the servers cleanly. After that, the orders can still be read.
    pub fn stop_servers(&mut self) -> Result<()> {
        match &mut self.installation {
            Installation::Embedded(server) => server.stop(),
            Installation::Nodes(cluster) => Ok(cluster.stop_nodes()?),
        }
    }

    /// Stops the installation cleanly. Returns the directory with the installation's data.
    pub fn stop(mut self) -> Result<WorkDir> {
        self.stop_servers()?;
        Ok(self.dir)
    }
}

/// Parses a row: the id, the buyer and the units, separated by vertical bars.
fn parse_row(line: &str) -> Result<OrderRow> {
    let mut values = line.splitn(3, '|').map(str::to_owned);
    let mut value = || values.next().context("a row of orders has three values");
    Ok(OrderRow { id: value()?, buyer: value()?, units: value()?.parse()? })
}

fn sqlite_orders(dir: &Path, sale: &str) -> Result<Vec<OrderRow>> {
    let StoreLocation::Sqlite(file) = StoreLocation::parse(&dir.display().to_string())? else {
        bail!("{} has no store", dir.display());
    };
    let db = rusqlite::Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(READY_WITHIN)?;
    let mut query = db.prepare(&format!("{ORDERS}?1 ORDER BY o.seq"))?;
    let rows = query.query_map([sale], |row| {
        Ok(OrderRow { id: row.get(0)?, buyer: row.get(1)?, units: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn is_ready(addr: SocketAddr) -> bool {
    http::send_request(addr, "GET", "/readyz", "", "").is_ok_and(|reply| reply.status == 200)
}

/// Returns a random secret of 64 hexadecimal digits.
fn secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

impl EmbeddedServer {
    fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn start(&mut self) -> Result<()> {
        let log = self.data_dir.with_extension("log");
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut child = self
            .command()
            .args(["serve", "--until-stdin-ends", "--log-format", "text", "--listen"])
            .arg(self.addr().to_string())
            .arg("--data-dir")
            .arg(&self.data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start a server")?;
        child.stdin.as_mut().context("the server has no piped input")?.flush()?;
        self.child = Some(child);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let is_ours = |name: &str| name.starts_with("DOORBUSTER_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
            .env("DOORBUSTER_AUTH__ADMIN_KEY", &self.admin_key)
            .env("DOORBUSTER_AUTH__BUYER_SECRET", &self.secret);
        command
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process may have ended already.
            let _ = (child.kill(), child.wait());
        }
    }

    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        let status = child.wait()?;
        let log = BufReader::new(std::fs::File::open(self.data_dir.with_extension("log"))?);
        let last = log.lines().map_while(|line| line.ok()).last().unwrap_or_default();
        ensure!(status.success(), "the server ended with {status}: {last}");
        Ok(())
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        self.kill();
    }
}
