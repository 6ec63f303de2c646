//! `backup`, `restore` and `migrate`: maintenance of a store without a server.

use anyhow::Context;
use doorbuster_backup::{BackupPlace, ContinuousRestoreError, RestoredCopy};
use doorbuster_config::Settings;
use doorbuster_node::maintenance::{
    self, DecryptionError, MigrateError, RestoreFileError, TemporaryDirs,
};
use secrecy::SecretString;
use serde_json::json;

use crate::cli::{BackupArgs, MigrateArgs, RestoreArgs};
use crate::exit::{Failure, Outcome};
use crate::{client, config, passphrase, print, signals};

/// Runs `backup`.
pub fn backup(args: &BackupArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    expect_embedded(&settings, "copy it")?;
    if !args.encrypt && args.passphrase.passphrase_file.is_some() {
        return Err(Failure::Settings("--passphrase-file: add --encrypt".to_owned()));
    }
    let passphrase = args.encrypt.then(|| passphrase::read_new(&args.passphrase)).transpose()?;
    let temporary = temporary_dirs()?;
    maintenance::backup(&settings, &args.file, passphrase.as_ref(), &temporary)
        .context("cannot make the backup")?;
    if args.json {
        return print::json(&json!({
            "file": args.file.display().to_string(),
            "data_dir": settings.data_dir.display().to_string(),
            "secrets": true,
            "encrypted": args.encrypt,
        }));
    }
    print::line(&format!(
        "copied {} and its generated secrets to {}{}",
        settings.data_dir.display(),
        args.file.display(),
        if args.encrypt { " (encrypted)" } else { "" }
    ))
}

/// Returns the list of this process's temporary directories. When a signal arrives, the process
/// removes these directories and ends.
fn temporary_dirs() -> Result<TemporaryDirs, Failure> {
    let dirs = TemporaryDirs::default();
    let removed = dirs.clone();
    signals::clean_up_on_signal(move || removed.remove_all())?;
    Ok(dirs)
}

fn expect_store(settings: &Settings) -> Result<(), Failure> {
    match settings.roles.edge {
        true => Err(Failure::Settings("roles: an edge has no store".to_owned())),
        false => Ok(()),
    }
}

fn expect_embedded(settings: &Settings, verb: &str) -> Result<(), Failure> {
    expect_store(settings)?;
    match settings.shape.store() {
        Some(_) => Err(Failure::Settings(format!(
            "shape: the store of this deployment is PostgreSQL; {verb} with PostgreSQL's tools: \
             pg_dump for one consistent copy, or pg_basebackup with archived WAL for recovery to \
             any moment"
        ))),
        None => Ok(()),
    }
}

/// Runs `restore`.
pub fn restore(args: &RestoreArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    expect_embedded(&settings, "restore it")?;
    let RestoredCopy { restored, skipped } = write_store(args, &settings)?;
    let backup_at = jiff::Timestamp::from_millisecond(restored.backup_at.0)
        .context("the backup contains no valid time")?;
    let dir = settings.data_dir.display();
    if args.json {
        let paused = restored.paused.iter();
        let sales: Vec<_> =
            paused.map(|sale| json!({"sale": sale.sale, "was": sale.was.as_str()})).collect();
        return print::json(&json!({
            "data_dir": dir.to_string(), "backup_at": backup_at.to_string(), "paused": sales,
            "files": restored.files, "skipped": skipped,
        }));
    }
    let mut text = format!(
        "{} is restored to {dir}. The backup was made at {backup_at}.\n",
        args.file.display()
    );
    for sale in &restored.paused {
        text += &format!("Sale {} was {} and is paused.\n", sale.sale, sale.was.as_str());
    }
    text += AFTER_RESTORE;
    print::text(&text)
}

const AFTER_RESTORE: &str = "\
Orders, payments and events after the backup are missing. Start the server. Write the restored
orders and payments to files, and compare the files with the payment provider's dashboard and the
shop's records:
  doorbuster csv orders --output orders.csv
  doorbuster csv payments --output payments.csv
  doorbuster reconcile
