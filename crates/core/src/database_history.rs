//! Decides which database a deployment may use after a failover.
//!
//! Each database stores its own history. When another server begins to run the database, the
//! deployment adds a row with a higher fencing number and a random token. The deployment remembers
//! the newest row that any of its nodes used. If a database lacks this newest row, the database has
//! forked, or lacks changes whose results buyers have already seen.
//!
//! A copy of the database's files has the same rows. To recognize an old copy, a deployment also
//! remembers a position in the write-ahead log: all changes up to this position are committed. On
//! one timeline, the position never decreases, even after a crash. So a database with an earlier
//! position on the same timeline is an older copy.

use serde::{Deserialize, Serialize};

/// One row of a database's history: it records that the deployment began to use the database on
/// another server. Each node also keeps the newest row in a JSON file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseHistory {
    /// The fencing number. Each new row has a higher number.
    pub fence: i64,
    /// A random token. It distinguishes two rows with the same fencing number.
    pub token: String,
    /// The id of the database cluster; empty if it is unknown.
    pub system_id: String,
    /// The timeline of the database cluster.
    pub timeline: i64,
    /// A position in the write-ahead log of this timeline, in bytes. All changes before this
    /// position are committed. 0 if no position is known.
    #[serde(default)]
    pub position: i64,
}

impl DatabaseHistory {
    fn is_same_row(&self, other: &Self) -> bool {
        self.fence == other.fence && self.token == other.token
    }
}

/// The state of a database, read through a new connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDatabase {
    /// The database cluster.
    pub system_id: String,
    /// The present timeline of the database cluster.
    pub timeline: i64,
    /// The present position in the write-ahead log, in bytes.
    pub position: i64,
    /// The rows of the database's history, newest first. Empty if no deployment has used the
    /// database.
    pub rows: Vec<DatabaseHistory>,
    /// True if the newest row was not written in this database, but came here with a dump. A
    /// physical copy of a database counts as the same database.
    pub is_from_dump: bool,
}

impl SeenDatabase {
    /// Returns the newest row of the database's history.
    #[must_use]
    pub fn newest(&self) -> Option<&DatabaseHistory> {
        self.rows.first()
    }

    /// Returns a sort key for a list of databases. The database with the newest history has the
    /// highest key.
    #[must_use]
    pub fn age_key(&self) -> (i64, i64) {
        (self.newest().map_or(0, |newest| newest.fence), self.timeline)
    }
}

/// The reason for a new row in a database's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryChange {
    /// A standby became the primary.
    Promoted,
    /// The rows were written in another database. For example, a dump was restored.
    Moved,
}

/// A deployment's decision about a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseDecision {
    /// Use the database.
    Accept,
    /// Add a row to the database's history, then use the database.
    Register(HistoryChange),
    /// Refuse the database, because it is too old. Its history ends before the row that the
    /// deployment knows, or its timeline is earlier than the timeline in that row or in the
    /// database's newest row.
    Older,
    /// Refuse the database: it lacks commits that the deployment has already seen, so the database
    /// is a copy of older files.
    OlderCopy,
    /// Refuse the database: its history lacks the row that the deployment knows, but has another
    /// row with the same or a higher fencing number.
    Forked,
}

/// Decides whether a deployment that knows the row `known` may use this database.
#[must_use]
pub fn decide(known: Option<&DatabaseHistory>, seen: &SeenDatabase) -> DatabaseDecision {
    if let Some(known) = known
        && !seen.rows.iter().any(|row| row.is_same_row(known))
    {
        let ended_before = seen.newest().is_none_or(|newest| newest.fence < known.fence);
        return if ended_before { DatabaseDecision::Older } else { DatabaseDecision::Forked };
    }
    let Some(newest) = seen.newest() else { return DatabaseDecision::Accept };
    let went_back =
        |row: &DatabaseHistory| row.system_id == seen.system_id && row.timeline > seen.timeline;
    if went_back(newest) || known.is_some_and(went_back) {
        return DatabaseDecision::Older;
    }
    if newest.system_id != seen.system_id || seen.is_from_dump {
        return DatabaseDecision::Register(HistoryChange::Moved);
    }
    if newest.timeline == seen.timeline && lacks_commits(known, seen) {
        return DatabaseDecision::OlderCopy;
    }
    match newest.timeline == seen.timeline {
        true => DatabaseDecision::Accept,
        false => DatabaseDecision::Register(HistoryChange::Promoted),
    }
}

/// Returns whether the open sales must be paused after this change, because the database may lack
/// commits that were confirmed to clients. If each commit waited for a standby (`was_synchronous`),
/// a promoted standby has every confirmed commit.
#[must_use]
pub fn must_pause(
    change: HistoryChange,
    was_synchronous: bool,
    known: Option<&DatabaseHistory>,
    seen: &SeenDatabase,
) -> bool {
    change == HistoryChange::Moved || !was_synchronous || lacks_commits(known, seen)
}

/// Returns whether the database certainly lacks commits that this deployment confirmed. This is so
/// if the database's newest row is the known row, but the database's position in the write-ahead
/// log is before the known position.
fn lacks_commits(known: Option<&DatabaseHistory>, seen: &SeenDatabase) -> bool {
    let newest = known.zip(seen.newest());
    newest.is_some_and(|(known, newest)| {
        known.is_same_row(newest)
            && newest.system_id == seen.system_id
            && known.position > seen.position
    })
}

#[cfg(test)]
mod tests;
