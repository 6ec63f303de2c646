//! The secrets of a sign-in attempt, and their cookie.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const SECRET_BYTES: usize = 32;

/// The secrets that the browser keeps between the two steps of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInAttempt {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
}

impl SignInAttempt {
    pub(super) fn new() -> Self {
        let secret = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
        Self { state: secret(), nonce: secret(), verifier: secret() }
    }

    /// Returns the value of the cookie that carries the attempt.
    pub fn to_cookie(&self) -> String {
        format!("{}.{}.{}", self.state, self.nonce, self.verifier)
    }

    /// Parses the value of the cookie that carries an attempt.
    pub fn from_cookie(value: &str) -> Option<Self> {
        let length = URL_SAFE_NO_PAD.encode([0; SECRET_BYTES]).len();
        let mut parts = value.split('.').filter(|part| part.len() == length).map(str::to_owned);
        let attempt = Self { state: parts.next()?, nonce: parts.next()?, verifier: parts.next()? };
        (attempt.to_cookie() == value).then_some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_read_from_its_cookie_and_from_no_other() {
        let attempt = SignInAttempt::new();
        assert_eq!(SignInAttempt::from_cookie(&attempt.to_cookie()), Some(attempt.clone()));
        let cookie = attempt.to_cookie();
        for wrong in ["", "a.b.c", &cookie[1..], &format!("{cookie}."), &format!("{cookie}.x")] {
            assert_eq!(SignInAttempt::from_cookie(wrong), None, "{wrong}");
        }
    }
}
