//! Tests slots on a server with TLS. The machine must trust the server's certificate.
use std::process::Command;

use doorbuster_core::{Epoch, GrantId};
use doorbuster_slots::Slots;
use doorbuster_slots::conformance::{request, terms};

use super::faults::SLOT;
use super::server::{Server, options};
use doorbuster_testkit::tool;

/// The environment variable with the server's URL. The first test sets it for the process in which
/// it runs the second test.
const URL: &str = "SLOTS_TLS_URL";

#[test]
fn slots_are_reached_over_tls_where_the_certificate_is_trusted() {
    let certificates =
        std::env::temp_dir().join(format!("doorbuster-slots-tls-{}", std::process::id()));
    std::fs::create_dir_all(&certificates).expect("a temporary directory");
    let file = |name: &str| certificates.join(name).display().to_string();
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
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (server, port) = Server::start_with_tls(&key, &certificate);
    // The client reads the trusted certificates from the environment, so the second test runs in
    // its own process.
    let inner = |trusted: &str| {
        let program = std::env::current_exe().expect("this program");
        let mut inner = Command::new(program);
        inner.args(["--exact", "tls::a_program_that_trusts_the_certificate", "--ignored"]);
        inner.env("SSL_CERT_FILE", trusted).env(URL, format!("rediss://127.0.0.1:{port}"));
        inner.output().expect("this program")
    };
    let (trusts, doubts) = (inner(&certificate), inner("/dev/null"));
    drop(server);
    std::fs::remove_dir_all(&certificates).expect("ours");
    assert!(trusts.status.success(), "{}", String::from_utf8_lossy(&trusts.stdout));
    assert!(!doubts.status.success());
}

#[tokio::test]
#[ignore = "only the test above starts this test"]
async fn a_program_that_trusts_the_certificate() {
    let url = std::env::var(URL).expect("the test that starts this process sets the variable");
    let slots = Slots::redis(options(vec![url], "shop")).await.expect("the server can hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), 10)).await.expect("reachable");
    slots.serve(&[SLOT]).expect("one slot");
    slots.ticket(SLOT, &request("a", "k", 1, 9)).await.expect("reachable");
    let taken = slots.take(1).await.expect("reachable");
    assert_eq!(taken[0].delivery.ticket.buyer.as_str(), "a");
}
