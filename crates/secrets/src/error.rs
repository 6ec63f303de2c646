//! The reasons why secrets cannot be used.
use std::io;
use std::path::PathBuf;

use doorbuster_store::OpenError;

/// The reason why a secret can be neither read nor created.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The data directory, or the file of a secret in it, cannot be read or written.
    #[error(
        "data_dir: cannot read or write {}: {error}; give this user access to it, or name another \
         directory with --data-dir",
        path.display()
    )]
    InDirectory {
        /// The directory or the file.
        path: PathBuf,
        /// The file system's error.
        error: io::Error,
    },
    /// The directory contains a store, but not the key of the store's order ids.
    #[error(
        "data_dir: there is a store in {} but no id_key; with a new key, buyers could not reach \
         their earlier orders; put back the id_key file of this store (`doorbuster restore` \
         writes it), or set auth.id_key",
        .0.display()
    )]
    IdKeyMissing(PathBuf),
    /// Other users can write to the data directory.
    #[error(
        "data_dir: other users can write to {}, so they could replace the store and its secrets; \
         run chmod 700 on it",
        .0.display()
    )]
    Writable(PathBuf),
    /// The secrets that all nodes share cannot be read or written.
    #[error("cannot read or create the secrets that all nodes share: {0}")]
    Shared(#[from] OpenError),
    /// An edge lacks a key that it shares with the nodes.
    #[error("roles: an edge needs the deployment's keys: {0}")]
    EdgeKeys(String),
    /// No server has created the secret yet.
    #[error("there is no {name} in {place}; {remedy}, or set {setting}")]
    Missing {
        /// The name of the secret.
        name: &'static str,
        /// The place where the secret is kept.
        place: String,
        /// What to do if the setting stays empty.
        remedy: &'static str,
        /// The setting that replaces the secret.
        setting: &'static str,
    },
    /// The secret does not have the format of a generated secret.
    #[error("the {name} in {place} has the wrong format or is too short; restore it from a backup")]
    Corrupt {
        /// The name of the secret.
        name: &'static str,
        /// The place where the secret is kept.
        place: String,
    },
}
