//! Locates a sale's store and reads it without the server.

use std::path::Path;
use std::process::Command;

use doorbuster_harness::cluster::Postgres;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::test_server::{program, run};
use crate::windows::fixture::ServerFixture;

/// The store of one deployment.
#[derive(Clone)]
pub enum StoreAccess {
    /// In the server's own directory.
    Directory,
    /// In a database, at this address.
    Database(String),
}

impl StoreAccess {
    /// A new database with this name.
    pub fn database(postgres: &Postgres, name: &str) -> Self {
        postgres.sql(&format!("CREATE DATABASE {name}")).expect("the name is free");
        let url = postgres.url(postgres.port());
        Self::Database(format!("{}/{name}", url.rsplit_once('/').expect("it names a database").0))
    }

    /// Whether several nodes may share it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Database(_))
    }

    /// The settings of a server that uses it.
    pub fn settings(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Directory => Vec::new(),
            Self::Database(url) => {
                vec![("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url)]
            }
        }
    }

    /// The first column of each found row.
    pub fn rows(&self, dir: &Path, sql: &str) -> Vec<String> {
        match self {
            Self::Directory => {
                let file = dir.join("doorbuster.sqlite3");
                let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
                    .expect("it is there");
                // A starting server locks it for a while.
                db.busy_timeout(std::time::Duration::from_secs(60)).expect("it can be set");
                let mut rows = db.prepare(sql).expect("it is SQL");
                let rows = rows.query_map([], |row| row.get(0)).expect("it can be read");
                rows.collect::<Result<_, _>>().expect("it is text")
            }
            Self::Database(url) => {
                let asked =
                    Command::new("psql").args([url, "-X", "-q", "-A", "-t", "-c", sql]).output();
                let asked = asked.expect("psql comes with postgresql");
                assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
                String::from_utf8(asked.stdout).expect("text").lines().map(str::to_owned).collect()
            }
        }
    }

    /// Runs the auditor of the command line with these answers; returns its report.
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
