//! A private Redis on a socket in its own directory. It ends with the test program, however the
//! program ends.
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the server until its own input ends, which it does with the test's process at the latest.
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

    /// A server that also listens on a port, for programs that get its address by their settings;
    /// and that address.
    pub(crate) fn start_on_port() -> (Self, String) {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("an address");
        (Self::listening(Some(free.port())), format!("redis://{free}"))
    }

    fn listening(port: Option<u16>) -> Self {
        let port = port.unwrap_or(0).to_string();
        let dir =
            std::env::temp_dir().join(format!("doorbuster-redis-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
        let (here, socket) = (dir.display().to_string(), dir.join("socket").display().to_string());
        let server = [
            "redis-server",
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
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "redis-server is installed: run scripts/setup"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.join("socket").display())
    }

    /// Deletes everything, in the same process.
    pub(crate) fn flush(&self) {
        assert_eq!(self.cli(&["FLUSHALL"]).trim(), "OK");
    }

    /// Refuses every write from now on, as a server without its replicas does; or accepts writes
    /// again.
    pub(crate) fn refuse_writes(&self, refuse: bool) {
        let replicas = if refuse { "1" } else { "0" };
        assert_eq!(self.cli(&["CONFIG", "SET", "min-replicas-to-write", replicas]).trim(), "OK");
    }

    /// Runs one command and returns the answer.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.cli(words)
    }

    /// The number of script calls.
    pub(crate) fn script_calls(&self) -> u64 {
        let said = self.cli(&["INFO", "commandstats"]);
        let calls = said.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
    }

    /// The number of keys that end in this word.
    pub(crate) fn keys(&self, word: &str) -> usize {
        self.cli(&["KEYS", &format!("*{word}")]).lines().filter(|line| !line.is_empty()).count()
    }

    /// Stops permanently.
    pub(crate) fn end(&self) {
        self.cli(&["SHUTDOWN", "NOSAVE", "NOW"]);
    }

    fn cli(&self, words: &[&str]) -> String {
        let said =
            Command::new("redis-cli").arg("-s").arg(self.dir.join("socket")).args(words).output();
        String::from_utf8_lossy(&said.expect("redis-cli is installed").stdout).into_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has cleaned up when it ends.
        let _ = self.keeper.wait();
    }
}
