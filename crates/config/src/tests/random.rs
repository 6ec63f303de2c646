//! Tests randomly changed settings files.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Each file must be read, or be refused with a reason. No output may show a secret, or a password
/// of an address.
#[test]
fn a_randomly_changed_file_is_read_or_refused_and_shows_no_secret() {
    const FILES: usize = 2_000;
    const CHANGES_MAX: usize = 3;
    const SECRET: &str = "not-for-anybodys-eyes-not-for-anybodys-eyes";
    const PASSWORD: &str = "hush-hush-hush";
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.')
    };
    let setting = |line: &'static str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        Some(line).filter(|line| {
            line.starts_with('[') || line.split_once(" = ").is_some_and(|(name, _)| is_name(name))
        })
    };
    let lines = DEFAULT_FILE.lines().filter_map(setting).map(|line| line.replace("…", SECRET));
    let user_info = format!("://user:{PASSWORD}@");
    let right = lines.collect::<Vec<_>>().join("\n").replace("://", &user_info);
    assert!(right.parse::<toml::Table>().is_ok() && right.matches(SECRET).count() >= 5, "{right}");
    assert!(right.matches(&user_info).count() >= 5, "{right}");
    let plain =
        DEFAULT_FILE.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let seed = rand::random();
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..FILES {
        let mut bytes = if rng.random() { right.clone() } else { plain.clone() }.into_bytes();
        for _ in 0..rng.random_range(1..=CHANGES_MAX) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random_range(0..0x7f),
                1 => bytes.insert(at, b"\"'[]{}=,.#\n\\ 0aZ-"[rng.random_range(0..17)]),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let (_dir, flags) = file(&text);
        let (shown, loaded) = show(&flags, environment(&[]));
        let said = format!(
            "{shown}{}",
            loaded.as_ref().err().map_or_else(String::new, ToString::to_string)
        );
        assert!(!said.contains(SECRET), "seed {seed}: {said}\nof\n{text}");
        // If a random change has damaged the characters around the password, the program cannot
        // recognize the password, and may show it.
        let is_whole = text.matches(PASSWORD).count() == text.matches(&user_info).count();
        assert!(!is_whole || !said.contains(PASSWORD), "seed {seed}: {said}\nof\n{text}");
        match loaded {
            Ok(()) => read += 1,
            Err(SettingsError(faults)) => {
                refused += 1;
                let whole =
                    |fault: &SettingFault| !fault.setting.is_empty() && !fault.detail.is_empty();
                assert!(
                    !faults.is_empty() && faults.iter().all(whole),
                    "seed {seed}: {faults:?}\nof\n{text}"
                );
            }
        }
    }
    assert!(read.min(refused) > FILES / 100, "{read} were read, {refused} refused");
    // Here, the secret is a number that is too large for TOML. The error must not show the secret.
    let (_dir, flags) = file("[auth]\nadmin_key = 0xffffffffffffffffffffffffffffffff\n");
    let said = load(&flags, environment(&[])).expect_err("refused").to_string();
    assert!(said.contains("line 2, column 13") && !said.contains(&u128::MAX.to_string()), "{said}");
}
