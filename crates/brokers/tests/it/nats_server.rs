//! A private NATS with `JetStream`, and what is in its streams.
use std::io::Read;

use async_nats::{Client, ConnectOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::keeper::{Keeper, dial, directory, free_ports};

/// A server with the user `shop`, password `secret`.
pub struct NatsServer {
    keeper: Keeper,
    port: u16,
}

/// A message as a stream keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub subject: String,
    /// Its headers, as they are on the wire.
    pub headers: String,
    pub body: Vec<u8>,
}

impl NatsServer {
    pub fn start() -> Self {
        let [port] = free_ports();
        let dir = directory("nats");
        let here = dir.display();
        let server = format!("nats-server -a 127.0.0.1 -p {port} -js -sd {here} --user shop --pass secret");
        let mut server = Self { keeper: Keeper::new(dir, String::new(), server, Vec::new()), port };
        server.start_again();
        server
    }

    pub fn start_again(&mut self) {
        let port = self.port;
        let greets = || {
            let mut word = [0; 4];
            dial(port)?.read_exact(&mut word).ok()?;
            (&word == b"INFO").then_some(())
        };
        self.keeper.start(|| greets().is_some());
    }

    pub fn stop(&mut self) {
        self.keeper.stop();
    }

    pub fn kill(&mut self) {
        self.keeper.kill();
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, with a prefix of subjects.
    pub fn url(&self, prefix: &str) -> String {
        format!("nats://shop:secret@127.0.0.1:{}?prefix={prefix}", self.port)
    }

    pub async fn connect(&self) -> Client {
        let options = ConnectOptions::new().user_and_password("shop".into(), "secret".into());
        options.connect(format!("nats://127.0.0.1:{}", self.port)).await.expect("it is there")
    }

    /// Asks `JetStream` for something.
    async fn ask(&self, what: &str, body: &Value) -> Value {
        let client = self.connect().await;
        // It listens before its streams are there.
        let since = std::time::Instant::now();
        loop {
            match client.request(format!("$JS.API.{what}"), body.to_string().into()).await {
                Ok(answer) => return serde_json::from_slice(&answer.payload).expect("JSON"),
                Err(error) => assert!(since.elapsed().as_secs() < 60, "{what}: {error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Makes a stream for a prefix of subjects.
    pub async fn make_stream(&self, prefix: &str) {
        let wanted = json!({"name": prefix, "subjects": [format!("{prefix}.>")], "storage": "file", "retention": "limits",
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 1, "duplicate_window": 120_000_000_000_u64});
        let made = self.ask(&format!("STREAM.CREATE.{prefix}"), &wanted).await;
        assert!(made.get("error").is_none(), "{made}");
    }

    /// What a stream keeps, oldest first.
    pub async fn kept(&self, stream: &str) -> Vec<Kept> {
        let mut all = Vec::new();
        for seq in 1_u64.. {
            let got = self.ask(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": seq})).await;
            let Some(message) = got.get("message") else { break };
            let bytes = |name: &str| STANDARD.decode(message[name].as_str().unwrap_or_default()).expect("base64");
            all.push(Kept {
                subject: message["subject"].as_str().expect("a subject").to_owned(),
                headers: String::from_utf8(bytes("hdrs")).expect("text"),
                body: bytes("data"),
            });
        }
        all
    }
}
