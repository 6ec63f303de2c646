//! Tests the examples of docs/webhooks.md, unchanged and with the official libraries. The tests
//! need Python and Node; see [`super::official`].

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use doorbuster_testkit::ports::free_ports;
use serde_json::json;
use tokio::sync::mpsc;

use super::official::Official;
use super::{add, buy, start};
use crate::http::{Connection, request};
use crate::money::now_secs;

/// The longest wait for one line of an example's output. The time includes the start of Python or
/// Node.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Invalid signatures. Some are empty, lack a comma, have several commas, or are not base64. The
/// last one has the right form, but does not match the message.
const FORGED: [&str; 5] =
    ["garbage", "v1,a,b", "v1,a", "v1,", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="];

/// Returns the first code block in this language in the guide.
fn example(language: &str) -> String {
    let guide =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/webhooks.md"))
            .expect("the guide");
    let (_, rest) = guide.split_once(&format!("```{language}\n")).expect("an example");
    rest.split_once("```").expect("the code block ends").0.to_owned()
}

/// A running example. Its process ends when this value is dropped.
struct Example {
    child: Child,
    _official: Official,
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts an example and lets the server send it all events of a sale. The example must print each
/// event once, even an event without an order.
async fn receives_every_event(official: Official, mut command: Command) {
    let app = start().await;
    app.make_sale("spring", 9.into(), 1).await;
    let [port] = free_ports();
    let (_, secret) = add(&app, &format!("http://127.0.0.1:{port}/"), json!(["*"])).await;
    command.env("PORT", port.to_string()).env("WEBHOOK_SECRET", &secret);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the example starts");
    let output = BufReader::new(child.stdout.take().expect("the output is piped"));
    let _example = Example { child, _official: official };
    let (line, mut lines) = mpsc::channel(64);
    // When the example ends, its output closes, and so the thread ends.
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|text| line.blocking_send(text))
    });
    let mut next_line = async || {
        let line_read =
            tokio::time::timeout(TIMEOUT, lines.recv()).await.expect("the example prints in time");
        line_read.expect("the example runs")
    };
    app.step("spring", "open").await;
    let opened = next_line().await;
    assert!(opened.starts_with("sale.opened ") && opened.contains("spring"), "{opened}");
    for n in 0..2 {
        let order = buy(&app, n).await;
        assert_eq!(next_line().await, format!("order.reserved {order}"));
        refuses_forged_messages(port).await;
    }
    app.step("spring", "close").await;
    let closed = next_line().await;
    assert!(closed.starts_with("sale.closed ") && closed.contains("spring"), "{closed}");
}

async fn refuses_forged_messages(port: u16) {
    let time = now_secs().to_string();
    for forged in FORGED {
        let headers =
            [("webhook-id", "msg_1"), ("webhook-timestamp", &time), ("webhook-signature", forged)];
        let mut connection = Connection::connect(([127, 0, 0, 1], port).into()).await;
        connection.send(&request("POST", "/", &headers, b"{}")).await;
        assert_eq!(connection.head().await.status, 401, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_python_verifies_real_messages() {
    let python = Official::of("python3");
    std::fs::write(python.path().join("receiver.py"), example("python"))
        .expect("the example can be written to a file");
    let mut command = python.command();
    command.arg("receiver.py").stderr(Stdio::null());
    receives_every_event(python, command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_javascript_verifies_real_messages() {
    let node = Official::of("node");
    std::fs::write(node.path().join("receiver.mjs"), example("js"))
        .expect("the example can be written to a file");
    let mut command = node.command();
    command.arg("receiver.mjs").stderr(Stdio::null());
    receives_every_event(node, command).await;
}
