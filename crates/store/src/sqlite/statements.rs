//! Prepared statements. They are kept as long as their connection, and found by the address of
//! their text.
use rusqlite::{CachedStatement, Connection, Params, Row, Statement};

use super::failure::Failure;

/// The statements of one connection.
///
/// A statement's text is a constant, so its address identifies it, and no lookup hashes the text.
pub(super) struct Statements<'c> {
    conn: &'c Connection,
    cached: Vec<(*const str, CachedStatement<'c>)>,
}

impl<'c> Statements<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, cached: Vec::new() }
    }

    pub(super) fn conn(&self) -> &'c Connection {
        self.conn
    }

    fn get(&mut self, sql: &'static str) -> Result<&mut Statement<'c>, Failure> {
        let at = match self.cached.iter().position(|(text, _)| std::ptr::eq(*text, sql)) {
            Some(at) => at,
            None => {
                self.cached.push((sql, self.conn.prepare_cached(sql)?));
                self.cached.len() - 1
            }
        };
        Ok(&mut self.cached[at].1)
    }

    /// Runs a statement and returns the number of changed rows.
    pub(super) fn run(&mut self, sql: &'static str, params: impl Params) -> Result<usize, Failure> {
        Ok(self.get(sql)?.execute(params)?)
    }

    /// Returns the first row.
    pub(super) fn one<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let mut rows = self.get(sql)?.query(params)?;
        rows.next()?.map(read).transpose()
    }

    /// Returns every row.
    pub(super) fn all<T>(
        &mut self,
        sql: &'static str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let mut rows = self.get(sql)?.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row)?);
        }
        Ok(all)
    }
}
