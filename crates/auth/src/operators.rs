//! Authenticates operators by their keys. The server keeps only hashes of keys. The key in the
//! settings has the role `admin`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use doorbuster_api::admin::keys::Role;
use doorbuster_store::AdminKey;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::AuthenticationError;

/// The id by which the log of actions names the key in the settings.
pub const CONFIGURED_KEY: &str = "configured";

/// The operator who presented a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The key's id.
    pub id: Arc<str>,
    /// The key's role, which says what the key allows.
    pub role: Role,
}

#[derive(Clone)]
struct KnownKey {
    operator: Operator,
    hash: [u8; 32],
}

/// Verifies operators' keys.
pub struct OperatorKeyVerifier {
    configured: KnownKey,
    made: ArcSwap<Vec<KnownKey>>,
}

impl OperatorKeyVerifier {
    /// Creates a verifier that accepts only the key in the settings.
    #[must_use]
    pub fn new(configured: &SecretString) -> Self {
        let operator = Operator { id: CONFIGURED_KEY.into(), role: Role::Admin };
        let hash = Self::hash(configured.expose_secret());
        Self { configured: KnownKey { operator, hash }, made: ArcSwap::default() }
    }

    /// Returns the hash by which a key is stored. One round of SHA-256 is enough, because keys are
    /// long and random.
    #[must_use]
    pub fn hash(key: &str) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        hash
    }

    /// Returns the hash of the key in the settings.
    pub fn configured_hash(&self) -> [u8; 32] {
        self.configured.hash
    }

    /// Replaces the set of keys that operators created. `keys` must contain every such key of the
    /// store, because a key that is not in `keys` no longer works.
    pub fn replace_keys(&self, keys: Vec<AdminKey>) {
        let known = |key: AdminKey| KnownKey {
            operator: Operator { id: key.id.into(), role: key.role },
            hash: key.hash,
        };
        self.made.store(Arc::new(keys.into_iter().map(known).collect()));
    }

    /// Removes the key with this id, so that it no longer works. Does nothing if there is no such
    /// key.
    pub fn remove_key(&self, id: &str) {
        self.made.rcu(|made| -> Vec<KnownKey> {
            made.iter().filter(|known| &*known.operator.id != id).cloned().collect()
        });
    }

    /// Compares the key's hash with all stored hashes, each in constant time.
    ///
    /// # Errors
    /// [`AuthenticationError::Bad`] when no operator has this key.
    pub fn check(&self, key: &str) -> Result<Operator, AuthenticationError> {
        self.check_hash(&Self::hash(key))
    }

    /// Compares this hash with all stored hashes, each in constant time.
    ///
    /// # Errors
    /// [`AuthenticationError::Bad`] when no operator's key has this hash.
    pub fn check_hash(&self, hash: &[u8; 32]) -> Result<Operator, AuthenticationError> {
        let made = self.made.load();
        let mut found = None;
        for known in std::iter::once(&self.configured).chain(made.iter()) {
            if bool::from(known.hash.ct_eq(hash)) {
                found = Some(&known.operator);
            }
        }
        found.cloned().ok_or(AuthenticationError::Bad("this is not an operator's key"))
    }
}

impl std::fmt::Debug for OperatorKeyVerifier {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OperatorKeyVerifier").field("made", &self.made.load().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::Millis;

    use super::*;

    #[test]
    fn a_key_keeps_its_role_until_it_is_deleted() {
        let operators =
            OperatorKeyVerifier::new(&SecretString::from("configured-configured-configured"));
        let made = |id: &str, key: &str, role| AdminKey {
            id: id.into(),
            name: "night shift".into(),
            role,
            hash: OperatorKeyVerifier::hash(key),
            created_at: Millis(0),
        };
        let check = |key: &str, expected: Option<Role>| {
            assert_eq!(operators.check(key).ok().map(|operator| operator.role), expected, "{key}");
        };
        operators.replace_keys(vec![
            made("key_1", "made", Role::Viewer),
            made("key_2", "other", Role::Operator),
        ]);
        check("configured-configured-configured", Some(Role::Admin));
        check("made", Some(Role::Viewer));
        check("configured-configured-configureD", None);
        check("", None);
        for id in ["key_1", "key_1", CONFIGURED_KEY] {
            operators.remove_key(id);
        }
        check("made", None);
        check("other", Some(Role::Operator));
        check("configured-configured-configured", Some(Role::Admin));
        operators.replace_keys(Vec::new());
        check("other", None);
    }
}
