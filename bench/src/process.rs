//! Programs that a bench starts, observes through `/proc`, and ends after the measurement.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::limits::STOP_WITHIN;

/// How to start a program.
#[derive(Debug)]
pub struct ProcessSpec<'a> {
    /// The program.
    pub program: &'a Path,
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// Additions to the program's environment.
    pub environment: Vec<(String, String)>,
    /// The user that runs the program. `None` means the user that runs the bench.
    pub user: Option<&'a str>,
    /// The core to which the program is pinned. `None` means any core.
    pub core: Option<usize>,
    /// The file that gets the program's standard error.
    pub log: PathBuf,
}

/// A running program. The program ends when this value is dropped, or when the bench itself ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts the program with a pipe for its standard output.
    ///
    /// # Errors
    /// Fails if the program cannot be started.
    pub fn start(start: ProcessSpec<'_>) -> Result<Self> {
        // If this process ends without stopping the program, for example after a crash, the kernel
        // sends SIGTERM to the program.
        let mut words: Vec<String> = ["setpriv", "--pdeathsig", "TERM"].map(str::to_owned).into();
        if let Some(user) = start.user {
            words.extend(["--reuid", user, "--regid", user, "--clear-groups"].map(str::to_owned));
        }
        if let Some(core) = start.core {
            words.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        }
        words.push(start.program.display().to_string());
        words.extend(start.arguments);
        let log = File::create(&start.log)
            .with_context(|| format!("cannot create {}", start.log.display()))?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(start.environment).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", start.program.display()))?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the process has already ended and has no id")?;
        Ok(Self { child, pid, log: start.log })
    }

    /// Returns the program's standard output. Returns `None` if an earlier call has taken it.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Returns the last part of the program's standard error.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(600);
        String::from_utf8_lossy(&text[from..]).trim().to_owned()
    }

    /// Checks that the program runs.
    ///
    /// # Errors
    /// Fails if the program has ended. The error contains the last part of the program's standard
    /// error.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the program ended ({status}): {}", self.log_tail());
        }
        Ok(())
    }

    /// Sends the signal and waits for the end of the program.
    ///
    /// # Errors
    /// Fails if the program does not end in time.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(self.pid, signal).context("cannot send a signal")?;
        let until = Instant::now() + STOP_WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the program did not end within {} s: {}", STOP_WITHIN.as_secs(), self.log_tail())
    }

    /// Pins all threads of the program to this core.
    ///
    /// # Errors
    /// Fails if the system does not allow this core.
    pub fn pin(&self, core: usize) -> Result<()> {
        let (core, pid) = (core.to_string(), self.child.id().to_string());
        let status = Command::new("taskset")
            .args(["-a", "-c", "-p", &core, &pid])
            .stdout(Stdio::null())
            .status();
        ensure!(
            status.context("cannot run taskset")?.success(),
            "process {pid} could not be pinned to core {core}"
        );
        Ok(())
    }

    /// Returns the processor time of all threads of the program so far, in user and in system mode.
    ///
    /// # Errors
    /// Fails if the program has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.child.id())
    }

    /// Returns the resident memory in bytes.
    ///
    /// # Errors
    /// Fails if the program has ended.
    pub fn resident(&self) -> Result<u64> {
        resident(&self.child.id().to_string())
    }

    /// Waits until the resident memory no longer falls, because a program returns freed memory to
    /// the system with a delay. Returns the size of the resident memory in bytes.
    ///
    /// # Errors
    ///
    /// Fails if the program has ended.
    pub fn resident_at_rest(&self) -> Result<u64> {
        let mut before = u64::MAX;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.resident()?;
            if now >= before {
                return Ok(before.min(now));
            }
            before = now;
        }
        Ok(before)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop(Signal::TERM).is_err() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Returns the processor time of all threads of a process so far, in user and in system mode.
///
/// # Errors
/// Fails if the process has ended.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = Stat::read(pid).context("the process is gone")?;
    Ok(stat.ticks(&[UTIME, STIME]))
}

/// Returns the processor time that a process and its children have used so far. This includes the
/// time of children that have ended.
///
/// # Errors
///
/// Fails if the process has ended.
pub fn cpu_time_with_children(pid: u32) -> Result<Duration> {
    let parent = Stat::read(pid).context("the process is gone")?;
    let processes = fs::read_dir("/proc").context("cannot read /proc")?;
    let live = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Stat::read)
        .filter(|stat| stat.0.get(PARENT) == Some(&u64::from(pid)))
        .map(|stat| stat.ticks(&[UTIME, STIME]));
    Ok(parent.ticks(&[UTIME, STIME, ENDED_UTIME, ENDED_STIME]) + live.sum::<Duration>())
}

/// The positions of fields in `/proc/PID/stat`. The field after the process's state has the
/// position 0.
const PARENT: usize = 0;
const UTIME: usize = 10;
const STIME: usize = 11;
const ENDED_UTIME: usize = 12;
const ENDED_STIME: usize = 13;

struct Stat(Vec<u64>);

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The first three fields are the process's id, its name in parentheses, and its state. The
        // name may contain spaces and parentheses. So the fields after the name are counted from
        // the last `)`. Negative fields are read as 0.
        let (_, fields) = stat.rsplit_once(')')?;
        let number = |field: &str| field.parse().unwrap_or(0);
        Some(Self(fields.split_whitespace().skip(1).map(number).collect()))
    }

    fn ticks(&self, fields: &[usize]) -> Duration {
        let ticks: u64 = fields.iter().filter_map(|&field| self.0.get(field)).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// Returns the resident memory of a process, in bytes. If `pid` is `self`, it means this process.
///
/// # Errors
///
/// Fails if the process has ended.
pub fn resident(pid: &str) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .context("/proc shows no resident memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is not a number")?;
    Ok(kib * 1024)
}

/// Finds the program `name` in `PATH` or in the usual directories, and returns its path.
///
/// # Errors
/// Fails if the program is not installed.
pub fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run scripts/setup"))
}

/// Returns an address on which no program listens at present.
///
/// # Errors
/// Fails if no port is free.
pub fn free_address() -> Result<std::net::SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until `ready` returns true, but no longer than `within`.
///
/// # Errors
///
/// Fails if the program ends, or does not become ready in time.
pub fn wait_until(
    process: &mut Process,
    within: Duration,
    mut ready: impl FnMut() -> bool,
) -> Result<()> {
    let until = Instant::now() + within;
    while !ready() {
        process.check_running()?;
        if Instant::now() > until {
            bail!("not ready within {} s: {}", within.as_secs(), process.log_tail());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
