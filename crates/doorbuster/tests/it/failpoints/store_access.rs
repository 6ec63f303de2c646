//! Access to the store of a failpoint test: the settings of its servers, and queries without a
//! server.

use std::path::Path;
use std::process::Command;

use doorbuster_harness::cluster::Postgres;
use doorbuster_testkit::tool;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::{program, run};

/// The store of one deployment.
#[derive(Clone)]
pub enum StoreAccess {
    /// SQLite in the server's own directory.
    Directory,
    /// PostgreSQL at this address.
    Database(String),
}

impl StoreAccess {
    /// Creates a new database with this name.
    pub fn database(postgres: &Postgres, name: &str) -> Self {
        postgres.sql(&format!("CREATE DATABASE {name}")).expect("a new database");
        let url = postgres.url(postgres.port());
        Self::Database(format!("{}/{name}", url.rsplit_once('/').expect("a database name").0))
    }

    /// Returns true if several nodes may share the store.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Database(_))
    }

    /// Returns the settings of a server that uses the store.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Directory => Vec::new(),
            Self::Database(url) => {
                vec![("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url)]
            }
        }
    }

    /// Runs a query, and returns the first column of each row.
    pub fn rows(&self, dir: &Path, sql: &str) -> Vec<String> {
        match self {
            Self::Directory => {
                let file = dir.join("doorbuster.sqlite3");
                let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
                    .expect("the store exists");
                // While a server starts, it locks the file for some time, so the query must wait.
                db.busy_timeout(std::time::Duration::from_secs(60)).expect("a timeout");
                let mut rows = db.prepare(sql).expect("valid SQL");
                let rows = rows.query_map([], |row| row.get(0)).expect("readable rows");
                rows.collect::<Result<_, _>>().expect("text values")
            }
            Self::Database(url) => {
                let output = Command::new(tool::program("psql"))
                    .args([url, "-X", "-q", "-A", "-t", "-c", sql])
                    .output()
                    .expect("psql starts");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
            }
        }
    }

    /// Runs the `audit` command with these answers; returns its report.
    pub fn audit(&self, fixture: &ServerFixture, answers: &Path) -> Value {
        let mut command = program(&fixture.temp_dir);
        command.args(["audit", "--json", "--store"]);
        match self {
            Self::Directory => command.arg(fixture.data_dir()),
            Self::Database(url) => command.arg(url),
        };
        let audited = run(command.arg("--answers").arg(answers));
        audited.stdout_of_success();
        let report = audited.json();
        assert_eq!(report["repairs"], 0, "{report}");
        report
    }
}
