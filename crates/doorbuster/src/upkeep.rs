//! `backup` and `migrate`: what is done to the store of a data directory without a server.

use anyhow::Context;
use doorbuster_server::upkeep;

use crate::cli::{BackupArgs, MigrateArgs};
use crate::exit::Outcome;
use crate::{client, config, print};

/// Runs `backup`.
pub fn backup(args: &BackupArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    upkeep::backup(&settings, &args.file).context("there is no backup")?;
    print::line(&format!("{} is copied to {}.", settings.data_dir.display(), args.file.display()))
}

/// Runs `migrate`.
pub fn migrate(args: &MigrateArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    client::block_on(async { Ok(upkeep::migrate(&settings).await.context("nothing is migrated")?) })?;
    print::line(&format!("The store in {} is as this program wants it.", settings.data_dir.display()))
}
