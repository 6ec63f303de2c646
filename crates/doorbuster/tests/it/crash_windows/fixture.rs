//! A server process that a test can kill, stop and restart with the same data directory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{HttpConnection, PurchaseSpec, Reply, SECRET, request};
use crate::test_server::{CommandRun, KEY, TempDir, program, run, serve, signal};
use crate::watch::Stopwatch;

/// A server process and its directory.
pub struct ServerFixture {
    /// The directory of the test.
    pub temp_dir: TempDir,
    /// The server's address; the port changes with each start.
    pub address: SocketAddr,
    settings: Vec<(String, String)>,
    data_dir: PathBuf,
    child: Child,
}

/// The number of an item's units in each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// All units.
    pub total: u64,
    /// Units that are in no slot, no ticket and no active order.
    pub pool: u64,
    /// Units in slots and in tickets.
    pub in_slots: u64,
    /// Units in unpaid orders.
    pub held: u64,
    /// Units in paid orders.
    pub paid: u64,
}

impl Stock {
    /// Returns the number of units that can be sold.
    pub fn free(&self) -> u64 {
        self.pool + self.in_slots
    }

    /// Reads a row of the stock endpoint, and checks that the parts add up to the total.
    #[track_caller]
    pub fn read(row: &Value) -> Self {
        // `as_u64` also fails for a negative number.
        let part = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name} of {row}"));
        let stock = Self {
            total: part("total"),
            pool: part("pool"),
            in_slots: part("in_slots"),
            held: part("held"),
            paid: part("paid"),
        };
        assert_eq!(stock.total, stock.pool + stock.in_slots + stock.held + stock.paid, "{row}");
        stock
    }
}