For each missing order, lower the stock: doorbuster sale adjust SALE ITEM -UNITS --reason TEXT
Then resume each sale: doorbuster sale resume SALE
docs/how-to/back-up-and-restore.md describes each step.
";

const NOTHING: &str = "cannot restore the backup; nothing was written";

fn write_store(args: &RestoreArgs, settings: &Settings) -> Result<RestoredCopy, Failure> {
    let text = args.file.to_string_lossy();
    if args.file.is_dir() || text.contains("://") {
        let place = BackupPlace::parse(&text);
        let place = place.map_err(|error| Failure::Settings(format!("{text}: {error}")))?;
        return restore_continuous(args, settings, &place);
    }
    if args.until.is_some() {
        let text = format!("--until: {text} is a file with only one state; leave out --until");
        return Err(Failure::Settings(text));
    }
    let is_encrypted = maintenance::is_encrypted(&args.file)
        .with_context(|| format!("cannot read {text}"))
        .context(NOTHING)?;
    let passphrase = match is_encrypted {
        true => Some(passphrase::read(&args.passphrase)?),
        false if passphrase::given(&args.passphrase)?.is_none() => None,
        // Another person may have replaced the encrypted backup by a backup without encryption.
        false => {
            return Err(Failure::Settings(format!(
                "you gave a passphrase, but {text} is not encrypted; if you trust the backup, \
                 restore it without a passphrase; nothing was written"
            )));
        }
    };
    let temporary = temporary_dirs()?;
    match maintenance::restore(settings, &args.file, passphrase.as_ref(), &temporary) {
        Err(RestoreFileError::Decryption(error @ DecryptionError::WrongPassphrase)) => {
            Err(Failure::Settings(format!("{text}: {error}; nothing was written")))
        }
        Err(RestoreFileError::Directory(error)) => {
            Err(Failure::Settings(format!("{error}; nothing was written")))
        }
        restored => Ok(RestoredCopy { restored: restored.context(NOTHING)?, skipped: Vec::new() }),
    }
}

fn restore_continuous(
    args: &RestoreArgs,
    settings: &Settings,
    place: &BackupPlace,
) -> Result<RestoredCopy, Failure> {
    let text = args.file.to_string_lossy();
    let given = passphrase::given(&args.passphrase)?;
    let temporary = temporary_dirs()?;
    let restore = |passphrase: Option<&SecretString>| {
        client::block_on(async {
            let until = args.until;
            Ok(maintenance::restore_continuous(settings, place, until, passphrase, &temporary)
                .await)
        })
    };
    let mut restored = restore(given.as_ref())?;
    if matches!(restored, Err(ContinuousRestoreError::Encrypted)) {
        restored = restore(Some(&passphrase::read(&args.passphrase)?))?;
    }
    match restored {
        Err(
            error @ (ContinuousRestoreError::WrongPassphrase { .. }
            | ContinuousRestoreError::NotEncrypted(_)),
        ) => Err(Failure::Settings(format!("{text}: {error}; nothing was written"))),
        Err(ContinuousRestoreError::Directory(error)) => {
            Err(Failure::Settings(format!("{error}; nothing was written")))
        }
        restored => {
            let copy = restored.context(NOTHING)?;
            for reason in &copy.skipped {
                print::note(&format!("doorbuster: {reason}; using an older copy of the store"));
            }
            Ok(copy)
        }
    }
}

/// Runs `migrate`.
pub fn migrate(args: &MigrateArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    expect_store(&settings)?;
    client::block_on(async {
        match maintenance::migrate(&settings).await {
            Err(MigrateError::Secrets(error)) => Err(Failure::Settings(error.to_string())),
            migrated => Ok(migrated.context("cannot migrate the store")?),
        }
    })?;
    let place = match settings.shape.store() {
        Some(_) => "PostgreSQL".to_owned(),
        None => settings.data_dir.display().to_string(),
    };
    if args.json {
        return print::json(&json!({ "store": place }));
    }
    print::line(&format!("The store in {place} has this program's schema."))
}
