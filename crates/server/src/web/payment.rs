//! Money over HTTP: what providers send, where buyers pay, the sandbox's page.

pub(crate) mod checkout;
pub(crate) mod sandbox;
pub(crate) mod webhook;
