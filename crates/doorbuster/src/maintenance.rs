//! `backup`, `restore` and `migrate`: maintenance of a store without a server.

use anyhow::Context;
use doorbuster_server::config::Settings;
use doorbuster_server::maintenance;
use serde_json::json;

use crate::cli::{BackupArgs, MigrateArgs, RestoreArgs};
use crate::exit::{Failure, Outcome};
use crate::{client, config, print};

/// Runs `backup`.
pub fn backup(args: &BackupArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    expect_embedded(&settings, "copy it")?;
    maintenance::backup(&settings, &args.file).context("cannot make the backup")?;
    print::line(&format!(
        "{} is copied to {}, with its generated secrets.",
        settings.data_dir.display(),
        args.file.display()
    ))
}

fn expect_embedded(settings: &Settings, verb: &str) -> Result<(), Failure> {
    if settings.roles.edge {
        return Err(Failure::Settings("roles: an edge has no store".to_owned()));
    }
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
    let restored = maintenance::restore(&settings, &args.file)
        .context("cannot restore the backup; nothing was written")?;
    let backup_at = jiff::Timestamp::from_millisecond(restored.backup_at.0)
        .context("the backup names no valid time")?;
    let dir = settings.data_dir.display();
    if args.json {
        let paused = restored.paused.iter();
        let sales: Vec<_> =
            paused.map(|sale| json!({"sale": sale.sale, "was": sale.was.as_str()})).collect();
        return print::json(&json!({
            "data_dir": dir.to_string(), "backup_at": backup_at.to_string(), "paused": sales,
            "files": restored.files,
        }));
    }
    let mut text = format!(
        "{} is restored to {dir}. The backup was made at {backup_at}.\n",
        args.file.display()
    );
    for sale in &restored.paused {
        text += &format!("Sale {} was {} and is paused.\n", sale.sale, sale.was.as_str());
    }
    text += "Orders, payments and events after the backup are missing. Compare with the payment \
             provider and\nthe shop's records. Then resume each sale: doorbuster sale resume SALE\n";
    print::text(&text)
}

/// Runs `migrate`.
pub fn migrate(args: &MigrateArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    client::block_on(async {
        Ok(maintenance::migrate(&settings).await.context("cannot migrate the store")?)
    })?;
    let place = match settings.shape.store() {
        Some(_) => "PostgreSQL".to_owned(),
        None => settings.data_dir.display().to_string(),
    };
    print::line(&format!("The store in {place} has this program's schema."))
}
