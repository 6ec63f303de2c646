//! Tests brokers with TLS: events are published only if the machine trusts the certificate.
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::keeper::directory;
use crate::nats_server::NatsServer;
use crate::rabbit::Rabbit;
use crate::{broker, message, name};
use doorbuster_testkit::tool;

/// The environment variable that gives the child process the broker's URL.
const URL: &str = "BROKER_TLS_URL";

/// A key, and a certificate for this machine's address, as files.
struct Certificate {
    dir: PathBuf,
}

impl Certificate {
    fn make() -> Self {
        let certificate = Self { dir: directory("broker-tls") };
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
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(certificate.key())
            .arg("-out")
            .arg(certificate.file())
            .output()
            .expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        certificate
    }

    fn key(&self) -> PathBuf {
        self.dir.join("key")
    }

    fn file(&self) -> PathBuf {
        self.dir.join("certificate")
    }

    /// Checks two processes: the process that trusts this certificate can publish, and the process
    /// that trusts no certificate cannot. Each process reads from environment variables which
    /// certificates it trusts, so one process cannot test both.
    fn check_trust(&self, url: &str) {
        let publish = |trusted: PathBuf| -> Output {
            let mut inner = Command::new(std::env::current_exe().expect("this program"));
            inner.args([
                "--exact",
                "tls::a_message_is_published_over_tls",
                "--ignored",
                "--nocapture",
            ]);
            inner.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").env(URL, url);
            inner.output().expect("this program")
        };
        let (trusts, distrusts) = (publish(self.file()), publish(PathBuf::from("/dev/null")));
        let output = |out: &Output| String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(output(&trusts).contains("the broker accepted"), "{}", output(&trusts));
        assert!(output(&distrusts).contains("failed: no connection"), "{}", output(&distrusts));
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // A failed removal is harmless: the directory is in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn nats_with_tls_gets_events_if_its_certificate_is_trusted() {
    let certificate = Certificate::make();
    let (server, prefix) =
        (NatsServer::start_with_tls(&certificate.key(), &certificate.file()), name());
    server.make_stream(&prefix).await;
    certificate.check_trust(&server.url(&prefix).replace("nats://", "tls://"));
    let kept = server.kept(&prefix).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].subject, format!("{prefix}.order.paid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_with_tls_gets_events_if_its_certificate_is_trusted() {
    let certificate = Certificate::make();
    let ((rabbit, port), exchange) =
        (Rabbit::start_with_tls(&certificate.key(), &certificate.file()), name());
    let orders = rabbit.queue(&exchange, "order.*").await;
    let url = rabbit.url(&exchange).replace("amqp://", "amqps://");
    certificate.check_trust(&url.replace(&format!(":{}/", rabbit.port()), &format!(":{port}/")));
    assert_eq!(orders.next().await.data, br#"{"id":"evt_1"}"#);
    assert!(orders.take().await.is_none(), "the queue must have only one message");
}

#[tokio::test]
#[ignore = "only the tests above start this test"]
async fn a_message_is_published_over_tls() {
    let url = std::env::var(URL).expect("the test that starts this process sets the variable");
    match broker(&url).publish(&message("evt_1", "order.paid")).await {
        Ok(()) => println!("the broker accepted the message"),
        Err(error) => println!("failed: {error}"),
    }
}
