//! Runs the program for the tests, as a command that ends by itself or as a server that stops when
//! the test ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The operators' key of the servers in all tests.
pub const KEY: &str = "a-key-of-thirty-two-characters-or-more";
/// The environment variable that names another program to test, such as a release build.
const PROGRAM: &str = "DOORBUSTER_PROGRAM";
const TIMEOUT: Duration = Duration::from_secs(180);

/// A directory that is removed when this value is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Creates a new, empty directory.
    pub fn new() -> Self {
        let path =
            std::env::temp_dir().join(format!("doorbuster-it-{:08x}", rand::random::<u32>()));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    /// Returns a path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the paths of the entries of the directory.
    pub fn entries(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.0)
            .expect("it exists")
            .map(|entry| entry.expect("readable").path())
            .collect()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // If the removal fails, the directory stays among the system's temporary files, which is
        // harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a command that runs the program. The command ignores the settings of the user who runs
/// the tests, and writes its temporary files to `temp_dir`.
pub fn program(temp_dir: &TempDir) -> Command {
    let built = || env!("CARGO_BIN_EXE_doorbuster").into();
    let mut command = Command::new(std::env::var_os(PROGRAM).unwrap_or_else(built));
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

/// Runs a command to its end.
pub fn run(command: &mut Command) -> CommandRun {
    CommandRun(command.output().expect("the program starts"))
}

/// A run that has ended.
pub struct CommandRun(Output);

impl CommandRun {
    /// Returns the exit code.
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// Returns standard output.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// Returns standard error.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Returns standard output. Fails the test if the exit code is not 0.
    #[track_caller]
    pub fn stdout_of_success(&self) -> String {
        assert_eq!(self.code(), Some(0), "{}{}", self.out(), self.err());
        self.out()
    }

    /// Returns standard error. Fails the test if the exit code is not `code`.
    #[track_caller]
    pub fn stderr_of_failure(&self, code: i32) -> String {
        assert_eq!(self.code(), Some(code), "{}{}", self.out(), self.err());
        self.err()
    }

    /// Returns standard output as JSON.
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
    /// Starts a server on a free port and waits until it is ready.
    pub fn open(temp_dir: &TempDir) -> Self {
        let data_dir = temp_dir.join("data");
        Self::start(serve(temp_dir, &data_dir), data_dir)
    }

    /// Starts a server that logs at its default level to this file.
    pub fn start_with_log(temp_dir: &TempDir, log: File) -> Self {
        let data_dir = temp_dir.join("data");
        let mut command = serve(temp_dir, &data_dir);
        command.env_remove("DOORBUSTER_LOG__FILTER").stderr(log);
        Self::start(command, data_dir)
    }

    /// Starts a server with this command.
    pub fn start(mut command: Command, data_dir: PathBuf) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped output");
        BufReader::new(output).read_line(&mut line).expect("readable");
        let url = line.trim().strip_prefix("doorbuster listening on ").map(str::to_owned);
        match url {
            Some(url) => Self { child, url, data_dir },
            None => {
                let mut stderr = String::new();
                let _ = child.stderr.take().map(|mut log| log.read_to_string(&mut stderr));
                panic!("the server printed {line:?} and {stderr}");
            }
        }
    }

    /// Returns the server's URL, `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the directory of the server's store.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Runs a client command against this server with the operators' key.
    pub fn ask(&self, temp_dir: &TempDir, arguments: &[&str]) -> CommandRun {
        let mut command = program(temp_dir);
        run(command
            .args(arguments)
            .env("DOORBUSTER_URL", &self.url)
            .env("DOORBUSTER_ADMIN_KEY", KEY))
    }

    /// Returns a buyer's token.
    pub fn token(&self, temp_dir: &TempDir, buyer: &str) -> String {
        let mut command = program(temp_dir);
        let made = run(command.args(["token", "buyer", buyer, "--data-dir"]).arg(&self.data_dir))
            .stdout_of_success();
        made.trim().to_owned()
    }

    /// Sends a request with this token, like the sale's page. Returns the status and the body.
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

    /// Does the same as [`Self::send`], but returns the head and the body unchanged.
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
        stream.write_all(request.as_bytes()).expect("the server reads the request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    /// Returns the number of the process's open files.
    pub fn open_files(&self) -> usize {
        let files = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(files).expect("the process runs").count()
    }

    /// Sends the server a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Sends SIGTERM, and waits for the end. Returns the exit code, the duration and standard
    /// error.
    pub fn terminate(self) -> (Option<i32>, Duration, String) {
        self.stop_with_signal("TERM")
    }

    /// Sends the signal with this name, and waits for the end. Returns the exit code, the duration
    /// and standard error.
    pub fn stop_with_signal(mut self, name: &str) -> (Option<i32>, Duration, String) {
        let started = Instant::now();
        signal(&self.child, name);
        let code = wait(&mut self.child);
        let mut stderr = String::new();
        let _ = self.child.stderr.take().map(|mut log| log.read_to_string(&mut stderr));
        (code, started.elapsed(), stderr)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts an HTTP server in place of a Doorbuster server. `answer` gets the path with the query,
/// and returns the body of the answer. Returns the URL of the server.
pub fn stand_in(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).expect("a request") > 0, "{head}");
            }
            // The server reads the whole request before it answers. If it closed a connection with
            // unread bytes, the client could lose the answer.
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let mut sent = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut sent).expect("the request's body");
            let body = answer(head.split(' ').nth(1).expect("a path"));
            let start = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
            let response = format!("{start}: {}\r\n\r\n{body}", body.len());
            // An error is ignored, because the client may stop reading a large answer.
            let _ = stream.write_all(response.as_bytes());
        }
    });
    format!("http://{address}")
}

/// Returns the command for a server on a free port.
pub fn serve(temp_dir: &TempDir, data_dir: &Path) -> Command {
    let mut command = program(temp_dir);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    // With this setting, buyers can pay with the buttons of the sandbox.
    command.env("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true");
    // No test reads the pipe of standard error while the server runs. With this log filter, the
    // server writes so few lines that the pipe never gets full.
    command
        .env("DOORBUSTER_AUTH__ADMIN_KEY", KEY)
        .env("DOORBUSTER_LOG__FILTER", "warn")
        .stderr(Stdio::piped());
    command
}

/// Sends a signal with the shell's `kill`.
pub fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(
        Command::new("sh").args(["-c", &kill]).status().expect("a shell starts").success(),
        "{kill}"
    );
}

/// Waits until the child has ended. Returns its exit code.
pub fn wait(child: &mut Child) -> Option<i32> {
    until("the program has ended", || child.try_wait().expect("a child process")).code()
}

/// Calls `ask` until it returns a value, and returns this value. Panics after [`TIMEOUT`].
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < TIMEOUT, "timed out; expected: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
