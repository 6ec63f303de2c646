//! Makes invalid variants of valid request bodies.

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::generator::{one_in, pick};

/// Returns an unusual JSON value, which most schemas do not allow.
fn odd(rng: &mut SmallRng) -> Value {
    match rng.random_range(0..24) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(0),
        4 => json!(1.5),
        5 => json!(1e300),
        6 => json!(u64::MAX),
        7 => json!(i64::MIN),
        8 => json!(1_000_000_000),
        9 => json!(1_000_000_000_000_u64),
        10 => json!(""),
        11 => json!(" "),
        12 => json!("\u{0}\u{7f}\u{202e}"),
        13 => json!("é😀".repeat(rng.random_range(1..200))),
        14 => json!("x".repeat(rng.random_range(1..6_000))),
        15 => json!([]),
        16 => json!({}),
        17 => json!([{}, null, [1]]),
        18 => json!("unlimited"),
        19 => json!("2099-01-01T00:00:00+14:00"),
        20 => json!("9999-12-31T23:59:59.999-23:59"),
        21 => json!("-009999-01-01T00:00:00Z"),
        22 => json!(vec![0; rng.random_range(1..300)]),
        _ => json!("a b"),
    }
}

/// Changes one member at any depth.
fn change(rng: &mut SmallRng, value: &mut Value) {
    let here = one_in(rng, 3);
    match value {
        Value::Object(members) if !members.is_empty() => {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = pick(rng, &names).clone();
            if !here {
                return change(rng, &mut members[&name]);
            }
            match rng.random_range(0..3) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert(name, odd(rng))),
                _ => drop(members.insert(
                    (*pick(rng, &["colour", "", "é", "a/b~c", "__proto__"])).into(),
                    odd(rng),
                )),
            }
        }
        Value::Array(entries) if !entries.is_empty() => {
            let at = rng.random_range(0..entries.len());
            if !here {
                return change(rng, &mut entries[at]);
            }
            match rng.random_range(0..3) {
                0 => drop(entries.remove(at)),
                1 => entries[at] = odd(rng),
                _ => entries.resize(rng.random_range(2..150), entries[at].clone()),
            }
        }
        _ => *value = odd(rng),
    }
}

/// Changes the members or the bytes of a valid body at random. The result is usually invalid.
pub(crate) fn spoil(rng: &mut SmallRng, mut value: Value, bytes_max: usize) -> Vec<u8> {
    for _ in 0..rng.random_range(0..4) {
        change(rng, &mut value);
    }
    let mut bytes = value.to_string().into_bytes();
    match rng.random_range(0..16) {
        0 => bytes.clear(),
        1 => bytes.truncate(rng.random_range(0..=bytes.len())),
        2 => {
            let at = rng.random_range(0..=bytes.len());
            bytes.insert(at, *pick(rng, &[0xFF, 0xC3, 0, b'"', b'{', b'\\', b',']));
        }
        3 => {
            bytes = format!("{{\"sale\":{}}}", "[".repeat(rng.random_range(1..8_000))).into_bytes()
        }
        4 => bytes = "{\"a\":".repeat(rng.random_range(1..3_000)).into_bytes(),
        5 => bytes.resize(bytes_max + rng.random_range(0..3), b' '),
        6 => bytes = format!("{{\"title\":\"{}\"}}", "x".repeat(bytes_max)).into_bytes(),
        7 => bytes = numbers(rng, &String::from_utf8_lossy(&bytes)).into_bytes(),
        8 => {
            bytes = String::from_utf8_lossy(&bytes)
                .replacen('{', "{\"units\":1,\"units\":1,", 1)
                .into_bytes()
        }
        9 => {
            bytes =
                pick(rng, &["[]", "null", "1", "\"x\"", "\u{feff}{}", "{}{}", " ", "\"\\ud800\""])
                    .as_bytes()
                    .to_vec()
        }
        10 => bytes = members(rng).into_bytes(),
        _ => {}
    }
    bytes
}

/// Replaces the body's first number with a number that JSON or the API usually does not allow.
fn numbers(rng: &mut SmallRng, text: &str) -> String {
    let odd = *pick(
        rng,
        &["1e999", "-0", "10.0", "99999999999999999999", "1E1", "01", "+1", "0x1", "NaN"],
    );
    let digits = text.find(|digit: char| digit.is_ascii_digit()).unwrap_or(0);
    let rest = text[digits..].trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{}{odd}{rest}", &text[..digits])
}

/// Returns an object with more invalid members than a problem document lists.
fn members(rng: &mut SmallRng) -> String {
    let many: Vec<String> =
        (0..rng.random_range(200..1_000)).map(|n| format!("\"m{n}\":1")).collect();
    format!("{{{}}}", many.join(","))
}
