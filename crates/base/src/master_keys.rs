//! The master keys: the secrets from which all keys of the front door are derived.

use std::fmt;

/// The maximum number of master keys in the settings. With more keys, the server does not start.
pub const MASTER_KEYS_MAX: usize = 8;
/// The number of bytes of a master key.
pub const MASTER_KEY_BYTES: usize = 32;

/// The master keys of the front door. The server signs with the first key, and accepts the
/// signatures of all these keys.
#[derive(Clone)]
pub struct MasterKeys(Box<[[u8; MASTER_KEY_BYTES]]>);

impl MasterKeys {
    /// Creates the set from at least one secret.
    #[must_use]
    pub fn new(masters: Vec<[u8; MASTER_KEY_BYTES]>) -> Option<Self> {
        (1..=MASTER_KEYS_MAX).contains(&masters.len()).then(|| Self(masters.into()))
    }

    /// Returns the secret that signs.
    #[must_use]
    pub fn first(&self) -> [u8; MASTER_KEY_BYTES] {
        self.0[0]
    }

    /// Returns the secrets. A node sends them to its edges, which use the same secrets.
    pub fn masters(&self) -> impl Iterator<Item = [u8; MASTER_KEY_BYTES]> {
        self.0.iter().copied()
    }

    /// Derives one key from each secret, for the purpose that `context` names. The first key signs.
    pub fn keys(&self, context: &str) -> impl Iterator<Item = [u8; 32]> {
        self.0.iter().map(move |master| blake3::derive_key(context, master))
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MasterKeys({})", self.0.len())
    }
}
