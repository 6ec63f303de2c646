//! The part of the W3C WebDriver protocol that these tests need. The tests control Chromium through
//! chromedriver.
//!
//! One chromedriver serves the whole run. When the test process ends for any reason, a shell stops
//! chromedriver and all its browsers.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use doorbuster_testkit::tool;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::tab::Tab;
use crate::crash_windows::client::HttpConnection;

/// The width of most phones.
const PHONE: u32 = 390;
/// The largest number of browsers that run at the same time. At times, each of them needs a whole
/// processor core.
const BROWSERS_MAX: usize = 3;
/// A shell command that runs chromedriver. The command waits for the end of its input, which ends
/// with the test process. Then the command stops chromedriver with all browsers, and removes their
/// files.
const KEEPER: &str = r#"
    TMPDIR=$(mktemp -d) && export TMPDIR
    chromedriver --port=0 &
    cat >/dev/null
    trap '' TERM
    kill -TERM 0
    wait
    rm -rf "$TMPDIR"
    kill -KILL 0
"#;
/// A host name that leads to this machine but that browsers do not treat as local. A page at this
/// host counts as a site without encryption.
pub const INSECURE: &str = "shop.test";
/// Chromium without windows and notifications. It needs a third less processor time than
/// `chromium --headless`.
const HEADLESS_SHELL: &str = "chromium-headless-shell";
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--host-resolver-rules=MAP shop.test 127.0.0.1",
];

static DRIVER: OnceLock<Driver> = OnceLock::new();
static BROWSER_PERMITS: Semaphore = Semaphore::const_new(BROWSERS_MAX);
/// The browsers of successful tests, for later tests. The browser of a failed test is not in the
/// list, and runs until the end of the test process.
static IDLE: Mutex<Vec<Session>> = Mutex::new(Vec::new());

/// A running chromedriver. The command [`KEEPER`] stops chromedriver, so the tests need not wait
/// for its end.
struct Driver {
    address: SocketAddr,
    _keeper: Mutex<Child>,
}

impl Driver {
    fn start() -> Self {
        tool::program("chromedriver");
        let mut command = Command::new("sh");
        // At its end, the command kills its own process group, so this group must not contain the
        // tests. Ctrl-C in the terminal does not reach this group.
        command.args(["-c", KEEPER]).process_group(0);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = pipes.spawn().expect("a shell starts");
        let lines = BufReader::new(keeper.stdout.take().expect("piped output")).lines();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        // Reads all output, because a full pipe would block chromedriver.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(port) = line.strip_prefix(READY) {
                    let _ = sender.try_send(port.trim_end_matches('.').parse::<u16>());
                }
            }
        });
        let port = receiver.recv_timeout(START_WITHIN).ok().and_then(Result::ok);
        let port = port.expect("chromedriver starts");
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), _keeper: Mutex::new(keeper) }
    }
}

const START_WITHIN: Duration = Duration::from_secs(120);
const READY: &str = "ChromeDriver was started successfully on port ";

struct Session {
    path: String,
    /// The browser's empty windows. A new window costs a process, so windows are reused.
    windows: Vec<String>,
}

impl Session {
    async fn start(program: &str) -> Self {
        let capabilities = json!({"alwaysMatch": {
            "goog:chromeOptions": {"args": ARGUMENTS, "binary": tool::program(program)},
            "goog:loggingPrefs": {"browser": "ALL"},
        }});
        let made = ask("POST", "/session", json!({ "capabilities": capabilities })).await;
        let made = made
            .unwrap_or_else(|error| panic!("Chromium does not start: run scripts/setup ({error})"));
        let path = format!("/session/{}", made["sessionId"].as_str().expect("a session has an id"));
        let first = ask("GET", &format!("{path}/window"), Value::Null).await.expect("a window");
        Self { windows: vec![first.as_str().expect("a handle").to_owned()], path }
    }
}

async fn ask(method: &str, path: &str, body: Value) -> Result<Value, String> {
    let address = DRIVER.get_or_init(Driver::start).address;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    );
    let request =
        format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let mut connection = HttpConnection::connect(address).await.expect("chromedriver listens");
    let reply = connection.ask(request.as_bytes()).await.expect("chromedriver answers");
    let mut answer = reply.json();
    let value = answer["value"].take();
    match reply.status {
        200 => Ok(value),
        _ => Err(format!("{}: {}", value["error"], value["message"].as_str().unwrap_or_default())),
    }
}

