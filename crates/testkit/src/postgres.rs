//! A private PostgreSQL server for the tests, on a socket in its own directory. The directory is
//! always removed when the test program ends.
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use crate::tool::program;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// If the tests run as root, this user runs PostgreSQL, because PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// A script that runs PostgreSQL and executes the commands on its input. The input ends at the
/// latest when the test program ends. Then the script stops PostgreSQL and removes the directory.
const KEEPER: &str = r#"
trap '' INT TERM HUP
dir=$1; shift
"$@" >"$dir/log" 2>&1 & pg=$!
while read word; do
    case $word in
        stop) kill -INT $pg; wait $pg ;;
        crash) kill -QUIT $pg; wait $pg ;;
        start) "$@" >>"$dir/log" 2>&1 & pg=$! ;;
    esac
    echo done
done
kill -INT $pg; wait $pg
rm -rf "$dir"
"#;

/// A PostgreSQL server with its own data directory.
pub struct Cluster {
    dir: PathBuf,
    keeper: Mutex<Child>,
}

static SHARED: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(&["-c", "fsync=off"]));

/// Returns the server that most tests share. Each test has its own database.
pub fn shared() -> &'static Cluster {
    &SHARED
}

impl Cluster {
    /// Starts a server with these settings.
    pub fn start(settings: &[&str]) -> Self {
        Self::create(settings, None)
    }

    /// Starts a streaming standby of this server. `name` is the name under which the standby
    /// connects to this server.
    pub fn start_standby(&self, name: &str) -> Self {
        let name = format!("cluster_name={name}");
        Self::create(&["-c", &name], Some(self))
    }

    fn create(settings: &[&str], primary: Option<&Self>) -> Self {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-pg-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
        let user = (run_program(&["id", "-u"]).trim() == "0").then_some(USER);
        if let Some(user) = user {
            let id = run_program(&["id", "-u", user]).trim().parse().expect("a number");
            chown(&dir, Some(id), None).expect("root may change the owner");
        }
        let prefix: &[&str] = match user {
            Some(user) => &["setpriv", "--reuid", user, "--regid", user, "--clear-groups"],
            None => &[],
        };
        let (data, here, bin) = (dir.join("data"), dir.display().to_string(), programs());
        let (data, initdb) = (data.display().to_string(), bin.join("initdb").display().to_string());
        let (backup, from) = (
            bin.join("pg_basebackup").display().to_string(),
            primary.map(|primary| primary.dir.display().to_string()).unwrap_or_default(),
        );
        let copy = [
            &backup,
            "-h",
            &from,
            "-U",
            USER,
            "-D",
            &data,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ];
        let init = [&initdb, "-D", &data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"];
        run_program(&[prefix, if primary.is_some() { &copy } else { &init }].concat());
        let postgres = bin.join("postgres").display().to_string();
        let run = [
            &postgres,
            "-D",
            &data,
            "-k",
            &here,
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=300",
        ];
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", &here])
            .args([prefix, &run, settings].concat())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let cluster = Self { dir, keeper: Mutex::new(keeper) };
        cluster.wait_until_ready();
        cluster
    }

    fn wait_until_ready(&self) {
        let since = Instant::now();
        while !self.psql("postgres", "SELECT 1").is_ok_and(|answer| answer.trim() == "1") {
            assert!(
                since.elapsed() < READY_WITHIN,
                "{}",
                std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a file readable only for the system user that runs the server.
    pub fn chown_to_server(&self, file: &Path) {
        let owner = std::fs::metadata(&self.dir).expect("the directory exists").uid();
        chown(file, Some(owner), None).expect("root may change the owner");
        std::fs::set_permissions(file, Permissions::from_mode(0o600)).expect("the mode can change");
    }

    /// Creates an empty database, and returns its name.
    pub fn database(&self) -> String {
        let name = format!("t{:016x}", rand::random::<u64>());
        self.psql("postgres", &format!("CREATE DATABASE {name}")).expect("a fresh name");
        name
    }

    /// Returns the connection string of a database.
    pub fn url(&self, database: &str) -> String {
        format!("host={} user={USER} dbname={database}", self.dir.display())
    }

    /// Returns the connection string of a database that exists on this server and on `other`. The
    /// client connects to the server that is the primary.
    pub fn url_of_either(&self, other: &Self, database: &str) -> String {
        let (here, there) = (self.dir.display(), other.dir.display());
        format!("host={here},{there} user={USER} dbname={database} target_session_attrs=read-write")
    }

    /// Runs SQL with psql. Returns the output of psql, or its error output if psql fails.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let (psql, here) = (programs().join("psql"), self.dir.display().to_string());
        let words = [
            "-h",
            &here,
            "-U",
            USER,
            "-d",
            database,
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ];
        let output = Command::new(psql).args(words).output().expect("psql is installed");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Copies a database to another server.
    pub fn dump_into(&self, database: &str, other: &Self, copy: &str) {
        let dump = programs().join("pg_dump").display().to_string();
        let file = self.dir.join("dump.sql").display().to_string();
        let here = self.dir.display().to_string();
        run_program(&[&dump, "-h", &here, "-U", USER, "-d", database, "-f", &file]);
        let (psql, there) =
            (programs().join("psql").display().to_string(), other.dir.display().to_string());
        let stop = "ON_ERROR_STOP=1";
        run_program(&[&psql, "-h", &there, "-U", USER, "-d", copy, "-q", "-v", stop, "-f", &file]);
    }

    fn send(&self, word: &str) {
        let mut keeper = self.keeper.lock().expect("no test panics with it");
        let input = keeper.stdin.as_mut().expect("a pipe");
        writeln!(input, "{word}").and_then(|()| input.flush()).expect("the keeper reads its input");
        let mut answer = [0; 5];
        let output = keeper.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(output, &mut answer).expect("the keeper answers");
    }

    /// Ends every session and shuts the server down normally.
    pub fn stop(&self) {
        self.send("stop");
    }

    /// Stops the server without a checkpoint, as a crash does. Afterwards, the latest changes are
    /// only in the write-ahead log.
    pub fn crash(&self) {
        self.send("crash");
    }

    /// Starts the server again, and returns when it accepts connections.
    pub fn restart(&self) {
        self.send("start");
        self.wait_until_ready();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(keeper.stdin.take());
        // The keeper removes the directory before it ends.
        let _ = keeper.wait();
    }
}

/// Returns the directory of PostgreSQL's programs.
pub fn programs() -> PathBuf {
    program("postgres").parent().expect("a program is in a directory").to_owned()
}

fn run_program(words: &[&str]) -> String {
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir("/")
        .output()
        .expect("the program is installed");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
