//! Starts, signals and stops the server processes of an installation, and finds them by their
//! process-id files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster_dir::{ClusterDir, write_private};
use super::error::{ClusterError, ClusterErrorContext};
use super::limits::{LOG_SHOWN_BYTES, POLL_INTERVAL, STOP_WITHIN};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The server's name. The names of its log and of its process-id file contain this name.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// Environment variables for the process. The process also inherits this program's environment,
    /// except the variables whose names begin with `DOORBUSTER_`.
    pub environment: Vec<(String, String)>,
    /// The user of the process. `None` means the current user.
    pub user: Option<String>,
    /// Whether the process ends when the thread that started the process ends.
    pub ends_with_caller: bool,
}

/// A server process, started by this process or by an earlier process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    start_ticks: u64,
    child: Option<Child>,
    file: PathBuf,
    log: PathBuf,
    ends_with_caller: bool,
}

impl Process {
    /// Starts the process and writes its process-id file.
    pub fn start(cluster_dir: &ClusterDir, start: &ProcessSpec) -> Result<Self, ClusterError> {
        let what = || format!("starting {}", start.name);
        let log = cluster_dir.log_file(&start.name);
        let stdout = File::options().create(true).append(true).open(&log).with_operation(what)?;
        let stderr = stdout.try_clone().with_operation(what)?;
        let mut words: Vec<String> = Vec::new();
        if start.ends_with_caller || start.user.is_some() {
            words.push("setpriv".into());
        }
        if start.ends_with_caller {
            // The kernel sends TERM to the server when the calling thread dies, so the server ends
            // even if this program is killed.
            words.extend(["--pdeathsig", "TERM"].map(str::to_owned));
        }
        if let Some(user) = &start.user {
            words.extend(["--reuid", user, "--regid", user, "--clear-groups"].map(str::to_owned));
        }
        words.push(start.program.display().to_string());
        words.extend(start.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        clear_settings(&mut command);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        // The server has its own process group. So a signal from the terminal, such as Ctrl-C,
        // reaches only the caller, which can then stop the nodes before Redis and PostgreSQL.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_operation(what)?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("the process has no id")
            .with_operation(what)?;
        let start_ticks = start_ticks(pid).unwrap_or(0);
        let file = cluster_dir.pid_dir().join(format!("{}.pid", start.name));
        write_private(&file, &format!("{} {start_ticks}\n", pid.as_raw_nonzero()))?;
        Ok(Self {
            name: start.name.clone(),
            pid,
            start_ticks,
            child: Some(child),
            file,
            log,
            ends_with_caller: start.ends_with_caller,
        })
    }

    /// Returns one process for each process-id file of the installation, even if the process has
    /// ended. The process that was started last comes first.
    pub fn from_pid_files(cluster_dir: &ClusterDir) -> Result<Vec<Self>, ClusterError> {
        let mut found = Vec::new();
        let Ok(entries) = std::fs::read_dir(cluster_dir.pid_dir()) else { return Ok(found) };
        for entry in entries {
            let file = entry
                .with_operation(|| format!("reading {}", cluster_dir.pid_dir().display()))?
                .path();
            let Some(name) = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".pid"))
            else {
                continue;
            };
            let text = std::fs::read_to_string(&file)
                .with_operation(|| format!("reading {}", file.display()))?;
            let mut numbers = text.split_whitespace();
            let pid = numbers.next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
            let start_ticks = numbers.next().and_then(|start_ticks| start_ticks.parse().ok());
            let (Some(pid), Some(start_ticks)) = (pid, start_ticks) else {
                return Err(ClusterError::failed(
                    format!("reading {}", file.display()),
                    "not a process id",
                ));
            };
            let (name, log) = (name.to_owned(), cluster_dir.log_file(name));
            found.push(Self {
                name,
                pid,
                start_ticks,
                child: None,
                file,
                log,
                ends_with_caller: false,
            });
        }
        found.sort_by_key(|process| {
            std::cmp::Reverse((process.start_ticks, process.pid.as_raw_nonzero()))
        });
        Ok(found)
    }

    /// Returns the name of the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Returns whether the process runs. For a process from a process-id file, also compares the
    /// start time, because another process may have the same process id now.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().is_ok_and(|ended| ended.is_none()),
            None => start_ticks(self.pid) == Some(self.start_ticks),
        }
    }

    /// Sends a signal to the process, if it runs.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        if self.is_running() {
            kill_process(self.pid, signal)
                .with_operation(|| format!("signalling {}", self.name))?;
        }
        Ok(())
    }

    /// Waits until the process has ended. Returns `false` if it still runs after `within`.
    pub fn has_ended_within(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.is_running() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }

    /// Sends a signal that ends the process, and waits for its end. If the process does not end in
    /// time, kills it.
    pub fn stop(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.signal(signal)?;
        // A process that was suspended by STOP handles a signal such as TERM only after CONT.
        self.signal(Signal::CONT)?;
        if !self.has_ended_within(STOP_WITHIN) {
            self.signal(Signal::KILL)?;
            if !self.has_ended_within(STOP_WITHIN) {
                return Err(ClusterError::failed(
                    format!("stopping {}", self.name),
                    "the process does not end after SIGKILL",
                ));
            }
        }
        // The file may already be missing, because another process may have stopped the same
        // installation.
        let _ = std::fs::remove_file(&self.file);
        Ok(())
    }

    /// Sends TERM to the process. Fails if the process does not end in time, or if it ends with an
    /// error.
    pub fn stop_cleanly(&mut self) -> Result<(), ClusterError> {
        self.signal(Signal::TERM)?;
        let what = format!("stopping {}", self.name);
        if !self.has_ended_within(STOP_WITHIN) {
            return Err(ClusterError::failed(
                what,
                format!("the process did not end within {} s", STOP_WITHIN.as_secs()),
            ));
        }
        let status =
            self.child.as_mut().map(Child::wait).transpose().with_operation(|| what.clone())?;
        if status.is_some_and(|status| !status.success()) {
            return Err(ClusterError::failed(
                what,
                format!("the process failed: {}", self.log_tail()),
            ));
        }
        let _ = std::fs::remove_file(&self.file);
        Ok(())
    }

    /// Waits until `ready` returns true. Fails if the process ends before that, or if `ready` still
    /// returns false after the time `within`.
    pub fn wait_until_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), ClusterError> {
        let until = Instant::now() + within;
        while !ready() {
            let reason = match (self.is_running(), Instant::now() > until) {
                (false, _) => "the process ended".to_owned(),
                (true, true) => format!("the process was not ready within {} s", within.as_secs()),
                (true, false) => {
                    std::thread::sleep(POLL_INTERVAL);
                    continue;
                }
            };
            return Err(ClusterError::failed(
                format!("starting {}", self.name),
                format!("{reason}: {}", self.log_tail()),
            ));
        }
        Ok(())
    }

    /// Returns the whole log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Returns the end of the log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_SHOWN_BYTES);
        String::from_utf8_lossy(&text[from..]).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ends_with_caller && self.child.is_some() {
            // A drop cannot report the error.
            let _ = self.stop(Signal::KILL);
        }
    }
}

/// Returns the start time of a process, in clock ticks since the system started. Returns `None` if
/// the process does not exist or is a zombie.
fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may contain spaces, so the fields are counted after it. The start
    // time is the 22nd field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") { None } else { fields.get(19)?.parse().ok() }
}

fn clear_settings(command: &mut Command) {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOORBUSTER_"))
    {
        command.env_remove(name);
    }
}

pub(super) fn find(name: &str) -> Result<PathBuf, ClusterError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"]);
    let file = dirs.find_map(|dir| Some(Path::new(dir).join(name)).filter(|file| file.is_file()));
    file.ok_or_else(|| ClusterError::Missing(name.into()))
}

pub(super) fn run(words: &[String], environment: &[(&str, &str)]) -> Result<String, ClusterError> {
    let what = || format!("running {}", words[0]);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir("/")
        .stdin(Stdio::null())
        .envs(environment.iter().copied());
    let output = command.output().with_operation(what)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ClusterError::failed(what(), String::from_utf8_lossy(&output.stderr).trim()))
    }
}