/// A browser, for one test.
pub struct Browser {
    path: String,
    /// The window that gets the commands.
    front: RefCell<String>,
    idle: RefCell<Vec<String>>,
    /// The windows of this test. Each has the ids of the scripts that were added to its pages.
    used: RefCell<Vec<(String, Vec<Value>)>>,
}

impl Browser {
    /// Lends a browser to a test. After the test, reads the browser's console: no script may have
    /// failed, and the pages' security policy may have blocked nothing.
    pub async fn with_browser(test: impl AsyncFnOnce(&Self)) {
        let _room = BROWSER_PERMITS.acquire().await.expect("the semaphore stays open");
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = match idle {
            Some(session) => session,
            None => Session::start(HEADLESS_SHELL).await,
        };
        let session = Self::lend(session, test).await;
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Like [`Browser::with_browser`], but with a browser that shows notifications. No later test
    /// uses this browser.
    pub async fn with_notifications(test: impl AsyncFnOnce(&Self)) {
        let _room = BROWSER_PERMITS.acquire().await.expect("the semaphore stays open");
        Self::lend(Session::start("chromium").await, test).await;
    }

    async fn lend(session: Session, test: impl AsyncFnOnce(&Self)) -> Session {
        let Session { path, windows } = session;
        let idle = RefCell::new(windows);
        let browser = Self { path, front: RefCell::default(), idle, used: RefCell::default() };
        test(&browser).await;
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "the browser's console has messages: {complaints:#?}");
        browser.clear().await
    }

    /// Opens a window for one visitor. All windows of a test share the browser's cookies and local
    /// storage.
    pub async fn tab(&self) -> Tab<'_> {
        let idle = self.idle.borrow_mut().pop();
        let window = match idle {
            Some(window) => window,
            None => {
                let made = self
                    .ask("POST", "/window/new", json!({"type": "window"}))
                    .await
                    .expect("a window");
                made["handle"].as_str().expect("a handle").to_owned()
            }
        };
        let tab = Tab::of(self, &window);
        self.used.borrow_mut().push((window, Vec::new()));
        tab.width(PHONE).await;
        tab.scheme("light").await;
        tab
    }

    /// Records a script that was added to the pages of a window, so that it can be removed after
    /// the test.
    pub fn note_script(&self, window: &str, script: Value) {
        let mut used = self.used.borrow_mut();
        let window = used.iter_mut().find(|(used, _)| used == window);
        window.expect("a window of this test").1.push(script);
    }

    /// Returns the new messages of the browser's console, without those about failed requests: the
    /// pages handle such requests.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({"type": "browser"})).await.expect("a log");
        let lines =
            log.as_array().expect("entries").iter().filter(|entry| entry["source"] != "network");
        let texts = lines.map(|entry| {
            format!("{}: {}", entry["source"], entry["message"].as_str().unwrap_or_default())
        });
        // The message about a refused event stream is about a failed request too, but its source is
        // not `network`.
        texts.filter(|text| !text.contains("WebSocket connection to")).collect()
    }

    /// Sends one command to a window.
    pub async fn command(
        &self,
        window: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<Value, String> {
        if *self.front.borrow() != window {
            self.ask("POST", "/window", json!({ "handle": window })).await?;
            *self.front.borrow_mut() = window.to_owned();
        }
        self.ask(method, path, body).await
    }

    /// The future is boxed, because a test sends so many commands that unboxed futures would
    /// overflow the stack.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        Box::pin(ask(method, &format!("{}{path}", self.path), body)).await
    }

    async fn clear(self) -> Session {
        let used = self.used.borrow().clone();
        for (window, scripts) in &used {
            let window = Tab::of(&self, window);
            for script in scripts {
                let script = json!({ "identifier": script });
                window.protocol("Page.removeScriptToEvaluateOnNewDocument", script).await;
            }
            window.protocol("Emulation.setScriptExecutionDisabled", json!({"value": false})).await;
            window.clear_storage().await;
            window.load("about:blank").await;
        }
        let used = self.used.into_inner().into_iter().map(|(window, _)| window);
        let idle = self.idle.into_inner();
        Session { windows: idle.into_iter().chain(used).collect(), path: self.path }
    }
}
