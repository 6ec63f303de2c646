//! Runs the bench program and tests its output. Cargo builds the program for this integration test,
//! so the program also exists when unit tests of this crate start it.
use std::process::Command;

use serde_json::Value;

#[test]
fn the_help_text_names_the_figures() {
    let output = Command::new(env!("CARGO_BIN_EXE_doorbuster-bench"))
        .arg("--help")
        .output()
        .expect("the program starts");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("R1") && output.contains("--rounds"), "{output}");
}

#[test]
fn a_figure_is_measured_and_its_result_is_checked() {
    // The figure S1 needs no server, so `--server` may name any file: here, the bench program.
    // `--dir` must name a directory on a disk. The system's directory for temporary files may be in
    // memory, so the test does not use that directory.
    let bench = env!("CARGO_BIN_EXE_doorbuster-bench");
    let ran = Command::new(bench)
        .args(["S1", "--quick", "--json", "--server", bench, "--dir", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("the program starts");
    let output: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| {
        panic!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    });
    let figures = output["figures"].as_array().expect("a list");
    assert_eq!(figures.len(), 2, "{output}");
    for figure in figures {
        assert!(figure["value"].as_f64().is_some_and(|value| value > 0.0), "{figure}");
        assert_ne!(figure["verdict"], "invalid", "{figure}");
    }
}
