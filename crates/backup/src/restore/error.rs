//! The errors of a restore from a continuous backup.

use doorbuster_secrets::SecretsError;
use doorbuster_store::RestoreError;

use crate::target::PlaceError;

/// Why a continuous backup was not restored. A failed restore leaves no new store in the directory.
#[derive(Debug, thiserror::Error)]
pub enum ContinuousRestoreError {
    /// The backup's directory or bucket cannot be opened.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An object cannot be read.
    #[error("cannot read {object} of the backup: {reason}")]
    Unreadable {
        /// The object.
        object: String,
        /// The reason.
        reason: String,
    },
    /// A segment is damaged or missing. The base and all needed earlier segments were read, so the
    /// state before this segment can be restored.
    #[error(
        "cannot read {object} of the backup: {reason}; to restore the last state before this \
         object, add --until {until}"
    )]
    Damaged {
        /// The segment.
        object: String,
        /// The reason.
        reason: String,
        /// The time of the last state before the segment.
        until: jiff::Timestamp,
    },
    /// No base of the backup can be used.
    #[error("the backup has no state that can be restored: {0}")]
    AllDamaged(String),
    /// The backup contains no state at or before the chosen time.
    #[error(
        "{place} contains no continuous backup at or before the requested time{}",
        .earliest.map_or_else(String::new, |at| format!("; the earliest time for --until is {at}"))
    )]
    Nothing {
        /// The backup's directory or bucket.
        place: String,
        /// The time of the oldest state of the backup.
        earliest: Option<jiff::Timestamp>,
    },
    /// The newest state belongs to another store than an older state, and no time was chosen.
    #[error(
        "the backup contains two stores: the newest generation {newest} belongs to another store \
         than the generation {older}; to restore the store of {older}, add --until {until}; to \
         restore the store of {newest}, add --until {now}"
    )]
    OtherStore {
        /// The newest generation.
        newest: String,
        /// The newest generation of the older store.
        older: String,
        /// The time just before the first generation of the newer store.
        until: jiff::Timestamp,
        /// The present time.
        now: jiff::Timestamp,
    },
    /// At least one base of the backup is encrypted, and there is no passphrase.
    #[error("the backup is encrypted, and needs its passphrase")]
    Encrypted,
    /// A passphrase was given, but the newest state is not encrypted. Another person may have added
    /// this state.
    #[error(
        "you gave a passphrase, but {0} of the backup is not encrypted; if you trust the backup, \
         restore it without a passphrase; if the backup also has encrypted parts, first move \
         these parts away"
    )]
    NotEncrypted(String),
    /// The passphrase is not the passphrase of the newest state.
    #[error(
        "the passphrase is wrong for {object} of the backup; to restore an earlier state with an \
         earlier passphrase, add --until with a time before {before}"
    )]
    WrongPassphrase {
        /// The description of the newest state.
        object: String,
        /// When the generation of this state began.
        before: jiff::Timestamp,
    },
    /// Other users can write to the directory, so a server would refuse to start with this
    /// directory.
    #[error(transparent)]
    Directory(#[from] SecretsError),
    /// The rebuilt store cannot be written.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}
