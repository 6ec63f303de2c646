//! Runs private servers for tests. Each server runs in its own directory on free ports, and always
//! ends with the test program.
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a broker may take to start. While many other programs use the processor, `RabbitMQ` may
/// take minutes.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// A script that starts the broker and the helper. When the script reads a line or the end of its
/// input, the script ends both programs. The input ends at the latest when the test process ends.
/// - After the line `stop`, the broker ends cleanly. In all other cases, the script kills the
///   broker.
/// - At the end of the input, the script also removes the directory.
const KEEPER: &str = r#"dir=$1; helper=; [ -z "$2" ] || { $2 >>"$dir/helper" 2>&1 </dev/null & helper=$!; }
$3 >>"$dir/out" 2>&1 </dev/null & broker=$!
read -r word
if [ "$word" = stop ]; then kill -TERM $broker; else kill -9 $broker; fi
wait $broker 2>/dev/null
[ -z "$helper" ] || kill -9 $helper
[ -n "$word" ] || rm -rf "$dir""#;

/// A broker that a test can start, stop and kill.
pub struct TestBroker {
    dir: PathBuf,
    helper: String,
    broker: String,
    environment: Vec<(String, String)>,
    running: Option<(Child, ChildStdin)>,
}

impl TestBroker {
    /// Creates a broker in an existing directory, without starting it. The shell splits the
    /// commands `helper` and `broker` at blanks, and does not interpret quotes in these commands.
    /// If `helper` is empty, no helper is started.
    pub fn new(
        dir: PathBuf,
        helper: String,
        broker: String,
        environment: Vec<(String, String)>,
    ) -> Self {
        Self { dir, helper, broker, environment, running: None }
    }

    /// Starts the broker and waits until it is ready.
    pub fn start(&mut self, is_ready: impl Fn() -> bool) {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&self.dir).args([&self.helper, &self.broker]);
        // Packages install servers in `/usr/sbin`, which may be missing from the user's `PATH`.
        keeper.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let mut keeper = keeper.envs(environment).stdin(Stdio::piped()).spawn().expect("a shell");
        let input = keeper.stdin.take().expect("piped");
        self.running = Some((keeper, input));
        let since = Instant::now();
        while !is_ready() {
            assert!(
                since.elapsed() < READY_WITHIN && !self.log().contains("not found"),
                "{} does not start: {}",
                self.broker,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the broker cleanly.
    pub fn stop(&mut self) {
        self.end("stop\n");
    }

    /// Kills the broker, as a power failure would.
    pub fn kill(&mut self) {
        self.end("kill\n");
    }

    fn end(&mut self, word: &str) {
        use std::io::Write;
        let Some((mut keeper, mut input)) = self.running.take() else { return };
        input.write_all(word.as_bytes()).expect("the keeper reads");
        drop(input);
        assert!(keeper.wait().is_ok(), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("out")).unwrap_or_default()
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        match self.running.take() {
            Some((mut keeper, input)) => {
                drop(input);
                // The script cleans up before it ends.
                let _ = keeper.wait();
            }
            None => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

/// Creates a directory with a new name, and returns its path.
pub fn directory(what: &str) -> PathBuf {
    let dir =
        std::env::temp_dir().join(format!("doorbuster-{what}-{:016x}", rand::random::<u64>()));
    std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
    dir
}

/// Returns a connection to a port of this machine, or `None` if no server accepts it.
pub fn dial(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(stream)
}
