//! A private PostgreSQL from Debian's packages, on its own port.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::cluster_dir::ClusterDir;
use super::error::{ClusterError, OrFailed};
use super::limits::READY_WITHIN;
use super::ports;
use super::process::{Process, ProcessSpec, run};

/// The user of the server if this program runs as root, because PostgreSQL refuses to run as root.
const USER: &str = "postgres";
/// The name of the role and of the database.
const DATABASE: &str = "doorbuster";

/// A PostgreSQL server, running or not.
#[derive(Debug)]
pub struct Postgres {
    cluster_dir: ClusterDir,
    bin_dir: PathBuf,
    data: String,
    port: u16,
    password: String,
    start: ProcessSpec,
    process: Option<Process>,
}

impl Postgres {
    /// Creates a database in the directory and starts the server.
    pub fn create(cluster_dir: &ClusterDir, ends_with_caller: bool) -> Result<Self, ClusterError> {
        let bin_dir = bin_dir()?;
        let user = if rustix::process::geteuid().is_root() { Some(USER.to_owned()) } else { None };
        let dir = cluster_dir.private_dir("postgres")?;
        let password = super::secret();
        let secret = cluster_dir.write_private("postgres/password", &password)?;
        if let Some(user) = &user {
            let id = run(&["id", "-u", user].map(str::to_owned), &[])?;
            let id: u32 = id.trim().parse().or_failed(|| format!("finding the user {user}"))?;
            for path in [&dir, &secret] {
                chown(path, Some(id), None)
                    .or_failed(|| "giving PostgreSQL its directory".into())?;
            }
        }
        let data = dir.join("data").display().to_string();
        let secret = secret.display().to_string();
        let made = [
            "-U",
            DATABASE,
            "-A",
            "scram-sha-256",
            "--pwfile",
            &secret,
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ];
        initdb(&bin_dir, user.as_deref(), &data, &made)?;
        let port = ports::free()?;
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", dir.display()),
            "max_connections=200".to_owned(),
            "synchronous_commit=on".to_owned(),
            // Recycled WAL segments avoid creating new ones, for which commits would wait.
            "min_wal_size=1GB".to_owned(),
            "max_wal_size=4GB".to_owned(),
            "log_line_prefix=%m [%p] ".to_owned(),
        ];
        let arguments = ["-D".to_owned(), data.clone()].into_iter();
        let arguments = arguments
            .chain(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]))
            .collect();
        let program = bin_dir.join("postgres");
        let start = ProcessSpec {
            name: "postgres".into(),
            program,
            arguments,
            environment: Vec::new(),
            user,
            ends_with_caller,
        };
        let mut postgres = Self {
            cluster_dir: cluster_dir.clone(),
            bin_dir,
            data,
            port,
            password,
            start,
            process: None,
        };
        postgres.start()?;
        let words = ["-c", &format!("CREATE DATABASE {DATABASE}")];
        postgres.psql("postgres", &words)?;
        Ok(postgres)
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        let mut process = Process::start(&self.cluster_dir, &self.start)?;
        process.wait_until_ready(READY_WITHIN, || {
            self.psql("postgres", &["-c", "SELECT 1"]).is_ok()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Writes all files to the disk. Recovery after a crash would do this first, which takes
    /// seconds, or much longer on a busy disk, because the database was created without it.
    pub fn sync(&self) -> Result<(), ClusterError> {
        initdb(&self.bin_dir, self.start.user.as_deref(), &self.data, &["--sync-only"])
    }

    /// Ends the server at once and without a checkpoint, like a crash.
    pub fn crash(&mut self) -> Result<(), ClusterError> {
        self.stop_with(Signal::QUIT)
    }

    /// Stops the server cleanly.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        self.stop_with(Signal::INT)
    }

    fn stop_with(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(signal))
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL for a client that connects to this port: the server's port or a proxy's.
    pub fn url(&self, port: u16) -> String {
        format!("postgres://{DATABASE}:{}@127.0.0.1:{port}/{DATABASE}", self.password)
    }

    /// Runs SQL in the program's database and returns the rows as text.
    pub fn sql(&self, sql: &str) -> Result<String, ClusterError> {
        self.psql(DATABASE, &["-v", "ON_ERROR_STOP=1", "-c", sql])
    }

    fn psql(&self, database: &str, words: &[&str]) -> Result<String, ClusterError> {
        let psql = self.bin_dir.join("psql").display().to_string();
        let port = self.port.to_string();
        let fixed = [
            &psql,
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            DATABASE,
            "-d",
            database,
            "-X",
            "-q",
            "-A",
            "-t",
        ];
        let words: Vec<String> = fixed.iter().chain(words).map(|&word| word.to_owned()).collect();
        run(&words, &[("PGPASSWORD", &self.password), ("PGCONNECT_TIMEOUT", "2")])
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.start.ends_with_caller {
            // A drop cannot report the error.
            let _ = self.stop();
        }
    }
}

/// Runs `initdb` for this directory, as this user.
fn initdb(
    bin_dir: &Path,
    user: Option<&str>,
    data: &str,
    words: &[&str],
) -> Result<(), ClusterError> {
    let initdb = bin_dir.join("initdb").display().to_string();
    let user = user.map(|user| ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]);
    let user = user.iter().flatten().copied();
    let words = user.chain([initdb.as_str(), "-D", data]).chain(words.iter().copied());
    run(&words.map(str::to_owned).collect::<Vec<_>>(), &[]).map(drop)
}

/// The directory of the newest version's programs.
fn bin_dir() -> Result<PathBuf, ClusterError> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().ok_or_else(|| ClusterError::Missing("postgresql".into()))
}
