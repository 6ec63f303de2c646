//! Prepared statements, which live as long as their connection.
use rusqlite::{CachedStatement, Connection, Params, Rows, Statement};

use crate::failure::{Done, Failure};
use crate::sql::{Row, Value};

/// The prepared statements of one connection. Each text is a constant, so the address of the text
/// identifies the statement, and a lookup does not hash the text.
pub(crate) struct Statements<'c> {
    conn: &'c Connection,
    cached: Vec<Prepared<'c>>,
}

struct Prepared<'c> {
    text: *const str,
    statement: CachedStatement<'c>,
    /// For each parameter, the number in its name, such as 2 for `$2`. The list has the order in
    /// which the text first names the parameters, because SQLite counts parameters in this order.
    numbers: Vec<usize>,
}

impl<'c> Statements<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, cached: Vec::new() }
    }

    pub(super) fn conn(&self) -> &'c Connection {
        self.conn
    }

    fn prepared(&mut self, sql: &'static str) -> Done<&mut Prepared<'c>> {
        let at = match self.cached.iter().position(|known| std::ptr::eq(known.text, sql)) {
            Some(at) => at,
            None => {
                let statement = self.conn.prepare_cached(sql)?;
                let numbers = parameter_numbers(&statement);
                self.cached.push(Prepared { text: sql, statement, numbers });
                self.cached.len() - 1
            }
        };
        Ok(&mut self.cached[at])
    }

    fn get(&mut self, sql: &'static str) -> Done<&mut Statement<'c>> {
        Ok(&mut self.prepared(sql)?.statement)
    }

    pub(crate) fn run(&mut self, sql: &'static str, params: impl Params) -> Done<usize> {
        Ok(self.get(sql)?.execute(params)?)
    }

    pub(super) fn one<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> Done<T>,
    ) -> Done<Option<T>> {
        let mut rows = self.get(sql)?.query(params)?;
        rows.next()?.map(|row| read(row.into())).transpose()
    }

    pub(super) fn all<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        read_rows(self.get(sql)?.query(params)?, read)
    }
}

/// Runs the statements of operations that work on either database.
impl<'c> Statements<'c> {
    pub(crate) fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Done<u64> {
        Ok(self.bind(sql, values)?.raw_execute()? as u64)
    }

    pub(crate) fn first<T>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl FnOnce(Row<'_>) -> Done<T>,
    ) -> Done<Option<T>> {
        let mut rows = self.bind(sql, values)?.raw_query();
        rows.next()?.map(|row| read(row.into())).transpose()
    }

    pub(crate) fn query<T>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        read: impl FnMut(Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        read_rows(self.bind(sql, values)?.raw_query(), read)
    }

    /// Returns every row of a statement whose text is not a constant.
    pub(crate) fn query_text<T>(
        &mut self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let numbers = parameter_numbers(&statement);
        bind(&mut statement, &numbers, values)?;
        read_rows(statement.raw_query(), read)
    }

    fn bind(&mut self, sql: &'static str, values: &[Value<'_>]) -> Done<&mut Statement<'c>> {
        let prepared = self.prepared(sql)?;
        bind(&mut prepared.statement, &prepared.numbers, values)?;
        Ok(&mut prepared.statement)
    }
}

/// Returns the number in the name of each parameter, such as 2 for `$2` and for `?2`.
fn parameter_numbers(statement: &Statement<'_>) -> Vec<usize> {
    let number = |at| statement.parameter_name(at)?.get(1..)?.parse().ok();
    (1..=statement.parameter_count()).map(|at| number(at).unwrap_or(at)).collect()
}

fn bind(statement: &mut Statement<'_>, numbers: &[usize], values: &[Value<'_>]) -> Done<()> {
    for (at, number) in numbers.iter().enumerate() {
        let value = number.checked_sub(1).and_then(|place| values.get(place));
        let value =
            value.ok_or_else(|| Failure::Row(format!("a statement has no value for ${number}")))?;
        statement.raw_bind_parameter(at + 1, value)?;
    }
    Ok(())
}

fn read_rows<T>(mut rows: Rows<'_>, mut read: impl FnMut(Row<'_>) -> Done<T>) -> Done<Vec<T>> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row.into())?);
    }
    Ok(all)
}
