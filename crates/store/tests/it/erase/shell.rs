//! A SQL shell that shows the content of a store.
use std::collections::BTreeSet;

use crate::cluster;
use crate::fixture::Dir;

/// An SQL shell.
pub enum Shell {
    Sqlite(Dir),
    Postgres(String),
}

impl Shell {
    /// Runs a query, and returns the first column of every row.
    pub fn ask(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite(dir) => {
                let shell = dir.shell();
                let mut statement = shell.prepare(sql).expect("valid SQL");
                let rows = statement.query_map([], |row| row.get(0)).expect("a query");
                rows.collect::<Result<_, _>>().expect("text")
            }
            Self::Postgres(database) => {
                let output = cluster::shared().psql(database, sql).expect("psql runs");
                output.lines().map(str::to_owned).collect()
            }
        }
    }

    /// Returns every column, as `table.column`.
    pub fn columns(&self) -> Vec<String> {
        self.ask(match self {
            Self::Sqlite(_) => {
                "SELECT m.name || '.' || c.name FROM sqlite_schema m JOIN \
                 pragma_table_info(m.name) c WHERE m.type = 'table'"
            }
            Self::Postgres(_) => {
                "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
                 JOIN information_schema.tables t USING (table_schema, table_name)
                 WHERE t.table_type = 'BASE TABLE' AND t.table_schema NOT IN ('pg_catalog',
                 'information_schema')"
            }
        })
    }

    /// Returns the columns that contain this text, whatever their type is.
    pub fn holding(&self, text: &str) -> BTreeSet<String> {
        let holds = |column: &String| {
            let (table, name) = column.split_once('.').expect("table.column");
            let found = match self {
                Self::Sqlite(_) => format!("instr(CAST(\"{name}\" AS TEXT), '{text}') > 0"),
                Self::Postgres(_) => format!(
                    "position('{text}' IN \"{name}\"::text) > 0 OR position(encode('{text}', \
                     'hex') IN \"{name}\"::text) > 0"
                ),
            };
            format!("SELECT '{column}' WHERE EXISTS (SELECT 1 FROM \"{table}\" WHERE {found})")
        };
        let each: Vec<String> = self.columns().iter().map(holds).collect();
        assert!(each.len() > 100, "the database's catalogue must list the columns: {each:?}");
        each.chunks(50).flat_map(|some| self.ask(&some.join(" UNION ALL "))).collect()
    }

    /// Makes the database refuse a ticket with this many units. PostgreSQL's error message contains
    /// the refused row.
    pub fn poison(&self, units: u32) {
        match self {
            Self::Sqlite(dir) => {
                let sql = format!(
                    "CREATE TRIGGER poison BEFORE INSERT ON orders WHEN NEW.units = {units} BEGIN \
                     SELECT raise(ABORT, 'poison'); END"
                );
                dir.shell().execute_batch(&sql).expect("a trigger");
            }
            Self::Postgres(_) => {
                self.ask(&format!(
                    "ALTER TABLE orders ADD CONSTRAINT poison CHECK (units <> {units})"
                ));
            }
        }
    }
}
