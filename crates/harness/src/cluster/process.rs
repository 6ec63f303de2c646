//! A server process of the installation: started, signalled, found again by its process-id file,
//! stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster_dir::{ClusterDir, write_private};
use super::error::{ClusterError, OrFailed};
use super::limits::{LOG_SHOWN_BYTES, POLL_EVERY, STOP_WITHIN};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// What it is called: names its log and its process-id file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Additions to its environment, which has none of the program's own settings.
    pub environment: Vec<(String, String)>,
    /// The user that it runs as; `None`: this one.
    pub user: Option<String>,
    /// Whether it ends with the thread that starts it, or stays.
    pub ends_with_caller: bool,
}

/// A process, whoever started it.
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
    /// Starts it and notes its id.
    pub fn start(cluster_dir: &ClusterDir, start: &ProcessSpec) -> Result<Self, ClusterError> {
        let what = || format!("starting {}", start.name);
        let log = cluster_dir.log_file(&start.name);
        let said = File::options().create(true).append(true).open(&log).or_failed(what)?;
        let heard = said.try_clone().or_failed(what)?;
        let mut words: Vec<String> = Vec::new();
        if start.ends_with_caller || start.user.is_some() {
            words.push("setpriv".into());
        }
        if start.ends_with_caller {
            // The kernel ends the server when whoever started it dies without cleaning up.
            words.extend(["--pdeathsig", "TERM"].map(str::to_owned));
        }
        if let Some(user) = &start.user {
            words.extend(["--reuid", user, "--regid", user, "--clear-groups"].map(str::to_owned));
        }
        words.push(start.program.display().to_string());
        words.extend(start.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir("/").stdin(Stdio::null()).stdout(said).stderr(heard);
        clear_settings(&mut command);
        command.envs(start.environment.iter().map(|(name, value)| (name, value)));
        // What is typed at a terminal reaches whoever started it, who then ends all in their order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().or_failed(what)?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("it has no id")
            .or_failed(what)?;
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

    /// Every process that the place has a file of, latest first, whether it runs or not.
    pub fn from_pid_files(cluster_dir: &ClusterDir) -> Result<Vec<Self>, ClusterError> {
        let mut found = Vec::new();
        let Ok(entries) = std::fs::read_dir(cluster_dir.pid_dir()) else { return Ok(found) };
        for entry in entries {
            let file =
                entry.or_failed(|| format!("reading {}", cluster_dir.pid_dir().display()))?.path();
            let Some(name) = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".pid"))
            else {
                continue;
            };
            let text = std::fs::read_to_string(&file)
                .or_failed(|| format!("reading {}", file.display()))?;
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

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it runs. An id that the system gave to somebody else since is not it.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().is_ok_and(|ended| ended.is_none()),
            None => start_ticks(self.pid) == Some(self.start_ticks),
        }
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        if self.is_running() {
            kill_process(self.pid, signal).or_failed(|| format!("signalling {}", self.name))?;
        }
        Ok(())
    }

    /// Waits for its end; false when `within` is over first.
    pub fn has_ended_within(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.is_running() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(POLL_EVERY);
        }
        true
    }

    /// Sends it a signal that ends it, and waits; what does not end in time is killed.
    pub fn stop(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.signal(signal)?;
        // A process that was paused hears no other signal before this one.
        self.signal(Signal::CONT)?;
        if !self.has_ended_within(STOP_WITHIN) {
            self.signal(Signal::KILL)?;
            if !self.has_ended_within(STOP_WITHIN) {
                return Err(ClusterError::failed(
                    format!("stopping {}", self.name),
                    "it cannot be killed",
                ));
            }
        }
        // Gone already when somebody else stops the same place.
        let _ = std::fs::remove_file(&self.file);
        Ok(())
    }

    /// Asks it to stop, which it must do by itself, in time, and without a fault.
    pub fn stop_cleanly(&mut self) -> Result<(), ClusterError> {
        self.signal(Signal::TERM)?;
        let what = format!("stopping {}", self.name);
        if !self.has_ended_within(STOP_WITHIN) {
            return Err(ClusterError::failed(
                what,
                format!("it had more than {} s", STOP_WITHIN.as_secs()),
            ));
        }
        let status = self.child.as_mut().map(Child::wait).transpose().or_failed(|| what.clone())?;
        if status.is_some_and(|status| !status.success()) {
            return Err(ClusterError::failed(
                what,
                format!("it did not end well: {}", self.log_tail()),
            ));
        }
        let _ = std::fs::remove_file(&self.file);
        Ok(())
    }

    /// Waits until `ready` says so, or it ends, or `within` is over.
    pub fn wait_until_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), ClusterError> {
        let until = Instant::now() + within;
        while !ready() {
            let reason = match (self.is_running(), Instant::now() > until) {
                (false, _) => "it ended".to_owned(),
                (true, true) => format!("it was not ready within {} s", within.as_secs()),
                (true, false) => {
                    std::thread::sleep(POLL_EVERY);
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

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_SHOWN_BYTES);
        String::from_utf8_lossy(&text[from..]).trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ends_with_caller && self.child.is_some() {
            // Whoever drops it has no use for the reason.
            let _ = self.stop(Signal::KILL);
        }
    }
}

/// When a process began, in the system's ticks; `None` when there is none, or it is only waiting to
/// be buried.
fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may contain spaces; the state follows it, the beginning is the 22nd
    // field in all.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") { None } else { fields.get(19)?.parse().ok() }
}

/// Leaves out of its environment what somebody set for another server.
fn clear_settings(command: &mut Command) {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOORBUSTER_"))
    {
        command.env_remove(name);
    }
}

/// The program of this name, in the usual places.
pub(super) fn find(name: &str) -> Result<PathBuf, ClusterError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"]);
    let file = dirs.find_map(|dir| Some(Path::new(dir).join(name)).filter(|file| file.is_file()));
    file.ok_or_else(|| ClusterError::Missing(name.into()))
}

/// Runs a program to its end; what it printed.
pub(super) fn run(words: &[String], environment: &[(&str, &str)]) -> Result<String, ClusterError> {
    let what = || format!("running {}", words[0]);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir("/")
        .stdin(Stdio::null())
        .envs(environment.iter().copied());
    let output = command.output().or_failed(what)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ClusterError::failed(what(), String::from_utf8_lossy(&output.stderr).trim()))
    }
}
