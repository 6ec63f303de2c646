//! HTTP clients for outgoing requests. A client reads the system's certificates when it is created.
//! So after the server has loaded its settings again, it creates a new client.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use reqwest::{Client, Url};

type Build = Box<dyn Fn() -> reqwest::Result<Client> + Send + Sync>;

/// A client that is created at its first use, because loading certificates is slow.
pub struct OutgoingClient {
    build: Build,
    made: ArcSwapOption<Client>,
    /// How often [`Self::renew`] was called. A thread must hold this lock to change `made`.
    renewals: Mutex<u64>,
}

impl OutgoingClient {
    /// Stores `build`, which creates the client. The first call of [`Self::get`] calls `build`.
    pub fn new(build: impl Fn() -> reqwest::Result<Client> + Send + Sync + 'static) -> Self {
        Self { build: Box::new(build), made: ArcSwapOption::empty(), renewals: Mutex::new(0) }
    }

    /// Returns the client. If there is none yet, creates the client first.
    ///
    /// # Errors
    /// If the client cannot be created.
    pub fn get(&self) -> reqwest::Result<Client> {
        if let Some(made) = self.made.load_full() {
            return Ok(Client::clone(&made));
        }
        let renewals = *self.lock_renewals();
        let made = (self.build)()?;
        // If `renew` was called during the creation, this client may have old certificates. Then
        // the client is not stored: this call returns it, and the next call creates a new client.
        let now = self.lock_renewals();
        if *now == renewals {
            self.made.store(Some(Arc::new(made.clone())));
        }
        Ok(made)
    }

    /// Removes the stored client, so the next call of [`Self::get`] creates a client with the
    /// system's newest certificates. Requests in progress keep their client.
    pub fn renew(&self) {
        let mut renewals = self.lock_renewals();
        *renewals += 1;
        self.made.store(None);
    }

    fn lock_renewals(&self) -> MutexGuard<'_, u64> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutgoingClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OutgoingClient").finish_non_exhaustive()
    }
}

/// Returns whether secrets may be sent to this address: it uses TLS or names this machine.
#[must_use]
pub fn may_get_secrets(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url))
}

/// Returns whether this address names this machine.
#[must_use]
pub fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|host: IpAddr| host.is_loopback())
}

/// Checks that a client with the system's certificates can be created.
///
/// # Errors
/// If the client cannot be created. The error contains the reason.
pub fn check_certificates() -> Result<(), String> {
    let made = Client::builder().build();
    made.map(drop).map_err(|error| {
        let file = std::env::var("SSL_CERT_FILE").unwrap_or_default();
        let from = if file.is_empty() { "the system".to_owned() } else { file };
        format!("cannot use the certificates of {from}: {error}")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_renewed_client_is_created_again_at_its_next_use() {
        let built = Arc::new(AtomicUsize::new(0));
        let counted = built.clone();
        let client = OutgoingClient::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Client::builder().tls_certs_only([]).build()
        });
        assert_eq!(built.load(Ordering::Relaxed), 0);
        let _ = (client.get().expect("a client"), client.get().expect("a client"));
        assert_eq!(built.load(Ordering::Relaxed), 1);
        client.renew();
        assert_eq!(built.load(Ordering::Relaxed), 1);
        let _ = client.get().expect("a client");
        assert_eq!(built.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_client_that_is_renewed_during_its_creation_is_created_again_at_its_next_use() {
        let built = Arc::new(AtomicUsize::new(0));
        let client = Arc::new_cyclic(|client: &Weak<OutgoingClient>| {
            let (client, counted) = (client.clone(), built.clone());
            OutgoingClient::new(move || {
                if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                    client.upgrade().expect("the client exists").renew();
                }
                Client::builder().tls_certs_only([]).build()
            })
        });
        for expected in [1, 2, 2] {
            let _ = client.get().expect("a client");
            assert_eq!(built.load(Ordering::Relaxed), expected);
        }
    }
}
