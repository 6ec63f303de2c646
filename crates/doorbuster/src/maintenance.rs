//! `backup` and `migrate`: maintenance of a store without a server.

use anyhow::Context;
use doorbuster_server::maintenance;

use crate::cli::{BackupArgs, MigrateArgs};
use crate::exit::{Failure, Outcome};
use crate::{client, config, print};

/// Runs `backup`.
pub fn backup(args: &BackupArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    if settings.shape.store().is_some() {
        let text = "shape: the store of this deployment is PostgreSQL; copy it with PostgreSQL's \
                    tools: pg_dump for one consistent copy, pg_basebackup and its log for \
                    recovery to any moment";
        return Err(Failure::Settings(text.into()));
    }
    maintenance::backup(&settings, &args.file).context("cannot make the backup")?;
    print::line(&format!("{} is copied to {}.", settings.data_dir.display(), args.file.display()))
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
