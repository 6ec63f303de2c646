//! Runs the commands of the page about point-in-time recovery while a node sells units. The test
//! replaces only the paths and the time in the commands.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbuster_harness::cluster::free_port;

use crate::several::require_servers;
use crate::test_server::{TempDir, TestServer, run, serve, until};
use doorbuster_testkit::postgres::programs;

const PAGE: &str = include_str!("../../../../docs/how-to/postgres-point-in-time-recovery.md");
const ITEM: &str = "id=phone,title=Phone,stock=10,price=0.10CNY,limit=10";

/// Returns the code blocks of the page in sequence: the language and the lines of each.
fn blocks() -> Vec<(&'static str, String)> {
    let mut parts = PAGE.split("```").skip(1).step_by(2);
    let block = |part: &'static str| {
        let (language, code) = part.split_once('\n').expect("a language");
        let code: Vec<&str> = code.lines().map(str::trim_start).collect();
        (language, code.join("\n"))
    };
    parts.by_ref().map(block).collect()
}

/// A PostgreSQL server with its own directory. The page's commands manage this server.
struct Installation {
    dir: PathBuf,
    bin_dir: PathBuf,
    port: u16,
    /// The paths in the page's commands, each with the path that replaces it in this test.
    replacements: Vec<(&'static str, String)>,
}

impl Installation {
    fn create(temp_dir: &TempDir) -> Self {
        let dir = temp_dir.join("postgres");
        let bin_dir = programs();
        let port = free_port().expect("a free port");
        let at = |name: &str| dir.join(name).display().to_string();
        let replacements =
            vec![("/var/lib/postgresql/data", at("data")), ("/archive", at("archive"))];
        let installation = Self { dir: dir.clone(), bin_dir, port, replacements };
        std::fs::create_dir(&dir).expect("a new directory");
        // The user of the PostgreSQL server must be able to enter the directory.
        let open = format!("chmod 711 {}", temp_dir.join(".").display());
        assert!(Command::new("sh").args(["-c", &open]).status().expect("a shell").success());
        if is_root() {
            let give = format!("chown postgres {}", dir.display());
            assert!(Command::new("sh").args(["-c", &give]).status().expect("a shell").success());
        }
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n\
             fsync = on\n",
            dir.display()
        );
        installation.shell(&format!(
            "mkdir {archive} && initdb -D {data} -U postgres -A trust --no-sync >{dir}/log &&
             printf \"%s\" \"{settings}\" >>{data}/postgresql.conf &&
             pg_ctl -D {data} -w -l {dir}/log start && createdb doorbuster",
            archive = at("archive"),
            data = at("data"),
            dir = dir.display(),
        ));
        installation
    }

    /// Runs a script as the user of the PostgreSQL server, like a person with a shell.
    fn shell(&self, script: &str) -> String {
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
                command.arg("sh");
                command
            }
            false => Command::new("sh"),
        };
        let path =
            format!("{}:{}", self.bin_dir.display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-e", "-c", script]).current_dir("/");
        command.env("PATH", path).env("PGPORT", self.port.to_string());
        command.env("PGHOST", &self.dir).env("PGUSER", "postgres").env("PGDATABASE", "doorbuster");
        // A script can start a server that writes its log to the script's output after the script
        // has ended. So each script writes its output to its own file.
        static SCRIPTS: AtomicUsize = AtomicUsize::new(0);
        let number = SCRIPTS.fetch_add(1, Ordering::Relaxed);
        let log = self.dir.join(format!("shell-{number}.log"));
        let output = std::fs::File::create(&log).expect("writable");
        command.stdout(output.try_clone().expect("a file")).stderr(output);
        let ended = command.status().expect("it starts");
        let output = std::fs::read_to_string(&log).expect("readable");
        assert!(ended.success(), "{script}\n{output}");
        output
    }

    fn follow(&self, (language, code): (&str, String), time: &str) -> String {
        let mut code = code.replace("2026-11-27 20:15:00+00", time);
        for (from, to) in &self.replacements {
            code = code.replace(from, to);
        }
        match language {
            "sql" => {
                let file = self.dir.join("block.sql");
                std::fs::write(&file, code).expect("writable");
                self.shell(&format!("psql -X -q -A -t -v ON_ERROR_STOP=1 -f {}", file.display()))
            }
            "sh" => self.shell(&code),
            other => panic!("the test does not know the language {other:?} of a block"),
        }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/doorbuster?sslmode=disable", self.port)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let stop = format!("pg_ctl -D {}/data -m immediate stop || true", self.dir.display());
        if !std::thread::panicking() {
            self.shell(&stop);
            return;
        }
        let user = if is_root() { "setpriv --reuid postgres --clear-groups" } else { "" };
        let stop = format!("{user} {}/{stop}", self.bin_dir.display());
        let _ = Command::new("sh").args(["-c", &stop]).status();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id starts");
    id.stdout.starts_with(b"0\n")
}

