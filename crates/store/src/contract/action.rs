//! Operators' actions. Each action is one row. The transaction that makes the operator's change
//! writes the row.
use serde_json::Value;

use doorbuster_core::Millis;

/// A change of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// A JSON pointer (RFC 6901) to the field, such as `/items/phone/limit_per_buyer`.
    pub path: String,
    /// The value before the change. It is null if the field had no value.
    pub from: Value,
    /// The value after the change. It is null if the field has no value.
    pub to: Value,
}

impl FieldChange {
    /// Describes the change of a field that had no value before.
    #[must_use]
    pub fn set(path: &str, to: impl Into<Value>) -> Self {
        Self { path: path.to_owned(), from: Value::Null, to: to.into() }
    }
}

/// An action to record: the author and the name of a change. The transaction that makes the change
/// adds the changed fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAction {
    /// The id of the operator's key, the id of a person who signed in, or the name of a part of the
    /// program.
    pub by: String,
    /// The action, such as `sale.opened`.
    pub action: String,
    /// The subject, such as `sale:spring`.
    pub subject: String,
    /// Fields that the transaction cannot find in the changed rows, such as the operator's reason.
    /// The caller gives these fields.
    pub changes: Vec<FieldChange>,
    /// The address of the client.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

impl NewAction {
    /// Returns an action of the program itself, with its reason.
    #[must_use]
    pub fn by_engine(action: &str, subject: String, reason: &str) -> Self {
        Self {
            by: "engine".to_owned(),
            action: action.to_owned(),
            subject,
            changes: vec![FieldChange::set("/reason", reason)],
            address: None,
            request_id: None,
        }
    }
}

/// A recorded action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRow {
    /// The number of the row; newer rows have larger numbers.
    pub seq: i64,
    /// When the change was made.
    pub at: Millis,
    /// The action.
    pub action: NewAction,
}

/// A filter for a list of actions. A field with `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionQuery {
    /// Only actions of this operator.
    pub by: Option<String>,
    /// Only actions with this name, such as `sale.opened`.
    pub action: Option<String>,
    /// Only actions on this subject.
    pub subject: Option<String>,
    /// Continue after this position (from [`crate::Page::next`]).
    pub after: Option<i64>,
    /// True if the oldest actions come first. Otherwise the newest actions come first.
    pub oldest_first: bool,
    /// The largest number of actions in the page.
    pub limit: usize,
}
