//! Runs the commands of `docs/how-to/postgres-failover.md` on private servers. The commands create
//! a standby, promote it, and make the old primary a standby of the new primary.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::guides;
use crate::several::require_servers;
use crate::test_server::{TempDir, TestServer, program, until};

const PAGE: &str = include_str!("../../../../docs/how-to/postgres-failover.md");
/// The data directory in the page's commands.
const DATA: &str = "/var/lib/postgresql/data";

fn block(mark: &str) -> String {
    guides::block(PAGE, mark)
}

struct Host {
    address: &'static str,
    dir: PathBuf,
}

/// Two private PostgreSQL servers on this machine. They use the same port on two loopback
/// addresses.
struct Hosts {
    temp_dir: TempDir,
    port: u16,
    primary: Host,
    standby: Host,
}

impl Hosts {
    fn new() -> Self {
        let temp_dir = TempDir::new();
        let bind = |address, port| std::net::TcpListener::bind((address, port));
        let port = until("a port is free on both addresses", || {
            let port = bind("127.0.1.1", 0).ok()?.local_addr().ok()?.port();
            bind("127.0.2.1", port).is_ok().then_some(port)
        });
        let host = |address, name: &str| Host { address, dir: temp_dir.join(name) };
        let (primary, standby) = (host("127.0.1.1", "primary"), host("127.0.2.1", "standby"));
        Self { temp_dir, port, primary, standby }
    }

    /// Runs a script on a host, as the system user of PostgreSQL. Replaces the names and addresses
    /// of the page by those of this test. Returns the output of all scripts so far.
    fn run(&self, host: &Host, script: &str) -> String {
        let names = [
            (DATA, host.dir.join("data").display().to_string()),
            ("PRIMARY", self.primary.address.to_owned()),
            ("STANDBY", self.standby.address.to_owned()),
            // On this machine, each server must listen on its own address, so `listen` sets this
            // address before the start.
            ("pg_ctl -D", format!("listen {0} && pg_ctl -w -D", host.address)),
        ];
        let script =
            names.iter().fold(script.to_owned(), |text, (name, value)| text.replace(name, value));
        let (dir, port) = (host.dir.display(), self.port);
        let script = format!(
            "set -e\nPATH=\"$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1):$PATH\"\n\
             export PGPORT={port} HOME={dir} PGPASSFILE={dir}/.pgpass PGCONNECT_TIMEOUT=10\n\
             listen() {{ printf \"listen_addresses = '%s'\\nport = {port}\\n\
             unix_socket_directories = '{dir}'\\n\" \"$1\" >> {dir}/data/postgresql.conf; }}\n{script}\n"
        );
        // The output goes to a file. A server that the script starts keeps the output open, so the
        // read of a pipe would never end.
        let log = self.temp_dir.join("log");
        let open = || File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]);
                command
            }
            false => Command::new("env"),
        };
        command.args(["sh", "-c", &script]).current_dir("/").stdout(open()).stderr(open());
        let done = command.status().expect("a shell");
        let log = std::fs::read_to_string(&log).expect("a log file");
        assert!(done.success(), "{script}\n{log}");
        log
    }

    fn sql(&self, host: &Host, sql: &str) {
        let (address, sql) = (host.address, sql.trim());
        let psql = "psql -v ON_ERROR_STOP=1 -U postgres -d postgres -h";
        self.run(host, &format!("{psql} {address} <<'END'\n{sql}\nEND"));
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.temp_dir.join("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        for host in [&self.primary, &self.standby] {
            self.run(host, "pg_ctl stop -m immediate -D '/var/lib/postgresql/data' || true");
        }
    }
}

fn wait_for_standbys(server: &TestServer, number: &str) {
    until("the node sees the standbys", || {
        let (_, reply) = server.exchange("", "GET", "/metrics", "", "");
        let line = format!("doorbuster_store_synchronous_standbys {number}");
        reply.contains(&line).then_some(())
    });
}

#[test]
fn the_commands_of_the_failover_guide_make_promote_and_rejoin_a_standby() {
    require_servers();
    let hosts = Hosts::new();
    let (primary, standby) = (&hosts.primary, &hosts.standby);
    for dir in [&hosts.temp_dir.join(""), &primary.dir, &standby.dir] {
        std::fs::create_dir_all(dir).expect("a directory");
        // If the test runs as root, the servers run as another user, which needs access to the
        // directories.
        std::fs::set_permissions(dir, Permissions::from_mode(0o777))
            .expect("it belongs to the test");
    }
    hosts.run(primary, &format!("initdb -D {DATA} -U postgres -A trust -k --no-sync"));
    hosts.run(primary, &format!("pg_ctl -D {DATA} start"));
    hosts.sql(primary, "CREATE ROLE doorbuster LOGIN; CREATE DATABASE doorbuster OWNER doorbuster");

    hosts.sql(primary, &block("## Make a standby"));
    let lines = block("these lines to the `pg_hba.conf`");
    // All connections to loopback addresses come from 127.0.0.1, so the lines must have this
    // address.
    let lines = ["PRIMARY-ADDRESS", "STANDBY-ADDRESS"]
        .iter()
        .fold(lines, |text, name| text.replace(name, "127.0.0.1"));
    let hba = format!("{DATA}/pg_hba.conf");
    hosts
        .run(primary, &format!("{{ echo '{lines}'; cat {hba}; }} > {hba}.new; mv {hba}.new {hba}"));
    hosts.sql(primary, "SELECT pg_reload_conf()");
    for host in [primary, standby] {
        hosts.run(host, &block("store the password where the user `postgres` finds it:"));
    }
    hosts.run(standby, &block("On the standby, copy the data of the primary"));
    hosts.sql(primary, &block("On the primary, make commits wait for the standby:"));

    let data_dir = hosts.temp_dir.join("node");
    let [first, second] = [primary, standby].map(|host| format!("{}:{}", host.address, hosts.port));
    let url = format!("postgres://doorbuster@{first},{second}/doorbuster");
    let mut command = program(&hosts.temp_dir);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir);
    command.env("DOORBUSTER_SHAPE", "postgres").env("DOORBUSTER_STORE__URL", url);
    command.env("DOORBUSTER_LOG__FILTER", "error");
    let server = TestServer::start(command, data_dir);
    wait_for_standbys(&server, "1");

    hosts.run(primary, &format!("pg_ctl stop -m immediate -D '{DATA}'"));
    hosts.sql(standby, &block("2. Promote the standby:"));
    until("the node uses the new primary", || {
        let (status, body) = server.send("", "GET", "/readyz", "", "");
        (status == 200 && body["database"]["fence"] == 2).then_some(())
    });
    hosts.sql(standby, &block("## Rejoin the old primary"));
    hosts.run(primary, &block("Then rewind the old primary"));
    hosts.sql(standby, &block("On the primary, make commits wait for the standby:"));
    wait_for_standbys(&server, "1");
}
