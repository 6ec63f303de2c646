//! Tests the output of the xtask program. Because this test runs the program, Cargo builds it
//! together with the tests. `scripts/test` later uses the built program to check the files of a
//! release.

use std::process::Command;

#[test]
fn the_help_text_names_the_tasks() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("--help")
        .output()
        .expect("the program starts");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("dist") && output.contains("tidy"), "{output}");
}
