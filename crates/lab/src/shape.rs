//! The shapes of the product that the lab runs.

/// A shape of the product. The shape says where the product keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One process and a data directory.
    Embedded,
    /// Two nodes and PostgreSQL.
    Postgres,
    /// Two nodes, PostgreSQL and Redis.
    Cluster,
}

impl Shape {
    /// Returns a description of this shape. It has the same sections as the header of a strategy's
    /// source file, so the report can quote it in the same way.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Embedded => include_str!("product/embedded.txt"),
            Self::Postgres => include_str!("product/postgres.txt"),
            Self::Cluster => include_str!("product/cluster.txt"),
        }
    }
}
