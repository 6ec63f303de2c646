//! Runs the workspace's test programs, several at the same time. Cargo runs them one after another,
//! and most of them wait for servers and leave processor cores idle.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The crate whose program `it` runs longest. It starts first, and the other programs run beside
/// it.
const LONGEST: &str = "crates/doorbuster";

/// Options of `cargo xtask tests`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many test programs run at the same time.
    #[arg(long, default_value_t = 2)]
    programs: usize,
    /// Arguments of each test program, such as `--skip NAME` and `--test-threads N`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// A compiled test program, and the directory of its package.
struct Program {
    directory: PathBuf,
    file: PathBuf,
}

/// Compiles and runs the test programs. Prints the output of a program when the program ends.
///
/// # Errors
/// Fails if the compilation fails, and if at least one program fails. A program that fails does not
/// stop the others.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let queue = Mutex::new(VecDeque::from(compile()?));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..arguments.programs {
            scope.spawn(|| {
                loop {
                    let Some(program) = lock(&queue).pop_front() else { break };
                    if let Err(error) = run_program(&program, &arguments.arguments) {
                        lock(&failed).push(error.to_string());
                    }
                }
            });
        }
    });
    let failed = lock(&failed);
    ensure!(failed.is_empty(), "test programs failed:\n{}", failed.join("\n"));
    Ok(())
}

/// Compiles the test programs, and returns them, the longest program first.
fn compile() -> anyhow::Result<Vec<Program>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet", "--locked", "--workspace", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let Output { status, stdout, .. } = command.output().context("cargo does not start")?;
    ensure!(status.success(), "the tests do not compile: {status}");
    let mut programs = Vec::new();
    for line in String::from_utf8(stdout)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        if message["profile"]["test"] == true
            && let Some(file) = message["executable"].as_str()
        {
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            let directory = manifest.parent().context("cargo names the package's manifest")?;
            programs.push(Program { directory: directory.into(), file: file.into() });
        }
    }
    programs.sort_by_key(|it| (!it.directory.ends_with(LONGEST), it.file.clone()));
    Ok(programs)
}

/// Runs a program, and prints its output. Prints nothing if the program ran no test.
fn run_program(program: &Program, arguments: &[String]) -> anyhow::Result<()> {
    let name = program.file.file_name().unwrap_or_default().to_string_lossy();
    let started = Instant::now();
    let mut command = Command::new(&program.file);
    command.args(arguments).current_dir(&program.directory).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{name} does not start"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if !text.trim_start().starts_with("running 0 tests") || !output.status.success() {
        let seconds = started.elapsed().as_secs();
        println!("-- {name}, after {seconds} s: {}\n{}", output.status, text.trim());
    }
    ensure!(output.status.success(), "{name}: {}", output.status);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
