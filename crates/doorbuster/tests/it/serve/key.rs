//! Tests the operators' key that a server generates if no key is configured.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use doorbuster_testkit::postgres::Cluster;

use crate::test_server::{KEY, TempDir, TestServer, program, run, serve};

/// Starts a server without a configured key, at the default level of the log.
fn open(temp_dir: &TempDir, log: &Path) -> TestServer {
    let data_dir = temp_dir.join("data");
    let mut command = serve(temp_dir, &data_dir);
    command.env_remove("DOORBUSTER_AUTH__ADMIN_KEY").env_remove("DOORBUSTER_LOG__FILTER");
    command.stderr(File::create(log).expect("a log file"));
    TestServer::start(command, data_dir)
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).expect("the log exists")
}

#[test]
fn a_server_without_a_key_generates_one_and_keeps_it_out_of_the_log() {
    let temp_dir = TempDir::new();
    let (first, second) = (temp_dir.join("first"), temp_dir.join("second"));
    let status = |test_server: &TestServer, key: &str| {
        test_server.send(key, "GET", "/v1/admin/sales", "", "").0
    };
    let test_server = open(&temp_dir, &first);
    let file = temp_dir.join("data").join("admin_key");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = read(&file);
    let (log, key) = (read(&first), text.trim());
    assert!(log.contains("generated the operators' key"), "{log}");
    assert!(log.contains(&file.display().to_string()), "{log}");
    assert!(key.starts_with("dbk_") && key.len() > 40, "the key is too short: {key}");
    // The server accepts the new key, but not `KEY`, which other tests configure.
    assert_eq!((status(&test_server, key), status(&test_server, KEY)), (200, 401));
    assert_eq!(test_server.terminate().0, Some(0));
    assert!(!read(&first).contains(key), "the log contains the key");

    let test_server = open(&temp_dir, &second);
    assert_eq!(
        (status(&test_server, key), status(&test_server, KEY)),
        (200, 401),
        "the key must not change at the next start"
    );
    assert_eq!(test_server.terminate().0, Some(0));
    let log = read(&second);
    assert!(log.contains("serving"), "the log is empty: {log}");
    assert!(!log.contains(key) && !log.contains("operators' key"), "{log}");
}

#[test]
fn a_generated_key_is_not_lost_if_the_first_start_fails() {
    let temp_dir = TempDir::new();
    let other = TestServer::open(&temp_dir);
    let address = other.url().strip_prefix("http://").expect("an address");
    let cluster = Cluster::start(&[]);
    let database = cluster.database();
    let words = cluster.url(&database);
    let host = words.split(' ').find_map(|word| word.strip_prefix("host=")).expect("a directory");
    let url = format!("postgres://postgres@{}/{database}", host.replace('/', "%2F"));
    let shared = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())];
    let own: &[(&str, &str)] = &[];
    for (name, settings) in [("embedded", own), ("postgres", shared.as_slice())] {
        let data_dir = temp_dir.join(name);
        let file = data_dir.join("admin_key");
        let mut busy = program(&temp_dir);
        busy.args(["serve", "--listen", address, "--data-dir"]).arg(&data_dir);
        let stderr = run(busy.envs(settings.iter().copied())).stderr_of_failure(1);
        assert!(stderr.contains("generated the operators' key"), "{name}: {stderr}");
        let key = read(&file);
        let start = || {
            let mut command = serve(&temp_dir, &data_dir);
            command.env_remove("DOORBUSTER_AUTH__ADMIN_KEY").envs(settings.iter().copied());
            TestServer::start(command, data_dir.clone())
        };
        let test_server = start();
        assert_eq!(test_server.send(&key, "GET", "/v1/admin/sales", "", "").0, 200, "{name}");
        assert_eq!(test_server.terminate().0, Some(0), "{name}");
        if name == "postgres" {
            std::fs::remove_file(&file).expect("the file is there");
            drop(start());
            assert_eq!(read(&file), key, "the node must write the database's key again");
        }
    }
}

#[test]
fn a_server_that_is_refused_writes_no_secret_into_the_directory_of_another_server() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let first = serve(&temp_dir, &data_dir);
    let _first = TestServer::start(first, data_dir.clone());
    let mut second = serve(&temp_dir, &data_dir);
    second.env_remove("DOORBUSTER_AUTH__ADMIN_KEY");
    let text = run(&mut second).stderr_of_failure(1);
    assert!(text.contains("in use"), "{text}");
    assert!(!data_dir.join("admin_key").exists(), "the second server must create no key: {text}");
}
