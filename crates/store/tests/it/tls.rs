//! Tests TLS to PostgreSQL with every `sslmode`. The server has a self-signed certificate, a
//! certificate of an authority, or no certificate.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use doorbuster_store::Store;
use doorbuster_store::conformance::{Clock, CommitLog};

use crate::cluster::Cluster;
use crate::fixture::{Dir, postgres_options};
use doorbuster_testkit::tool;

/// The longest time until the server uses new settings.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// The loopback address of the server. The URL contains both the certificate's name and this
/// address, so no name server is needed.
const ADDRESS: &str = "127.83.76.83";

/// A PostgreSQL that also listens on a port, and its certificate files.
struct Server {
    cluster: Cluster,
    files: Dir,
}

impl Server {
    fn start() -> Self {
        let files = Dir::new();
        let (listen, hba) = (
            format!("listen_addresses={ADDRESS}"),
            format!("hba_file={}/hba", files.path().display()),
        );
        std::fs::write(
            files.path().join("hba"),
            "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\n",
        )
        .expect("writable");
        let cluster = Cluster::start(&["-c", "fsync=off", "-c", &listen, "-c", &hba]);
        cluster
            .psql("postgres", "ALTER ROLE postgres PASSWORD 'one day'")
            .expect("the socket is trusted");
        Self { cluster, files }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn openssl(&self, words: &str) {
        let run = Command::new(tool::program("openssl"))
            .args(words.split_whitespace())
            .current_dir(self.files.path())
            .output();
        let run = run.expect("openssl starts");
        assert!(run.status.success(), "{words}: {}", String::from_utf8_lossy(&run.stderr));
    }

    /// Makes the server use the certificate `name`, and refuse connections without TLS.
    fn show(&self, name: &str) {
        let (certificate, key) =
            (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        self.cluster.chown_to_server(&key);
        std::fs::write(
            self.file("hba"),
            "local all all trust\nhostssl all all 127.0.0.0/8 scram-sha-256\n",
        )
        .expect("writable");
        let set = |what: &str, to: &Path| {
            self.cluster
                .psql("postgres", &format!("ALTER SYSTEM SET {what} = '{}'", to.display()))
                .expect("a superuser");
        };
        set("ssl_cert_file", &certificate);
        set("ssl_key_file", &key);
        set("ssl", Path::new("on"));
        self.cluster.psql("postgres", "SELECT pg_reload_conf()").expect("a superuser");
        let since = Instant::now();
        while self.cluster.psql("postgres", "SHOW ssl_cert_file").expect("a session").trim()
            != certificate.display().to_string()
        {
            assert!(since.elapsed() < TAKEN_WITHIN, "the server does not use the certificate");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Opens a store over TCP, under the name `host`. `words` are the URL's other parameters.
    async fn open(&self, host: &str, words: &str) -> Result<(), String> {
        let url =
            format!("postgres://postgres:one%20day@{host}/postgres?hostaddr={ADDRESS}{words}");
        let (clock, commits) = (Clock::new(), CommitLog::default());
        match Store::open_postgres(postgres_options(&url, 1, &clock, &commits)).await {
            Ok(store) => {
                store.close().await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn check(&self, host: &str, words: &str, refusal: Option<&str>) {
        let opened = self.open(host, words).await;
        match (&opened, refusal) {
            (Ok(()), None) => {}
            (Err(error), Some(wanted)) if error.contains(wanted) => {}
            _ => panic!("{host} {words}: {opened:?}, expected {refusal:?}"),
        }
    }

    fn trusting(&self, mode: &str, name: &str) -> String {
        format!("&sslmode={mode}&sslrootcert={}", self.file(name).display())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sslmode_protects_as_documented() {
    let server = Server::start();
    // As in PostgreSQL's manual, this certificate is self-signed, so it is its own authority.
    server.openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=db.example -addext subjectAltName=DNS:db.example -keyout own.key -out own.pem");
    server.openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Authority -keyout ca.key -out ca.pem",
    );
    server.openssl(
        "req -newkey rsa:2048 -nodes -subj /CN=db.example -keyout signed.key -out signed.csr",
    );
    std::fs::write(server.file("names"), "subjectAltName=DNS:db.example\n").expect("writable");
    server.openssl(
        "x509 -req -in signed.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names \
         -out signed.pem",
    );

    // If the server has no certificate, only clients that require TLS are refused.
    server.check("db.example", "", None).await;
    server.check("db.example", "&sslmode=require", Some("does not support TLS")).await;
    server
        .check(
            "db.example",
            &server.trusting("verify-full", "ca.pem"),
            Some("does not support TLS"),
        )
        .await;

    // The server now has a self-signed certificate, and refuses connections without TLS.
    server.show("own");
    server.check("db.example", "&sslmode=disable", Some("no encryption")).await;
    for words in ["", "&sslmode=prefer", "&sslmode=require"] {
        server.check("other.example", words, None).await;
    }
    server.check("db.example", "&sslmode=verify-full", Some("certificate")).await;
    server
        .check(
            "db.example",
            &server.trusting("verify-full", "ca.pem"),
            Some("invalid peer certificate"),
        )
        .await;
    server
        .check(
            "db.example",
            &server.trusting("require", "ca.pem"),
            Some("invalid peer certificate"),
        )
        .await;
    server.check("db.example", &server.trusting("verify-full", "own.pem"), None).await;
    server
        .check(
            "other.example",
            &server.trusting("verify-full", "own.pem"),
            Some("not valid for name"),
        )
        .await;
    server.check("other.example", &server.trusting("verify-ca", "own.pem"), None).await;

    // The server now has a certificate that an authority signed.
    server.show("signed");
    server.check("db.example", &server.trusting("verify-full", "ca.pem"), None).await;
    server
        .check(
            "other.example",
            &server.trusting("verify-full", "ca.pem"),
            Some("not valid for name"),
        )
        .await;
    server.check("other.example", &server.trusting("verify-ca", "ca.pem"), None).await;
    server.check("other.example", &server.trusting("require", "ca.pem"), None).await;
    server
        .check(
            "db.example",
            &server.trusting("verify-ca", "own.pem"),
            Some("invalid peer certificate"),
        )
        .await;
}
