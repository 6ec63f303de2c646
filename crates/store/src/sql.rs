//! Statements, parameters and rows that are the same for SQLite and PostgreSQL.
//!
//! Both databases understand parameters with the names `$1`, `$2` and so on. `CAST(… AS bigint)` is
//! needed around a sum, and around a parameter whose type PostgreSQL cannot know, as in `CAST($1 AS
//! text) IS NULL`.
use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use rusqlite::types::{FromSql as FromSqlite, ToSql as ToSqlite, ToSqlOutput, ValueRef};
use tokio_postgres::types::{FromSqlOwned, IsNull, ToSql as ToPostgres, Type, to_sql_checked};

use doorbuster_core::{BuyerId, GrantId, ItemId, Millis, NodeId, TicketId, TicketN};

use crate::failure::{Done, Failure};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Statement {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

pub(crate) const fn statement(text: &'static str) -> Statement {
    Statement { sqlite: text, postgres: text }
}

/// Makes a statement that locks the rows that it reads. SQLite needs no lock, because it has only
/// one writer.
macro_rules! locking {
    ($text:expr, $lock:literal) => {
        $crate::sql::Statement { sqlite: $text, postgres: concat!($text, " ", $lock) }
    };
}
pub(crate) use locking;

/// Makes a statement with one part that differs between the databases: `sqlite | postgres`. For
/// example, SQLite uses a partial index `WHERE open = 1` only if the statement contains the
/// condition `open = 1`.
macro_rules! dialects {
    ($before:expr, $sqlite:literal | $postgres:literal, $after:expr) => {
        $crate::sql::Statement {
            sqlite: concat!($before, $sqlite, $after),
            postgres: concat!($before, $postgres, $after),
        }
    };
}
pub(crate) use dialects;

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Bool(bool),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// A list of numbers. SQLite gets the list as JSON, for `IN (SELECT value FROM json_each($1))`.
    /// PostgreSQL gets an array, for `= ANY($1)`.
    Ints(Vec<i64>),
    /// A list of texts, like [`Value::Ints`].
    Texts(Vec<String>),
}

macro_rules! values {
    ($($value:expr),* $(,)?) => {
        [$($crate::sql::Value::from($value)),*]
    };
}
pub(crate) use values;

impl ToSqlite for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let json = |list| Ok(ToSqlOutput::Owned(rusqlite::types::Value::Text(list)));
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Ints(list) => return json(serde_json::json!(list).to_string()),
            Self::Texts(list) => return json(serde_json::json!(list).to_string()),
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Bool(yes) => ValueRef::Integer(i64::from(*yes)),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToPostgres for Value<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) if *ty == Type::INT4 => {
                i32::try_from(*number)?.to_sql_checked(ty, out)
            }
            Self::Int(number) => number.to_sql_checked(ty, out),
            Self::Bool(yes) => yes.to_sql_checked(ty, out),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.as_ref().to_sql_checked(ty, out),
            Self::Ints(list) => list.to_sql_checked(ty, out),
            Self::Texts(list) => list.to_sql_checked(ty, out),
        }
    }

    /// Accepts every type, because the type is checked when the value is sent.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

pub(crate) fn postgres_params<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn ToPostgres + Sync)> {
    values.iter().map(|value| value as _).collect()
}

/// Converts a number to the type of a column. Every valid number is below 2^63. A larger number
/// comes from damaged data, and is converted without a change of its bits.
pub(crate) fn to_i64(number: u64) -> i64 {
    number.cast_signed()
}

pub(crate) fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