impl ServerFixture {
    /// Starts a server in a new directory.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with these settings.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let temp_dir = TempDir::new();
        let data_dir = temp_dir.join("data");
        let settings =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self::launch(temp_dir, data_dir, settings, None)
    }

    /// Runs a line of shell code that starts a server in `temp_dir`. In the line, `"$@"` stands for
    /// the server's command.
    pub fn with_launcher(temp_dir: TempDir, settings: &[(&str, &str)], line: &str) -> Self {
        let data_dir = temp_dir.join("data");
        let settings =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self::launch(temp_dir, data_dir, settings, Some(line))
    }

    fn launch(
        temp_dir: TempDir,
        data_dir: PathBuf,
        settings: Vec<(String, String)>,
        line: Option<&str>,
    ) -> Self {
        let mut child =
            command(&temp_dir, &data_dir, &settings, line).spawn().expect("the program starts");
        let address = ready(&mut child)
            .unwrap_or_else(|| panic!("the server does not start: {}", stderr_text(&temp_dir)));
        Self { temp_dir, address, settings, data_dir, child }
    }

    /// Starts the server again with the same directory. The server must have ended.
    pub fn restart(&mut self) {
        assert!(self.child.try_wait().expect("a child process").is_some(), "the server still runs");
        self.child = command(&self.temp_dir, &self.data_dir, &self.settings, None)
            .spawn()
            .expect("it starts");
        self.address = ready(&mut self.child)
            .unwrap_or_else(|| panic!("the server does not start: {}", self.stderr_text()));
    }

    /// Starts the server, and kills it after `delay`, even if the server does not listen yet.
    pub fn restart_and_kill_after(&mut self, delay: Duration) {
        self.restart_and_kill_when(delay, || false);
    }

    /// Starts the server. Kills the server when `holds` returns true, at the latest after `most`.
    /// Returns whether `holds` returned true.
    pub fn restart_and_kill_when(&mut self, most: Duration, holds: impl Fn() -> bool) -> bool {
        self.child = command(&self.temp_dir, &self.data_dir, &self.settings, None)
            .spawn()
            .expect("it starts");
        let timer = Stopwatch::start();
        while timer.elapsed() < most && !holds() {
            std::thread::sleep(Duration::from_micros(500));
        }
        let held = holds();
        self.kill();
        held
    }

    /// Uses a new data directory from the next start on. The server must have ended.
    pub fn move_to(&mut self, name: &str) {
        self.data_dir = self.temp_dir.join(name);
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child process");
        self.child.wait().expect("a child process");
    }

    /// Returns the exit status, if the server has ended.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child process")
    }

    /// Removes this setting. The change takes effect at the server's next start.
    pub fn unset_setting(&mut self, name: &str) {
        self.settings.retain(|(known, _)| known != name);
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the stop signal.
    pub fn ask_to_stop(&self) {
        signal(&self.child, "TERM");
    }

    /// Waits until the server ends, at most for `most`. Returns the exit code.
    #[track_caller]
    pub fn wait_for_end(&mut self, most: Duration) -> Option<i32> {
        let timer = Stopwatch::start();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child process") {
                return status.code();
            }
            assert!(
                timer.elapsed() < most,
                "the server did not end within {most:?}: {}",
                self.stderr_text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns what the server has written to standard error since its first start.
    pub fn stderr_text(&self) -> String {
        stderr_text(&self.temp_dir)
    }

    /// Returns the directory of the server's store.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Returns the resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the VmRSS line");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }

    /// Returns the processor time that the process has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        // In `/proc/<pid>/stat`, the second field is the name, in brackets. Fields 14 and 15 are
        // the times in user mode and in the kernel.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Opens a connection.
    pub async fn connect(&self) -> HttpConnection {
        HttpConnection::connect(self.address).await.expect("the server listens")
    }

    /// Sends one request over a new connection.
    pub async fn ask(&self, request: &[u8]) -> Reply {
        self.connect().await.ask(request).await.expect("an answer")
    }

    /// Sends a purchase.
    pub async fn buy(&self, spec: &PurchaseSpec) -> Reply {
        self.ask(&spec.bytes()).await
    }

    /// Sends one request of the operator.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.ask(&operator(method, path, "", body)).await
    }

    /// Sends a GET request of the operator. The answer must be `200`. Returns its JSON.
    pub async fn get_ok(&self, path: &str) -> Value {
        let reply = self.admin("GET", path, None).await;
        assert_eq!(reply.status, 200, "{path}: {reply}");
        reply.json()
    }

    /// Creates a sale of these items (`name`, `stock`, `limit`, `hold_secs`) and opens it.
    pub async fn open_sale(&self, sale: &str, items: &[(&str, u64, u32, u32)]) {
        let item = |&(name, stock, limit, hold): &(&str, u64, u32, u32)| {
            json!({"id": name, "title": name, "price": {"amount_minor": 10, "currency": "CNY"}, "stock": stock,
                   "limit_per_buyer": limit, "hold_secs": hold})
        };
        let items: Vec<Value> = items.iter().map(item).collect();
        // The few buyers of these tests send many requests, so the sale has no rate limits.
        let door = json!({"limits": {"buyer": null, "ip": null, "interface": null}});
        let body = json!({"id": sale, "title": "Spring drop", "items": items, "front_door": door});
        let made = self.admin("POST", "/v1/admin/sales", Some(&body)).await;
        assert_eq!(made.status, 201, "{made}");
        self.step(sale, "open").await;
    }

    /// Moves a sale to another phase.
    pub async fn step(&self, sale: &str, step: &str) {
        let stepped = self.admin("POST", &format!("/v1/admin/sales/{sale}/{step}"), None).await;
        assert_eq!(stepped.status, 200, "{stepped}");
    }

    /// Returns the stock of the sale's first item. Checks for every item that the units in all
    /// places add up to the item's total.
    pub async fn stock(&self, sale: &str) -> Stock {
        let rows = self.get_ok(&format!("/v1/admin/sales/{sale}/stock")).await;
        let rows: Vec<Stock> =
            rows["items"].as_array().expect("items").iter().map(Stock::read).collect();
        rows[0]
    }

    /// Changes the total of the sale's `phone`.
    pub async fn adjust(&self, sale: &str, key: &str, units: i64) -> Reply {
        self.ask(&adjustment(sale, key, units)).await
    }

    /// Returns all orders of a sale, with the oldest order last.
    pub async fn orders(&self, sale: &str) -> Vec<Value> {
        self.list("orders", &format!("sale={sale}&")).await
    }

    /// Returns all rows of an operator's list, with the oldest row last. `filter` has query
    /// parameters, each followed by `&`.
    pub async fn list(&self, of: &str, filter: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get_ok(&format!("/v1/admin/{of}?{filter}limit=200{cursor}")).await;
            rows.extend(
                page[of].as_array().unwrap_or_else(|| panic!("no {of} in {page}")).iter().cloned(),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// Calls `ask` until `ask` returns a result. Fails if there is no result after `most`.
    pub async fn until<T>(
        &self,
        what: &str,
        most: Duration,
        mut ask: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        let timer = Stopwatch::start();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(timer.elapsed() < most, "timed out after {most:?}; expected: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns the value of a metric that has no labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = self.ask(&request("GET", "/metrics", "", None)).await;
        let text = String::from_utf8(page.body).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }

    /// Runs the server's audit and the `audit` command. Both must find no fault and repair nothing.
    pub async fn audit(&self, answers: Option<&Path>) {
        let own = self.get_ok("/v1/admin/audit").await;
        assert_eq!(
            (&own["ok"], &own["repairs"], &own["findings"]),
            (&json!(true), &json!(0), &json!([])),
            "{own}"
        );
        self.audit_from_cli(answers);
    }

    /// Runs the `audit` command, which works with and without a running server.
    pub fn audit_from_cli(&self, answers: Option<&Path>) {
        let mut command = program(&self.temp_dir);
        command.args(["audit", "--json", "--store"]).arg(&self.data_dir);
        if let Some(answers) = answers {
            command.arg("--answers").arg(answers);
        }
        let audited: CommandRun = run(&mut command);
        audited.stdout_of_success();
        assert_eq!(audited.json()["repairs"], json!(0), "{}", audited.out());
    }
}

impl Drop for ServerFixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the bytes of an operator's request.
pub fn operator(method: &str, path: &str, lines: &str, body: Option<&Value>) -> Vec<u8> {
    request(method, path, &format!("Authorization: Bearer {KEY}\r\n{lines}"), body)
}

/// Returns the bytes of a request that changes the total of a sale's `phone`.
pub fn adjustment(sale: &str, key: &str, units: i64) -> Vec<u8> {
    let path = format!("/v1/admin/sales/{sale}/items/phone/adjustments");
    let body = json!({"units": units, "reason": "recount"});
    operator("POST", &path, &format!("Idempotency-Key: {key}\r\n"), Some(&body))
}

/// Standard error goes to a file. With a pipe, the server would block when the pipe is full.
fn command(
    temp_dir: &TempDir,
    data_dir: &Path,
    settings: &[(String, String)],
    line: Option<&str>,
) -> Command {
    let plain = serve(temp_dir, data_dir);
    let mut command = match line {
        None => plain,
        Some(line) => {
            let mut shell = Command::new("bash");
            shell.args(["-c", line, "bash"]).arg(plain.get_program()).args(plain.get_args());
            for (name, value) in plain.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            shell
        }
    };
    let stderr =
        File::options().create(true).append(true).open(temp_dir.join("stderr")).expect("a file");
    command.env("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true");
    command
        .env("DOORBUSTER_AUTH__BUYER_SECRET", SECRET)
        .envs(settings.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    command
}

/// Waits until the server listens. Returns its address, or `None` if the server ended first.
fn ready(child: &mut Child) -> Option<SocketAddr> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped output"))
        .read_line(&mut line)
        .expect("readable");
    let address = line.trim().strip_prefix("doorbuster listening on http://")?;
    Some(address.parse().expect("an address"))
}

fn stderr_text(temp_dir: &TempDir) -> String {
    std::fs::read_to_string(temp_dir.join("stderr")).unwrap_or_default()
}
