//! The types of the operators' console.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::keys::Role;
use crate::body::{self, read};
use crate::limits::{ADMISSIONS_MAX, NAME_MAX};
use crate::order::{Order, WaitingOrder};
use crate::problem::Problem;
use crate::value::Time;

/// A change of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// A JSON pointer to the field.
    pub path: String,
    /// The value before the change; `null` if there was no value.
    pub from: Value,
    /// The value after the change; `null` if there is no value.
    pub to: Value,
}

/// A change by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "act_17", "at": "2026-11-20T09:00:00.000Z", "by": "key_8Qm2Zr", "action": "sale.changed",
    "subject": "sale:spring", "address": "192.0.2.7", "request_id": "req_0c9d8e7a65b10f32",
    "changes": [{"path": "/title", "from": "Spring", "to": "Spring sale"}]
})))]
pub struct Action {
    /// The action's id.
    pub id: String,
    /// When the change was made.
    pub at: Time,
    /// Who made the change: the id of an operator's key, `configured` for the configured key,
    /// `oidc:…` for a person who signed in without a key, `command` for a command on the machine,
    /// or `engine` for the server itself.
    pub by: String,
    /// The action, such as `sale.opened`.
    pub action: String,
    /// What was changed, such as `sale:spring`.
    pub subject: String,
    /// The changed fields.
    pub changes: Vec<FieldChange>,
    /// The address of the client that made the change; `null` if no request made it.
    pub address: Option<String>,
    /// The id of the request that made the change; `null` if no request made it.
    pub request_id: Option<String>,
}

/// A page of actions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionList {
    /// The actions.
    pub actions: Vec<Action>,
    /// The cursor of the next page; `null` on the last page.
    pub next_cursor: Option<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "node": "17", "roles": ["api", "settle"], "version": "0.1.0", "leader": true,
    "started_at": "2026-11-20T09:00:00.000Z", "lease_until": "2026-11-20T10:00:03.000Z",
    "lag_ms": 240, "settles": ["spring:phone:0"], "connections": 812
})))]
pub struct Node {
    /// The node's number. A node gets a new number at each start.
    pub node: String,
    /// The node's roles.
    pub roles: Vec<String>,
    /// The version of the program; `null` if the node has not reported it yet.
    pub version: Option<String>,
    /// When the node started; `null` if the node has not reported it yet.
    pub started_at: Option<Time>,
    /// When the node's lease expires; `null` in shape `embedded`, which has no leases.
    pub lease_until: Option<Time>,
    /// The time since the node's last report, in milliseconds; 0 in shape `embedded`.
    pub lag_ms: u64,
    /// Whether the node is the leader.
    pub leader: bool,
    /// The slots whose tickets the node settles.
    pub settles: Vec<String>,
    /// The number of the node's open connections.
    pub connections: u64,
}

/// The store that all nodes share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreServer {
    /// `sqlite` or `postgres`.
    pub kind: String,
    /// The version of the database.
    pub server_version: String,
    /// The number of connected synchronous standbys; `null` for SQLite, or if the database user has
    /// no permission to see standbys.
    pub synchronous_standbys: Option<u32>,
    /// The number of PostgreSQL's timeline; `null` for SQLite.
    pub timeline: Option<u64>,
}

/// A server that holds slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotServer {
    /// The server's address; `memory` if the slots are in the memory of a node.
    pub server: String,
    /// Whether this server answered the last check, which was about a second ago.
    pub up: bool,
    /// `primary` or `replica`; `memory` if the slots are in the memory of a node.
    pub role: String,
}

/// The parts of the deployment: its nodes, its store, and the servers that hold slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// The nodes whose leases have not expired.
    pub nodes: Vec<Node>,
    /// The store.
    pub store: StoreServer,
    /// The servers that hold slots.
    pub slots: Vec<SlotServer>,
}

/// The units of an item at the end of a time step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeriesItem {
    /// The item.
    pub item: String,
    /// Units that are neither held nor paid; `null` if the stock is unlimited.
    pub free: Option<u64>,
    /// Units of unpaid orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
}

/// A sale's statistics in one time step, summed over all nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesPoint {
    /// The start of the step.
    pub at: Time,
    /// Purchase requests.
    pub requests: u64,
    /// Purchase requests in the busiest second of the step. Absent if an older version of the
    /// program recorded the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub busiest_second: Option<u64>,
    /// The number of created orders. It includes orders from the waitlist, and orders whose
    /// purchase first got the response `202`.
    pub reserved: u64,
    /// Refusals, by problem code.
    pub refused: BTreeMap<String, u64>,
    /// The median time from a request's first byte to its answer, in milliseconds.
    pub p50_ms: f64,
    /// The time within which the server answered 99 of 100 requests, in milliseconds.
    pub p99_ms: f64,
    /// The units of each item.
    pub items: Vec<SeriesItem>,
    /// The number of tickets that wait for their verdicts.
    pub queue_depth: u64,
    /// The number of visitors in the waiting room.
    pub waiting: u64,
}

/// A sale's numbers over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "step_secs": 1, "from": "2026-11-20T10:00:00.000Z", "to": "2026-11-20T10:00:01.000Z",
    "points": [{
        "at": "2026-11-20T10:00:00.000Z", "requests": 5120, "busiest_second": 5120,
        "reserved": 100, "refused": {"sold_out": 5020}, "p50_ms": 1.5, "p99_ms": 20.0,
        "items": [{"item": "phone", "free": 0, "held": 100, "paid": 0}],
        "queue_depth": 0, "waiting": 0
    }]
})))]
pub struct Series {
    /// The length of a step, in seconds.
    pub step_secs: u32,
    /// The start of the time series, which is the start of the first step.
    pub from: Time,
    /// The end of the time series, which is the end of the last step.
    pub to: Time,
    /// One point for each step in which requests arrived or a number changed, oldest first.
    pub points: Vec<SeriesPoint>,
}