macro_rules! value_from {
    ($($type:ty: $value:ident => $made:expr;)*) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Self {
                $made
            }
        })*
    };
}
value_from! {
    i64: number => Self::Int(number);
    u32: number => Self::Int(i64::from(number));
    u64: number => Self::Int(to_i64(number));
    bool: yes => Self::Bool(yes);
    &'a str: text => Self::Text(Cow::Borrowed(text));
    &'a String: text => Self::Text(Cow::Borrowed(text));
    String: text => Self::Text(Cow::Owned(text));
    Cow<'a, str>: text => Self::Text(text);
    &'a [u8]: bytes => Self::Bytes(Cow::Borrowed(bytes));
    Vec<u8>: bytes => Self::Bytes(Cow::Owned(bytes));
    Millis: time => Self::Int(time.0);
    ItemId: id => Self::Int(id.0);
    GrantId: id => Self::Int(to_i64(id.0));
    TicketN: n => Self::Int(to_i64(n.0));
    NodeId: node => Self::Int(i64::from(node.0));
    Vec<i64>: list => Self::Ints(list);
    Vec<String>: list => Self::Texts(list);
    &[ItemId]: items => Self::Ints(items.iter().map(|item| item.0).collect());
    &'a BuyerId: buyer => Self::Text(Cow::Borrowed(buyer.as_str()));
    TicketId: id => Self::Text(Cow::Owned(id.to_string()));
    &TicketId: id => Self::Text(Cow::Owned(id.to_string()));
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

impl<'r> From<&'r rusqlite::Row<'_>> for Row<'r> {
    fn from(row: &'r rusqlite::Row<'_>) -> Self {
        Self::Sqlite(row)
    }
}

impl<'r> From<&'r tokio_postgres::Row> for Row<'r> {
    fn from(row: &'r tokio_postgres::Row) -> Self {
        Self::Postgres(row)
    }
}

pub(crate) fn bad_row(what: &str) -> Failure {
    Failure::Row(format!("row contains an invalid {what}"))
}

/// Reads the row's columns by their positions, which begin with 0.
impl<'r> Row<'r> {
    pub(crate) fn get<T: FromSqlite + FromSqlOwned>(self, at: usize) -> Done<T> {
        Ok(match self {
            Self::Sqlite(row) => row.get(at)?,
            Self::Postgres(row) => row.try_get(at)?,
        })
    }

    pub(crate) fn text(self, at: usize, what: &str) -> Done<&'r str> {
        self.text_opt(at, what)?.ok_or_else(|| bad_row(what))
    }

    pub(crate) fn text_opt(self, at: usize, what: &str) -> Done<Option<&'r str>> {
        match self {
            Self::Sqlite(row) => row.get_ref(at)?.as_str_or_null().map_err(|_| bad_row(what)),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    pub(crate) fn bytes(self, at: usize, what: &str) -> Done<[u8; 32]> {
        self.bytes_opt(at, what)?.ok_or_else(|| bad_row(what))
    }

    pub(crate) fn bytes_opt(self, at: usize, what: &str) -> Done<Option<[u8; 32]>> {
        let bytes = match self {
            Self::Sqlite(row) => row.get_ref(at)?.as_blob_or_null().map_err(|_| bad_row(what))?,
            Self::Postgres(row) => row.try_get(at)?,
        };
        bytes.map(|bytes| bytes.try_into().map_err(|_| bad_row(what))).transpose()
    }

    /// Reads an array of texts. Only PostgreSQL has arrays.
    pub(crate) fn texts(self, at: usize) -> Done<Vec<String>> {
        match self {
            Self::Sqlite(_) => Err(bad_row("array")),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    pub(crate) fn number(self, at: usize) -> Done<u64> {
        Ok(self.get::<i64>(at)?.cast_unsigned())
    }

    pub(crate) fn number_opt(self, at: usize) -> Done<Option<u64>> {
        Ok(self.get::<Option<i64>>(at)?.map(i64::cast_unsigned))
    }

    pub(crate) fn number_u32(self, at: usize, what: &str) -> Done<u32> {
        u32::try_from(self.get::<i64>(at)?).map_err(|_| bad_row(what))
    }

    pub(crate) fn time(self, at: usize) -> Done<Option<Millis>> {
        Ok(self.get::<Option<i64>>(at)?.map(Millis))
    }

    pub(crate) fn parse<T>(
        self,
        at: usize,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Done<T> {
        parse(self.text(at, what)?).ok_or_else(|| bad_row(what))
    }

    pub(crate) fn parse_opt<T>(
        self,
        at: usize,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Done<Option<T>> {
        match self.text_opt(at, what)? {
            Some(text) => parse(text).ok_or_else(|| bad_row(what)).map(Some),
            None => Ok(None),
        }
    }
}
