//! Tests how the limit of open files limits the server's connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::test_server::{TempDir, TestServer, run, serve, until};

fn with_files(command: &Command, files: u32) -> Command {
    with_limit(command, &format!("ulimit -n {files}"))
}

fn with_limit(command: &Command, limit: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).expect("the kernel accepts the connection")
}

/// Returns the server's whole response, or less if the server closes the connection.
fn ask_health(mut stream: TcpStream) -> String {
    let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // The write may fail: the server may close a refused connection before the request is sent.
    let _ = stream.write_all(ask.as_bytes());
    let mut reply = String::new();
    let _ = stream.read_to_string(&mut reply);
    reply
}

#[test]
fn a_low_limit_of_open_files_limits_connections_and_is_logged() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let stderr = run(&mut with_files(&serve(&temp_dir, &data_dir), 100)).stderr_of_failure(1);
    assert!(
        stderr.contains("limit of open files is 100")
            && stderr.contains("ulimit -n")
            && stderr.contains("528"),
        "{stderr}"
    );
    // The server keeps 512 of the 556 files for other purposes, so only 44 connections fit.
    let test_server = TestServer::start(with_files(&serve(&temp_dir, &data_dir), 556), data_dir);
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    let taken: Vec<TcpStream> = (0..44).map(|_| connect(&address)).collect();
    let reply = ask_health(connect(&address));
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    // The server answers at most 256 connections over the limit at a time. So it always keeps files
    // for other purposes, for example to connect to its database.
    let most = until("the server answers connections over the limit", || {
        let _silent: Vec<TcpStream> =
            (0..300).filter_map(|_| TcpStream::connect(&address).ok()).collect();
        let open = test_server.open_files();
        (open > 44 + 200).then_some(open)
    });
    assert!(most <= 556 - 128, "{most} of 556 files are open");
    until("these connections end", || (test_server.open_files() < 44 + 128).then_some(()));
    assert!(taken.into_iter().map(ask_health).all(|reply| reply.starts_with("HTTP/1.1 200")));
    let (code, _, stderr) = test_server.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("the limit of open files (ulimit -n) is 556") && stderr.contains("44"),
        "{stderr}"
    );
}

#[test]
fn the_limit_of_open_files_is_raised_to_the_hard_limit() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let test_server = TestServer::start(
        with_limit(&serve(&temp_dir, &data_dir), "ulimit -Sn 556 && ulimit -Hn 956"),
        data_dir,
    );
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    // The server raises its limit to 956 files. With 556 files, only 44 connections would fit.
    let taken: Vec<TcpStream> = (0..400).map(|_| connect(&address)).collect();
    assert!(taken.into_iter().map(ask_health).all(|reply| reply.starts_with("HTTP/1.1 200")));
    let (code, _, stderr) = test_server.terminate();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("the limit of open files (ulimit -n) is 956") && stderr.contains("444"),
        "{stderr}"
    );
}
