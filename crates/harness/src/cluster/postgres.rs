//! A private PostgreSQL server, started from the programs of Debian's packages, on its own port.

mod disasters;

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use super::cluster_dir::ClusterDir;
use super::error::{ClusterError, ClusterErrorContext};
use super::full_disk::FullDisk;
use super::limits::{POLL_INTERVAL, READY_WITHIN};
use super::ports;
use super::process::{Process, ProcessSpec, run};

/// If this program runs as root, the server runs as this user, because PostgreSQL refuses to run as
/// root.
const USER: &str = "postgres";
/// The name by which a standby identifies itself to its primary. Every server has this name,
/// because every server may become a standby.
const STANDBY: &str = "doorbuster_standby";
/// The setting of a server whose commits do not wait for a standby.
const NO_STANDBY: &str = "synchronous_standby_names=";
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
    disk: Option<FullDisk>,
}

impl Postgres {
    /// Creates a database in the directory and starts the server.
    pub fn create(cluster_dir: &ClusterDir, ends_with_caller: bool) -> Result<Self, ClusterError> {
        Self::create_on(cluster_dir, ends_with_caller, None)
    }

    /// Creates a database and starts the server. With `library`, the harness can make the server's
    /// disk full.
    pub(super) fn create_on(
        cluster_dir: &ClusterDir,
        ends_with_caller: bool,
        library: Option<&Path>,
    ) -> Result<Self, ClusterError> {
        let password = super::node_factory::secret();
        let mut postgres = Self::prepare(cluster_dir, "postgres", password, ends_with_caller)?;
        postgres.use_disk(library)?;
        let secret = cluster_dir.write_private("postgres/password", &postgres.password)?;
        postgres.give(&secret)?;
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
        initdb(&postgres.bin_dir, postgres.start.user.as_deref(), &postgres.data, &made)?;
        postgres.start()?;
        let words = ["-c", &format!("CREATE DATABASE {DATABASE}")];
        postgres.psql("postgres", &words)?;
        Ok(postgres)
    }

    /// Returns a server that can become a standby of this server.
    /// [`Postgres::rebuild_as_standby_of`] starts it.
    pub(crate) fn create_standby(&self, library: Option<&Path>) -> Result<Self, ClusterError> {
        let (password, ends_with_caller) = (self.password.clone(), self.start.ends_with_caller);
        let mut standby =
            Self::prepare(&self.cluster_dir, "postgres-2", password, ends_with_caller)?;
        standby.use_disk(library)?;
        Ok(standby)
    }

    fn use_disk(&mut self, library: Option<&Path>) -> Result<(), ClusterError> {
        let Some(library) = library else { return Ok(()) };
        let disk = FullDisk::create(library, &self.dir().join("disk"))?;
        self.give(disk.file())?;
        self.start.environment.extend(disk.environment().iter().cloned());
        self.disk = Some(disk);
        Ok(())
    }

    fn dir(&self) -> PathBuf {
        self.cluster_dir.path().join(&self.start.name)
    }

