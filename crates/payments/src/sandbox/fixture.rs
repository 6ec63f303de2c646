//! Fixtures for the sandbox's tests.
use super::SandboxCheckout;

pub(super) fn session(expires_at: i64) -> SandboxCheckout {
    SandboxCheckout {
        order: String::new(),
        title: String::new(),
        units: 1,
        amount_minor: 1,
        currency: "CNY".to_owned(),
        expires_at,
        return_url: String::new(),
        closed: false,
        payments: Vec::new(),
        posts: Vec::new(),
    }
}
