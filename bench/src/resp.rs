//! The load generator's requests to Redis: one `EVALSHA` after another.
use anyhow::{Context, Result, bail};

use doorbuster_harness::generator::{AnswerKind, RequestScript};

/// Sends the same command repeatedly. A reply above 0 counts as an accepted request, and any other
/// number as "sold out".
#[derive(Debug)]
pub struct Evalsha {
    request: Vec<u8>,
}

impl Evalsha {
    /// Returns requests that run a Lua script with one key and one argument. `digest` is the
    /// script's SHA-1 digest.
    #[must_use]
    pub fn new(digest: &str, key: &str, argument: &str) -> Self {
        Self { request: command(&["EVALSHA", digest, "1", key, argument]) }
    }
}

/// Returns a command in Redis's protocol.
#[must_use]
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

impl RequestScript for Evalsha {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.request);
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        let Some(line) = inbox.strip_suffix(b"\r\n") else { return Ok(None) };
        match line.split_first() {
            Some((b':', digits)) => {
                let text = std::str::from_utf8(digits).context("the answer is not a number")?;
                let units: i64 = text.parse().context("the answer is not a number")?;
                Ok(Some(if units > 0 { AnswerKind::Accepted } else { AnswerKind::SoldOut }))
            }
            _ => bail!("Redis must answer with an integer, not {}", String::from_utf8_lossy(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_verdict_and_other_text_is_an_error() {
        let mut script = Evalsha::new("abc", "item", "1");
        let mut out = Vec::new();
        assert!(script.next(&mut out));
        assert_eq!(
            out,
            b"*5\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n1\r\n$4\r\nitem\r\n$1\r\n1\r\n"
        );
        assert_eq!(script.read(b":1").expect("a beginning"), None);
        assert_eq!(script.read(b":1\r\n").expect("a verdict"), Some(AnswerKind::Accepted));
        assert_eq!(script.read(b":0\r\n").expect("a verdict"), Some(AnswerKind::SoldOut));
        assert!(script.read(b"-NOSCRIPT\r\n").is_err());
    }
}
