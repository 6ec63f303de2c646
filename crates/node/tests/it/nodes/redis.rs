//! A private Redis on a socket in its own directory. The server ends with the test program, even if
//! the program crashes.
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use doorbuster_testkit::ports::free_ports;
use doorbuster_testkit::tool;

/// A script that runs the server until the script's input ends. The input ends at the latest when
/// the test's process ends.
const KEEPER: &str = r#"dir=$1; shift; "$@" >"$dir/log" 2>&1 & server=$!; read -r word; kill -9 $server; rm -rf "$dir""#;

pub(crate) struct Redis {
    dir: PathBuf,
    keeper: Child,
    input: Option<ChildStdin>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::listening(None)
    }

    /// Starts a server that also listens on a port, for programs that read the server's address
    /// from their settings. Returns the server and the address.
    pub(crate) fn start_on_port() -> (Self, String) {
        let [port] = free_ports();
        (Self::listening(Some(port)), format!("redis://127.0.0.1:{port}"))
    }

    fn listening(port: Option<u16>) -> Self {
        let port = port.unwrap_or(0).to_string();
        let dir =
            std::env::temp_dir().join(format!("doorbuster-redis-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
        let (here, socket) = (dir.display().to_string(), dir.join("socket").display().to_string());
        let program = tool::program("redis-server").display().to_string();
        let server = [
            &program,
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--unixsocket",
            &socket,
            "--dir",
            &here,
            "--save",
            "",
        ];
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", &here])
            .args(server)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let input = keeper.stdin.take();
        let redis = Self { dir, keeper, input };
        let since = Instant::now();
        while redis.cli(&["PING"]).trim() != "PONG" {
            assert!(since.elapsed() < Duration::from_secs(20), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.join("socket").display())
    }

    /// Deletes all data. The server process stays the same.
    pub(crate) fn flush(&self) {
        assert_eq!(self.cli(&["FLUSHALL"]).trim(), "OK");
    }

    /// Makes the server refuse or accept writes from now on. A server without its replicas refuses
    /// writes in the same way.
    pub(crate) fn refuse_writes(&self, refuse: bool) {
        let replicas = if refuse { "1" } else { "0" };
        assert_eq!(self.cli(&["CONFIG", "SET", "min-replicas-to-write", replicas]).trim(), "OK");
    }

    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.cli(words)
    }

    /// Returns the first command that contains these texts. Redis reports a command with each word
    /// in double quotes. Returns an empty text if no such command arrives in this time.
    pub(crate) fn next_command(&self, texts: &[&str], within: Duration) -> String {
        let mut monitor = Command::new("timeout");
        monitor.arg(within.as_secs().to_string()).arg(tool::program("redis-cli"));
        monitor.arg("-s").arg(self.dir.join("socket")).arg("MONITOR");
        let mut monitor = monitor.stdout(Stdio::piped()).spawn().expect("redis-cli starts");
        let lines = BufReader::new(monitor.stdout.take().expect("a pipe")).lines();
        let has_all = |line: &String| texts.iter().all(|text| line.contains(text));
        let found = lines.map_while(Result::ok).find(has_all);
        let _ = monitor.kill();
        let _ = monitor.wait();
        found.unwrap_or_default()
    }

    pub(crate) fn script_calls(&self) -> u64 {
        let said = self.cli(&["INFO", "commandstats"]);
        let calls = said.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn keys(&self, word: &str) -> usize {
        self.cli(&["KEYS", &format!("*{word}")]).lines().filter(|line| !line.is_empty()).count()
    }

    /// Stops the server permanently.
    pub(crate) fn end(&self) {
        self.cli(&["SHUTDOWN", "NOSAVE", "NOW"]);
    }

    fn cli(&self, words: &[&str]) -> String {
        let mut cli = Command::new(tool::program("redis-cli"));
        let said = cli.arg("-s").arg(self.dir.join("socket")).args(words).output();
        String::from_utf8_lossy(&said.expect("redis-cli starts").stdout).into_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.input.take());
        // The script removes the directory before it ends.
        let _ = self.keeper.wait();
    }
}