/// A refusal that a buyer got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuyerRefusal {
    /// When the server refused the request.
    pub at: Time,
    /// The item.
    pub item: String,
    /// The problem code.
    pub code: String,
    /// The node that refused the request.
    pub node: String,
}

/// A buyer's orders, waitlist entries and refusals in a sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuyerHistory {
    /// The buyer's orders, newest first, at most 200.
    pub orders: Vec<Order>,
    /// The buyer's waitlist entries.
    pub waitlist: Vec<WaitingOrder>,
    /// Recent refusals of the buyer's requests, newest first.
    pub refusals: Vec<BuyerRefusal>,
    /// `false` if the list `refusals` may be incomplete. For example, the list may lack the
    /// refusals of an edge, or of a node that did not answer.
    pub refusals_complete: bool,
    /// Whether an operator blocks the buyer.
    pub blocked: bool,
}

/// A page of an item's waitlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitlistList {
    /// The entries, earliest first. The first entry gets the next returned unit.
    pub entries: Vec<WaitingOrder>,
    /// The cursor of the next page; `null` on the last page.
    pub next_cursor: Option<String>,
}

/// The severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The sale cannot run.
    Error,
    /// The sale can open in spite of the problem.
    Warning,
}

/// A problem that would occur when the sale opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckProblem {
    /// The severity.
    pub severity: Severity,
    /// The kind of problem, such as `sandbox_payments`.
    pub code: String,
    /// A text for people, which describes the problem and says what to do about the problem.
    pub detail: String,
}

/// The result of the check before a sale opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "ready": true,
    "problems": [{
        "severity": "warning", "code": "sandbox_payments",
        "detail": "payments go to the sandbox; set payment.provider before a real sale"
    }]
})))]
pub struct CheckReport {
    /// `true` if no problem is an error.
    pub ready: bool,
    /// The problems, errors first.
    pub problems: Vec<CheckProblem>,
}

/// A request to sign in at the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"key": "dbk_0d7c9f5b1e3a48e2a6c4f1b09d8e7a65"})))]
pub struct NewSession {
    /// An operator's key.
    #[schema(pattern = "^[!-~]{1,256}$")]
    pub key: String,
}

impl NewSession {
    /// Reads the body of `POST /v1/admin/session`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["key"], |body| {
            let key = body.required("key", |raw, pointer, faults| {
                let text = read::string(raw, pointer, faults)?;
                let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
                let fits = is_plain && (1..=4 * NAME_MAX).contains(&text.len());
                let wrong = "must be an operator's key";
                fits.then(|| text.into_owned()).or_else(|| faults.refuse(pointer, wrong))
            });
            Some(Self { key: key? })
        })
    }
}

/// The key of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionKey {
    /// The key's id.
    pub id: String,
    /// The key's name.
    pub name: String,
}

/// The caller's session. If the request has a key instead of a session, the members describe the
/// key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "key": {"id": "key_8Qm2Zr", "name": "night shift"}, "role": "operator",
    "expires_at": "2026-11-20T18:00:00.000Z"
})))]
pub struct Session {
    /// The key of the session, or the key in the request.
    pub key: SessionKey,
    /// What the key allows.
    pub role: Role,
    /// When the session expires; `null` if the request has a key instead of a session.
    pub expires_at: Option<Time>,
}

/// Revoked access codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"revoked": 37})))]
pub struct RevokedCodes {
    /// The number of revoked codes. No further buyer can use these codes.
    pub revoked: u64,
}

/// A request to admit visitors of a waiting room immediately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"visitors": 100, "reason": "the shop has room"})))]
pub struct NewAdmissions {
    /// The number of visitors to admit, beginning with the visitor at position 1.
    #[schema(minimum = 1, maximum = 5_000)]
    pub visitors: u32,
    /// The reason for the admission.
    #[schema(schema_with = crate::admin::schema::title)]
    pub reason: String,
    /// The item whose visitors are admitted. Required if each item of the sale has its own waiting
    /// room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = crate::admin::schema::name, required = false)]
    pub item: Option<String>,
}

impl NewAdmissions {
    /// Reads the body of an admission.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["visitors", "reason", "item"], |body| {
            let visitors = body.required("visitors", read::integer(1..=i64::from(ADMISSIONS_MAX)));
            let visitors = visitors.and_then(|visitors| u32::try_from(visitors).ok());
            let reason = body.required("reason", read::title);
            let item = body.optional("item", None, read::not_null(read::name));
            Some(Self { visitors: visitors?, reason: reason?, item: item?.map(Into::into) })
        })
    }
}

/// The result of an admission by an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"admitted": 100, "waiting": 3_417})))]
pub struct Admissions {
    /// Visitors that this request admitted.
    pub admitted: u64,
    /// Visitors that still wait.
    pub waiting: u64,
}

/// A setting of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownSetting {
    /// The setting's path, such as `waiting_room.per_sec`.
    pub path: String,
    /// The setting's value as TOML. `"***"` hides a secret. `null` if the setting has no value.
    pub value: Option<String>,
    /// Where the value comes from: `default`, `generated`, the path of a file, an environment
    /// variable, or a command-line option.
    pub origin: String,
}

/// The settings of the node that handles the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "node": "17",
    "settings": [{"path": "waiting_room.per_sec", "value": "2000", "origin": "default"}]
})))]
pub struct SettingList {
    /// The number of the node that handled the request.
    pub node: String,
    /// Every setting, in the order of the default settings file.
    pub settings: Vec<ShownSetting>,
}