    fn prepare(
        cluster_dir: &ClusterDir,
        name: &str,
        password: String,
        ends_with_caller: bool,
    ) -> Result<Self, ClusterError> {
        let bin_dir = bin_dir()?;
        let user = if rustix::process::geteuid().is_root() { Some(USER.to_owned()) } else { None };
        let dir = cluster_dir.private_dir(name)?;
        let data = dir.join("data").display().to_string();
        let port = ports::free()?;
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", dir.display()),
            "max_connections=200".to_owned(),
            "synchronous_commit=on".to_owned(),
            // The server keeps at least this much WAL and reuses its segments, so commits need not
            // wait for new segments.
            "min_wal_size=1GB".to_owned(),
            "max_wal_size=4GB".to_owned(),
            "log_line_prefix=%m [%p] ".to_owned(),
            format!("cluster_name={STANDBY}"),
        ];
        let arguments = ["-D".to_owned(), data.clone()].into_iter();
        let arguments = arguments
            .chain(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]))
            .collect();
        let program = bin_dir.join("postgres");
        let start = ProcessSpec {
            name: name.into(),
            program,
            arguments,
            environment: Vec::new(),
            user,
            ends_with_caller,
        };
        let cluster_dir = cluster_dir.clone();
        let postgres =
            Self { cluster_dir, bin_dir, data, port, password, start, process: None, disk: None };
        postgres.give(&dir)?;
        Ok(postgres)
    }

    /// Makes the user of the server the owner of a file or a directory.
    fn give(&self, path: &Path) -> Result<(), ClusterError> {
        let Some(user) = &self.start.user else { return Ok(()) };
        let id = run(&["id", "-u", user].map(str::to_owned), &[])?;
        let id: u32 = id.trim().parse().with_operation(|| format!("finding the user {user}"))?;
        chown(path, Some(id), None).with_operation(|| "giving PostgreSQL its directory".into())
    }

    /// Makes this server a new standby of `primary`, with a new copy of the primary's data.
    pub fn rebuild_as_standby_of(&mut self, primary: &Self) -> Result<(), ClusterError> {
        self.stop()?;
        if Path::new(&self.data).exists() {
            std::fs::remove_dir_all(&self.data)
                .with_operation(|| format!("deleting {}", self.data))?;
        }
        // With `-R`, `pg_basebackup` writes the settings that make the copy a standby of `primary`.
        self.copy_of(primary, &self.data, &["-R"])?;
        self.start()
    }

    /// Copies the data of the running server `from` into the directory `to`. `words` are further
    /// arguments of `pg_basebackup`.
    fn copy_of(&self, from: &Self, to: &str, words: &[&str]) -> Result<(), ClusterError> {
        let program = self.bin_dir.join("pg_basebackup").display().to_string();
        let port = from.port.to_string();
        let fixed = [
            &program,
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            DATABASE,
            "-D",
            to,
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ];
        let user = as_user(self.start.user.as_deref());
        let words = user.iter().chain(&fixed).chain(words).map(|&word| word.to_owned());
        run(&words.collect::<Vec<String>>(), &[("PGPASSWORD", &from.password)]).map(drop)
    }

    /// Makes commits wait for the standby, and waits until the standby is connected.
    pub fn wait_for_standby(&self) -> Result<(), ClusterError> {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'");
        self.psql("postgres", &["-c", &set])?;
        self.psql("postgres", &["-c", "SELECT pg_reload_conf()"])?;
        let state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let begun = Instant::now();
        while self.psql("postgres", &["-c", state])?.trim() != "1" {
            if begun.elapsed() > READY_WITHIN {
                return Err(ClusterError::failed("waiting for the standby", "it did not connect"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Makes this standby the primary. After that, commits do not wait for a standby.
    pub fn promote(&self) -> Result<(), ClusterError> {
        self.psql("postgres", &["-c", "SELECT pg_promote()"])?;
        self.psql("postgres", &["-c", "ALTER SYSTEM RESET synchronous_standby_names"])?;
        self.psql("postgres", &["-c", "SELECT pg_reload_conf()"]).map(drop)
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

    /// Starts the server so that its commits do not wait for a standby.
    pub fn start_without_standby(&mut self) -> Result<(), ClusterError> {
        self.start.arguments.extend(["-c".to_owned(), NO_STANDBY.to_owned()]);
        let started = self.start();
        self.start.arguments.truncate(self.start.arguments.len() - 2);
        started
    }

    /// Makes the system write all files of the database to the disk. PostgreSQL created the files
    /// without this write. A recovery after a crash would begin with the write, which can take
    /// seconds or longer.
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

    /// Returns the id of the server's main process, or `None` if the server is stopped. The main
    /// process has a child process for each connection.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Returns the port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns a URL with which a client reaches this server. `port` is the server's port, or the
    /// port of a proxy in front of the server.
    pub fn url(&self, port: u16) -> String {
        format!("postgres://{DATABASE}:{}@127.0.0.1:{port}/{DATABASE}", self.password)
    }

    /// Returns a URL that names two ports. A client connects to the port where it finds the
    /// primary.
    pub fn url_of_either(&self, ports: [u16; 2]) -> String {
        let (password, [first, second]) = (&self.password, ports);
        format!(
            "postgres://{DATABASE}:{password}@127.0.0.1:{first},127.0.0.1:{second}/{DATABASE}?\
             target_session_attrs=read-write"
        )
    }

    /// Runs SQL in the database `doorbuster` and returns the rows as text.
    pub fn sql(&self, sql: &str) -> Result<String, ClusterError> {
        self.psql(DATABASE, &["-v", "ON_ERROR_STOP=1", "-c", sql])
    }

    /// Runs a file of SQL in the database `doorbuster`.
    pub fn load(&self, file: &Path) -> Result<(), ClusterError> {
        let file = file.display().to_string();
        self.psql(DATABASE, &["-v", "ON_ERROR_STOP=1", "-f", &file]).map(drop)
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

fn as_user(user: Option<&str>) -> Vec<&str> {
    user.map_or_else(Vec::new, |user| {
        vec!["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
    })
}

fn initdb(
    bin_dir: &Path,
    user: Option<&str>,
    data: &str,
    words: &[&str],
) -> Result<(), ClusterError> {
    let initdb = bin_dir.join("initdb").display().to_string();
    let user = as_user(user);
    let user = user.iter().copied();
    let words = user.chain([initdb.as_str(), "-D", data]).chain(words.iter().copied());
    run(&words.map(str::to_owned).collect::<Vec<_>>(), &[]).map(drop)
}

/// Returns the directory with the programs of the newest installed PostgreSQL.
fn bin_dir() -> Result<PathBuf, ClusterError> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().ok_or_else(|| ClusterError::Missing("postgresql".into()))
}
