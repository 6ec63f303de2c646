//! A process that receives webhooks with the command `webhook listen`.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use crate::test_server::{TempDir, program, until};

/// A receiver process that runs `webhook listen`; it ends with the test.
pub(super) struct Listener(pub(super) Child);

impl Listener {
    /// Starts a receiver. Returns it, and a function that returns the next line that the receiver
    /// prints.
    pub(super) fn start(
        temp_dir: &TempDir,
        port: u16,
        secret: &str,
    ) -> (Self, impl FnMut() -> String) {
        let mut command = program(temp_dir);
        let number = port.to_string();
        command.args(["webhook", "listen", "--port", &number, "--secret", secret, "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped output")).lines();
        let address = format!("127.0.0.1:{port}");
        until("the receiver listens", || TcpStream::connect(&address).ok());
        (Self(child), move || lines.next().expect("it prints").expect("text"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
