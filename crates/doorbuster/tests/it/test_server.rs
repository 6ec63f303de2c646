//! Runs the program: once to its end, or as a server that stops when the test ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The operators' key of every test's server.
pub const KEY: &str = "a-key-of-thirty-two-characters-or-more";
/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(180);

/// A directory that is removed when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one.
    pub fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).expect("a random name is free");
        Self(path)
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in it.
    pub fn entries(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.0)
            .expect("it exists")
            .map(|entry| entry.expect("it can be read").path())
            .collect()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed stays among the temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, without the settings of the user who runs the tests, and with its temporary files
/// in `temp_dir`.
pub fn program(temp_dir: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorbuster"));
    let ours = |name: &str| ["DOORBUSTER_", "OTEL_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
        .env("TMPDIR", &temp_dir.0)
        .env("HOME", &temp_dir.0)
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> CommandRun {
    CommandRun(command.output().expect("the program starts"))
}

/// A run that has ended.
pub struct CommandRun(Output);

impl CommandRun {
    /// The exit code.
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// Standard output.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// Standard error.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Standard output, of a run that must have gone well.
    #[track_caller]
    pub fn stdout_of_success(&self) -> String {
        assert_eq!(self.code(), Some(0), "{}{}", self.out(), self.err());
        self.out()
    }

    /// Standard error, of a run that must have ended with this code.
    #[track_caller]
    pub fn stderr_of_failure(&self, code: i32) -> String {
        assert_eq!(self.code(), Some(code), "{}{}", self.out(), self.err());
        self.err()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out())
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out(), self.err()))
    }
}

/// A running server.
pub struct TestServer {
    child: Child,
    url: String,
    data_dir: PathBuf,
}

impl TestServer {
    /// Starts one on a free port and waits until it is ready.
    pub fn open(temp_dir: &TempDir) -> Self {
        let data_dir = temp_dir.join("data");
        Self::start(serve(temp_dir, &data_dir), data_dir)
    }

    /// One that writes what it logs at its usual level into this file.
    pub fn start_with_log(temp_dir: &TempDir, log: File) -> Self {
        let data_dir = temp_dir.join("data");
        let mut command = serve(temp_dir, &data_dir);
        command.env_remove("DOORBUSTER_LOG__FILTER").stderr(log);
        Self::start(command, data_dir)
    }

    /// One that is started in some other way.
    pub fn start(mut command: Command, data_dir: PathBuf) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it can be read");
        let url = line.trim().strip_prefix("doorbuster listening on ").map(str::to_owned);
        match url {
            Some(url) => Self { child, url, data_dir },
            None => {
                let mut said = String::new();
                let _ = child.stderr.take().map(|mut log| log.read_to_string(&mut said));
                panic!("the server said {line:?} and {said}");
            }
        }
    }

    /// `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its store is.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A client command to this server, as its operator.
    pub fn ask(&self, temp_dir: &TempDir, arguments: &[&str]) -> CommandRun {
        let mut command = program(temp_dir);
        run(command
            .args(arguments)
            .env("DOORBUSTER_URL", &self.url)
            .env("DOORBUSTER_ADMIN_KEY", KEY))
    }

    /// A buyer's token.
    pub fn token(&self, temp_dir: &TempDir, buyer: &str) -> String {
        let mut command = program(temp_dir);
        let made = run(command.args(["token", "buyer", buyer, "--data-dir"]).arg(&self.data_dir))
            .stdout_of_success();
        made.trim().to_owned()
    }

    /// Sends a request with this token as the shop's page would; status and body of the answer.
    pub fn send(
        &self,
        token: &str,
        method: &str,
        path: &str,
        lines: &str,
        body: &str,
    ) -> (u16, serde_json::Value) {
        let (head, body) = self.exchange(token, method, path, lines, body);
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// The same; head and body of the answer as they came.
    pub fn exchange(
        &self,
        token: &str,
        method: &str,
        path: &str,
        lines: &str,
        body: &str,
    ) -> (String, String) {
        let address = self.url.strip_prefix("http://").expect("an address");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: \
             Bearer {token}\r\n{lines}"
        );
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("it takes it");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    /// Sends SIGTERM and waits; the exit code, how long it took, and what it said.
    pub fn terminate(self) -> (Option<i32>, Duration, String) {
        self.stop_with_signal("TERM")
    }

    /// The same with the signal of this name.
    pub fn stop_with_signal(mut self, name: &str) -> (Option<i32>, Duration, String) {
        let started = Instant::now();
        signal(&self.child, name);
        let code = wait(&mut self.child);
        let mut said = String::new();
        let _ = self.child.stderr.take().map(|mut log| log.read_to_string(&mut said));
        (code, started.elapsed(), said)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server on a free port.
pub fn serve(temp_dir: &TempDir, data_dir: &Path) -> Command {
    let mut command = program(temp_dir);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    // Buyers pay at the sandbox by its buttons.
    command.env("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true");
    // Few lines, so that nobody has to read them while it runs.
    command
        .env("DOORBUSTER_AUTH__ADMIN_KEY", KEY)
        .env("DOORBUSTER_LOG__FILTER", "warn")
        .stderr(Stdio::piped());
    command
}

/// Sends a signal, by the shell that every system has.
pub fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(
        Command::new("sh").args(["-c", &kill]).status().expect("a shell starts").success(),
        "{kill}"
    );
}

/// Waits for the end of a child; the exit code.
pub fn wait(child: &mut Child) -> Option<i32> {
    until("the program has ended", || child.try_wait().expect("it is ours")).code()
}

/// Asks again and again until there is something.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
