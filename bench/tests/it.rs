//! The benches as a program. That it is asked here has the program built, which some unit tests start beside themselves.
use std::process::Command;

#[test]
fn its_help_names_the_figures() {
    let said = Command::new(env!("CARGO_BIN_EXE_doorbuster-bench"))
        .arg("--help")
        .output()
        .expect("it was built for this test");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("R1") && said.contains("--rounds"), "{said}");
}
