//! Tests the tutorial's sample shops, in Python and in Node.js. A buyer signs in, buys and pays,
//! and the shop receives the events.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use doorbuster_base::signing::{self, SigningKey};
use doorbuster_testkit::ports::free_ports;
use doorbuster_testkit::tool;
use serde_json::{Value, json};

use crate::test_server::{TempDir, TestServer, serve, until};

const BUYER_SECRET: &str = "a-text-of-thirty-two-bytes-or-more-that-is-not-base64";

/// A webhook secret that the server does not use.
const FORGED_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A running sample shop. It is stopped when this value is dropped.
struct SampleShop(Child);

impl Drop for SampleShop {
    fn drop(&mut self) {
        // `kill` fails only if the shop ended early, and then the test has already failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a command that runs `examples/shop/{file}`, without the environment variables of a shop.
fn shop(interpreter: &str, file: &str) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop").join(file);
    let mut command = Command::new(tool::program(interpreter));
    command.arg(file).env_remove("BUYER_SECRET").env_remove("WEBHOOK_SECRET");
    command
}

fn start_shop(interpreter: &str, file: &str, port: u16, url: &str, secret: &str) -> SampleShop {
    let mut child = shop(interpreter, file)
        .env("BUYER_SECRET", BUYER_SECRET)
        .env("WEBHOOK_SECRET", secret)
        .env("DOORBUSTER_URL", url)
        .env("PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the sample shop starts");
    let mut line = String::new();
    let output = child.stdout.take().expect("piped output");
    let shop = SampleShop(child);
    BufReader::new(output).read_line(&mut line).expect("readable");
    assert_eq!(line, format!("shop listening on http://127.0.0.1:{port}\n"));
    shop
}

/// Returns the status of the answer.
async fn send_event(hook: &str, secret: &str, event: &Value) -> u16 {
    let key = SigningKey::parse(secret).expect("a secret");
    let id = event["id"].as_str().expect("an id");
    let (now, body) = (jiff::Timestamp::now().as_second(), event.to_string());
    let signature = signing::sign(id, now, body.as_bytes(), &[key]);
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build();
    let sent = client.expect("a client").post(hook);
    let sent = sent
        .header(signing::ID_HEADER, id)
        .header(signing::TIMESTAMP_HEADER, now.to_string())
        .header(signing::SIGNATURE_HEADER, signature)
        .body(body);
    sent.send().await.expect("an answer").status().as_u16()
}

fn follow_tutorial(interpreter: &str, file: &str) {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let mut command = serve(&temp_dir, &data_dir);
    command
        .env("DOORBUSTER_AUTH__BUYER_SECRET", BUYER_SECRET)
        .env("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true");
    let server = TestServer::start(command, data_dir);
    let ask = |arguments: &[&str]| server.ask(&temp_dir, arguments).stdout_of_success();
    let [port] = free_ports();
    let hook = format!("http://127.0.0.1:{port}/hooks/doorbuster");
    let added = ask(&["webhook", "endpoint", "add", &hook, "--type", "*", "--json"]);
    let added: Value = serde_json::from_str(&added).expect("JSON");
    let secret = added["secret"].as_str().expect("the secret is shown once");
    let _shop = start_shop(interpreter, file, port, server.url(), secret);
    let item = "id=mug,title=Mug,stock=10,price=10.00CNY,limit=2";
    ask(&["sale", "create", "first", "--title", "First sale", "--item", item]);
    ask(&["sale", "open", "first"]);

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let shop_url = format!("http://127.0.0.1:{port}");
    let (order, wrong) = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        let link = client.get(format!("{shop_url}/buy?buyer=ana&sale=first")).send().await;
        let link = link.expect("an answer");
        let page = link.headers()["location"].to_str().expect("text").to_owned();
        let start = format!("{}/sale/first#token=", server.url());
        let token = page.strip_prefix(&start).unwrap_or_else(|| panic!("{page}")).to_owned();
        let bought = client
            .post(format!("{}/v1/orders", server.url()))
            .bearer_auth(&token)
            .header("idempotency-key", "k1")
            .json(&json!({"sale": "first", "item": "mug", "units": 1}))
            .send()
            .await
            .expect("an answer");
        assert_eq!(bought.status(), 201);
        let order: Value = bought.json().await.expect("an order");
        let id = order["id"].as_str().expect("an id").to_owned();
        let checkout = client
            .post(format!("{}/v1/orders/{id}/checkout", server.url()))
            .bearer_auth(&token)
            .send()
            .await
            .expect("an answer");
        let checkout: Value = checkout.json().await.expect("a checkout");
        let page = checkout["checkout_url"].as_str().expect("an address");
        let paid = client.post(format!("{page}/pay")).send().await.expect("an answer");
        assert_eq!(paid.status(), 200);
        (id, send_event(&hook, FORGED_SECRET, &json!({"id": "evt_1"})).await)
    });
    assert_eq!(wrong, 401, "a forged message must be refused");
    let is_paid = || {
        let orders = runtime.block_on(async {
            reqwest::get(format!("{shop_url}/orders")).await.ok()?.json::<Value>().await.ok()
        });
        orders.filter(|orders| orders[&order] == "paid")
    };
    until("the shop shows the order as paid", is_paid);
    let about = json!({"order": {"id": order, "state": "reserved"}});
    let late = json!({"id": "evt_late", "type": "order.reserved", "data": about});
    assert_eq!(runtime.block_on(send_event(&hook, secret, &late)), 204);
    assert!(is_paid().is_some(), "a late event must not set the order back");
}

#[test]
fn a_sample_shop_names_a_missing_variable() {
    for (interpreter, file) in [("python3", "shop.py"), ("node", "shop.mjs")] {
        for (present, missing) in
            [("BUYER_SECRET", "WEBHOOK_SECRET"), ("WEBHOOK_SECRET", "BUYER_SECRET")]
        {
            let output = shop(interpreter, file).env(present, FORGED_SECRET).output();
            let output = output.expect("the sample shop starts");
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{file}: {text}");
            assert_eq!(text.trim(), format!("set the environment variable {missing}"), "{file}");
        }
    }
}

#[test]
fn the_tutorial_works_with_the_shop_in_python() {
    follow_tutorial("python3", "shop.py");
}

#[test]
fn the_tutorial_works_with_the_shop_in_node() {
    follow_tutorial("node", "shop.mjs");
}
