//! A private Redis server in its own directory. The server always ends with the test's process.
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::NodeId;
use doorbuster_core::slot::SlotBounds;
use doorbuster_slots::{RedisOptions, conformance};
use doorbuster_testkit::ports::free_pair;
use doorbuster_testkit::tool;
use redis::{Cmd, FromRedisValue};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Runs a server until a line of input arrives or the input ends, at the latest when the test's
/// process ends. Then kills the server, and removes its directory unless the line is `keep`.
const GUARD: &str = r#"dir=$1; shift; "$@" >>"$dir/log" 2>&1 & server=$!; read -r word; kill -9 $server; wait $server 2>/dev/null
[ "$word" = keep ] || rm -rf "$dir""#;

/// A running server.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    port: Option<u16>,
    arguments: Vec<String>,
    guard: Option<(Child, ChildStdin)>,
}

impl Server {
    /// Starts a server on a socket in its directory. The server makes no snapshots by itself.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_at(None, arguments)
    }

    /// Starts a server on a free port.
    pub fn start_on_port(arguments: &[&str]) -> Self {
        Self::start_at(Some(free_pair()), arguments)
    }

    /// Starts a server that also listens on a port with TLS, and returns that port.
    pub fn start_with_tls(key: &str, certificate: &str) -> (Self, u16) {
        let port = free_pair();
        let number = port.to_string();
        let arguments =
            ["--tls-port", &number, "--tls-key-file", key, "--tls-cert-file", certificate];
        let rest = ["--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"];
        (Self::start(&[&arguments[..], &rest[..]].concat()), port)
    }

    fn start_at(port: Option<u16>, arguments: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let nth = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("doorbuster-slots-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let arguments = arguments.iter().map(|&a| a.to_owned()).collect();
        let mut server = Self { dir, port, arguments, guard: None };
        server.launch();
        server
    }

    fn launch(&mut self) {
        let here = self.dir.display().to_string();
        let port = self.port.unwrap_or(0).to_string();
        let socket = self.dir.join("socket").display().to_string();
        let program = tool::program("redis-server").display().to_string();
        let mut words = vec![
            here.as_str(),
            &program,
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--unixsocket",
            &socket,
        ];
        let pid = self.dir.join("pid").display().to_string();
        words.extend(["--dir", &here, "--pidfile", &pid, "--save", "", "--appendonly", "no"]);
        words.extend(self.arguments.iter().map(String::as_str));
        let mut guard = Command::new("sh");
        let guard = guard.args(["-c", GUARD, "sh"]).args(&words).stdin(Stdio::piped());
        let mut guard = guard.spawn().expect("sh");
        let stdin = guard.stdin.take().expect("piped");
        self.guard = Some((guard, stdin));
        let until = Instant::now() + READY_WITHIN;
        while self.try_ask::<String>(&["PING"]).is_err() {
            assert!(Instant::now() < until, "redis-server does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Kills the server. Its directory stays.
    pub fn kill(&mut self) {
        if let Some((mut guard, mut stdin)) = self.guard.take() {
            stdin.write_all(b"keep\n").expect("the guard reads");
            guard.wait().expect("the guard ends");
        }
    }

    /// Pauses the server. Its connections stay open, but it does not answer.
    pub fn freeze(&mut self) {
        self.signal("-STOP");
    }

    /// Resumes the server.
    pub fn thaw(&mut self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("the server runs");
        let sent = Command::new("kill").args([signal, pid.trim()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Kills the server and starts it again with its file.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Returns the server's URL.
    pub fn url(&self) -> String {
        match self.port {
            Some(port) => format!("redis://127.0.0.1:{port}"),
            None => format!("redis+unix://{}", self.dir.join("socket").display()),
        }
    }

    pub fn port(&self) -> u16 {
        self.port.expect("started on a port")
    }

    /// Runs one command over a new connection.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    pub fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection =
            redis::Client::open(self.url())?.get_connection_with_timeout(READY_WITHIN)?;
        connection.set_read_timeout(Some(READY_WITHIN))?;
        let mut command = Cmd::new();
        words.iter().for_each(|word| drop(command.arg(word).args_iter()));
        command.query(&mut connection)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut guard, stdin)) = self.guard.take() {
            drop(stdin);
            drop(guard.wait());
        } else {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

/// Returns the options of slots on these servers, with their own prefix.
pub fn options(urls: Vec<String>, prefix: &str) -> RedisOptions {
    RedisOptions {
        urls,
        prefix: prefix.to_owned(),
        id_key: conformance::id_key(),
        node: NodeId(1),
        bounds: SlotBounds::default(),
        wait_replicas: 0,
    }
}
