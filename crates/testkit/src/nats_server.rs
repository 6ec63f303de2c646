//! A private NATS server with `JetStream`, and functions that create and read its streams.
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::keeper::{TestBroker, dial, directory};
use crate::ports::free_ports;
use crate::tool::program;

/// The default window of a stream. If an earlier message within this time has the same id, the
/// stream drops the new message.
const WINDOW: Duration = Duration::from_secs(120);
/// The longest wait until the streams are available after the start of a server.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A NATS server with the user `shop` and the password `secret`.
pub struct NatsServer {
    keeper: TestBroker,
    port: u16,
    /// The certificate, if the server accepts only TLS.
    certificate: Option<PathBuf>,
}

/// A stored message of a stream.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The subject of the message.
    pub subject: String,
    /// The headers in their wire format.
    pub headers: String,
    /// The bytes of the message.
    pub body: Vec<u8>,
}

impl NatsServer {
    /// Starts a server on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("", None)
    }

    /// Starts a server that accepts only TLS. The paths of both files must not contain blanks.
    pub fn start_with_tls(key: &Path, certificate: &Path) -> Self {
        let arguments =
            format!(" --tls --tlscert {} --tlskey {}", certificate.display(), key.display());
        Self::start_with(&arguments, Some(certificate.to_owned()))
    }

    fn start_with(arguments: &str, certificate: Option<PathBuf>) -> Self {
        let [port] = free_ports();
        let dir = directory("nats");
        let here = dir.display();
        let server = format!(
            "{} -a 127.0.0.1 -p {port} -js -sd {here} --user shop --pass secret{arguments}",
            program("nats-server").display()
        );
        let mut server = Self {
            keeper: TestBroker::new(dir, String::new(), server, Vec::new()),
            port,
            certificate,
        };
        server.start_again();
        server
    }

    /// Starts the stopped server again, on the same port and with its data.
    pub fn start_again(&mut self) {
        let port = self.port;
        let greets = || {
            let mut word = [0; 4];
            dial(port)?.read_exact(&mut word).ok()?;
            (&word == b"INFO").then_some(())
        };
        self.keeper.start(|| greets().is_some());
    }

    /// Stops the server cleanly.
    pub fn stop(&mut self) {
        self.keeper.stop();
    }

    /// Kills the server, as a power failure would.
    pub fn kill(&mut self) {
        self.keeper.kill();
    }

    /// Returns the server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's URL, whose query names a prefix of subjects.
    pub fn url(&self, prefix: &str) -> String {
        format!("nats://shop:secret@127.0.0.1:{}?prefix={prefix}", self.port)
    }

    /// Connects to the server.
    pub async fn connect(&self) -> Client {
        let mut options = ConnectOptions::new().user_and_password("shop".into(), "secret".into());
        if let Some(certificate) = &self.certificate {
            options = options.add_root_certificates(certificate.clone()).require_tls(true);
        }
        options
            .connect(format!("nats://127.0.0.1:{}", self.port))
            .await
            .expect("the server listens")
    }

    /// Creates a stream for the subjects with this prefix.
    pub async fn make_stream(&self, prefix: &str) {
        self.make_stream_with_window(prefix, WINDOW).await;
    }

    /// Creates a stream for the subjects with this prefix. The stream drops a message whose id is
    /// the same as the id of an earlier message within `window`, which is at least 100 ms.
    pub async fn make_stream_with_window(&self, prefix: &str, window: Duration) {
        let config = json!({"name": prefix, "subjects": [format!("{prefix}.>")], "storage": "file", "retention": "limits",
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 1,
            "duplicate_window": u64::try_from(window.as_nanos()).expect("the window fits")});
        let reply = ask(&self.connect().await, &format!("STREAM.CREATE.{prefix}"), &config).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }

    /// Returns the messages of a stream, oldest first.
    pub async fn kept(&self, stream: &str) -> Vec<Kept> {
        let client = self.connect().await;
        let mut all = Vec::new();
        for seq in 1_u64.. {
            let reply =
                ask(&client, &format!("STREAM.MSG.GET.{stream}"), &json!({"seq": seq})).await;
            let Some(message) = reply.get("message") else { break };
            let bytes = |name: &str| {
                STANDARD.decode(message[name].as_str().unwrap_or_default()).expect("base64")
            };
            all.push(Kept {
                subject: message["subject"].as_str().expect("a subject").to_owned(),
                headers: String::from_utf8(bytes("hdrs")).expect("text"),
                body: bytes("data"),
            });
        }
        all
    }
}

async fn ask(client: &Client, what: &str, body: &Value) -> Value {
    // The server listens before its streams are available, so the request is repeated.
    let since = Instant::now();
    loop {
        match client.request(format!("$JS.API.{what}"), body.to_string().into()).await {
            Ok(answer) => return serde_json::from_slice(&answer.payload).expect("JSON"),
            Err(error) => assert!(since.elapsed() < ANSWERS_WITHIN, "{what}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
