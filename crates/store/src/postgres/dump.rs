//! Reads whole tables into a [`Model`]. Tests compare the result with a `Model` that the functions
//! of `doorbuster-core` changed in memory.
use tokio_postgres::Client;

use doorbuster_core::model::Model;

use crate::contract::StoreResult;
use crate::dump::TABLES;
use crate::failure::Done;

use super::Postgres;
use super::check::snapshot;

impl Postgres {
    pub(crate) async fn dump(&self) -> StoreResult<Model> {
        let shared = self.shared();
        shared.state.check_accepting()?;
        snapshot(shared, dump).await.map_err(|failure| shared.state.store_error(failure))
    }
}

async fn dump(client: &Client) -> Done<Model> {
    let mut model = Model::default();
    for table in TABLES {
        for row in client.query(table.sql, &[]).await? {
            (table.add)(&mut model, (&row).into())?;
        }
    }
    Ok(model)
}