fn node(temp_dir: &TempDir, installation: &Installation) -> TestServer {
    let data_dir = temp_dir.join("node");
    let mut command = serve(temp_dir, &data_dir);
    command.env("DOORBUSTER_SHAPE", "postgres").env("DOORBUSTER_STORE__URL", installation.url());
    command.env("DOORBUSTER_AUTH__BUYER_SECRET", BUYER_SECRET);
    TestServer::start(command, data_dir)
}

const BUYER_SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

fn buy(node: &TestServer, token: &str, key: &str) -> (u16, String) {
    let lines = format!("Idempotency-Key: {key}\r\nContent-Type: application/json\r\n");
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let (status, body) = node.send(token, "POST", "/v1/orders", &lines, body);
    (status, body["id"].as_str().unwrap_or_default().to_owned())
}

fn token(temp_dir: &TempDir, path: &Path) -> String {
    let mut command = crate::test_server::program(temp_dir);
    command.args(["token", "buyer", "alice", "--data-dir"]).arg(path);
    run(command.env("DOORBUSTER_AUTH__BUYER_SECRET", BUYER_SECRET))
        .stdout_of_success()
        .trim()
        .to_owned()
}

#[test]
fn a_database_is_recovered_to_a_point_in_time_as_the_page_says() {
    require_servers();
    let temp_dir = TempDir::new();
    let installation = Installation::create(&temp_dir);
    let mut blocks = blocks().into_iter();
    let mut follow =
        |time: &str| installation.follow(blocks.next().expect("the page has another block"), time);
    follow("");
    follow("");
    let first_node = node(&temp_dir, &installation);
    let operate = |node: &TestServer, arguments: &[&str]| {
        node.ask(&temp_dir, arguments).stdout_of_success();
    };
    operate(&first_node, &["sale", "create", "spring", "--title", "T", "--item", ITEM]);
    operate(&first_node, &["sale", "open", "spring"]);
    follow("");
    let watched = follow("");
    assert!(watched.starts_with("0|"), "the archive must have no failures: {watched}");
    let alice = token(&temp_dir, &temp_dir.join("node"));
    let (status, kept) = buy(&first_node, &alice, "a");
    assert_eq!(status, 201);
    std::thread::sleep(Duration::from_millis(20));
    let time = installation.shell("psql -X -q -A -t -c 'SELECT now()'").trim().to_owned();
    std::thread::sleep(Duration::from_millis(20));
    let (status, lost) = buy(&first_node, &alice, "b");
    assert_eq!(status, 201);
    assert_eq!(first_node.terminate().0, Some(0));
    follow("");
    follow("");
    follow(&time);
    until("the recovery has ended", || {
        installation
            .shell("psql -X -q -A -t -c 'SELECT pg_is_in_recovery()'")
            .starts_with('f')
            .then_some(())
    });
    assert_eq!(follow("").trim(), "f");
    follow("");

    let second_node = node(&temp_dir, &installation);
    let phase =
        || second_node.send(crate::test_server::KEY, "GET", "/v1/admin/sales/spring", "", "").1;
    until("the sale is paused", || (phase()["phase"] == "paused").then_some(()));
    let has = |id: &str| {
        let (_, order) = second_node.send(&alice, "GET", &format!("/v1/orders/{id}"), "", "");
        order["state"] == "reserved"
    };
    assert_eq!((has(&kept), has(&lost)), (true, false));
    let adjust =
        ["sale", "adjust", "spring", "phone", "-1", "--reason", "sold before the recovery"];
    operate(&second_node, &adjust);
    operate(&second_node, &["sale", "resume", "spring"]);
    let notes = second_node.ask(&temp_dir, &["audit", "--server"]).stdout_of_success();
    assert!(notes.contains("a recovery to a point in time"), "{notes}");
    let mut audit = crate::test_server::program(&temp_dir);
    let audit = run(audit.args(["audit", "--json", "--store", &installation.url()])).json();
    assert_eq!(audit["ok"], true, "{audit}");
    assert_eq!(blocks.next(), None, "the test must run every block of the page");
}
