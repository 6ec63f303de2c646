//! Tests a receiver over HTTPS. A delivery succeeds only if the machine trusts the certificate.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use doorbuster_testkit::tool;
use serde_json::json;

use super::{add, buy, start};

/// The environment variable that gives the shop's URL to the inner test.
const URL: &str = "SHOP_TLS_URL";
/// A shop that accepts every POST request and prints its port.
const SHOP: &str = "
import http.server, ssl, sys
class Shop(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        self.send_response(204)
        self.end_headers()
shop = http.server.HTTPServer(('127.0.0.1', 0), Shop)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[1], sys.argv[2])
shop.socket = tls.wrap_socket(shop.socket, server_side=True)
print(shop.server_port, flush=True)
shop.serve_forever()
";

#[test]
fn a_shop_receives_events_over_tls_if_its_certificate_is_trusted() {
    let dir =
        std::env::temp_dir().join(format!("doorbuster-shop-tls-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let file = |name: &str| dir.join(name).display().to_string();
    let (key, certificate) = (file("key"), file("certificate"));
    let made = Command::new(tool::program("openssl"))
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut shop = Command::new(tool::program("python3"))
        .args(["-c", SHOP, &certificate, &key])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Python starts");
    let mut port = String::new();
    BufReader::new(shop.stdout.take().expect("piped"))
        .read_line(&mut port)
        .expect("the shop prints its port");
    let url = format!("https://127.0.0.1:{}/hook", port.trim());
    let this = std::thread::current().name().expect("a test's thread").to_owned();
    let other = this.replace(
        "a_shop_receives_events_over_tls_if_its_certificate_is_trusted",
        "a_server_delivers_to_a_shop_over_tls",
    );
    // The client reads the trusted certificates from the environment of its process. So each check
    // runs the inner test in a process of its own.
    let inner = |trusted: &str| {
        let mut inner = Command::new(std::env::current_exe().expect("this program"));
        inner
            .args(["--exact", &other, "--ignored", "--nocapture"])
            .env("SSL_CERT_FILE", trusted)
            .env(URL, &url);
        inner.output().expect("this program")
    };
    let (trusts, doubts) = (inner(&certificate), inner("/dev/null"));
    shop.kill().expect("it belongs to the test");
    shop.wait().expect("the shop ended");
    std::fs::remove_dir_all(&dir).expect("it belongs to the test");
    let said = |out: &std::process::Output| String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said(&trusts).contains("the event was delivered"), "{}", said(&trusts));
    assert!(said(&doubts).contains("the delivery failed: no connection"), "{}", said(&doubts));
}

#[tokio::test]
#[ignore = "started by the test above"]
async fn a_server_delivers_to_a_shop_over_tls() {
    let app = start().await;
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) =
        add(&app, &std::env::var(URL).expect("the outer test gives the URL"), json!(["*"])).await;
    buy(&app, 1).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    let decided =
        |one: &serde_json::Value| one["waiting"] == 0 || one["failing"].as_u64() > Some(0);
    let one = app.until(&path, "the event is delivered, or the delivery failed", decided).await;
    if one["failing"] == 0 {
        println!("the event was delivered");
        return;
    }
    let deliveries = app.admin("GET", &format!("{path}/deliveries"), None).await.json();
    println!(
        "the delivery failed: {}",
        deliveries["deliveries"][0]["error"].as_str().unwrap_or_default()
    );
}
