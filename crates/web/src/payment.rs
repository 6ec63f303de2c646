//! Payments over HTTP: providers' messages, checkouts and the sandbox's page.

pub(crate) mod checkout;
pub(crate) mod sandbox;
pub(crate) mod webhook;
