//! A robot against the captcha: Tesseract, as Debian packages it.

use std::io::Write;
use std::process::{Command, Stdio};

use doorbuster_challenge::{CHARACTERS, Captcha, Chance, draw_captcha, normalised};

const ROUNDS: usize = 60;

/// What Tesseract reads, looking for one line of characters that captchas have.
fn reads(png: &[u8]) -> Option<String> {
    let mut child = Command::new("tesseract")
        .args(["stdin", "stdout", "--psm", "7", "-c", "tessedit_char_whitelist=2347ACDEFHJKNPRTUXYadekpxy"])
        .env("OMP_THREAD_LIMIT", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // Dropped at once, so that it sees the end of the file.
    child.stdin.take()?.write_all(png).ok()?;
    let output = child.wait_with_output().ok()?;
    Some(normalised(&String::from_utf8_lossy(&output.stdout)))
}

#[test]
fn tesseract_against_the_captcha() {
    if Command::new("tesseract").arg("--version").output().is_err() {
        println!("SKIPPED: there is no tesseract on this machine; scripts/setup installs it");
        return;
    }
    let mut chance = Chance::repeatable(2_026);
    let (mut whole, mut characters) = (0, 0);
    for _ in 0..ROUNDS {
        let Captcha { png, text } = draw_captcha(&mut chance);
        let read = reads(&png).expect("tesseract runs");
        whole += usize::from(read == text);
        characters += text.chars().zip(read.chars()).filter(|(a, b)| a == b).count();
    }
    let of = |n: usize, all: usize| n as f32 * 100.0 / all as f32;
    println!(
        "of 100 captchas Tesseract reads {:.1}, of 100 characters {:.1}",
        of(whole, ROUNDS),
        of(characters, ROUNDS * CHARACTERS)
    );
    assert!(whole * 100 <= 4 * ROUNDS, "Tesseract reads {whole} of {ROUNDS}");
}
