//! Generates requests from the table of endpoints and from earlier answers.

use doorbuster_api::endpoints::{self, Auth, Endpoint, Method, Param, ParamLocation};
use doorbuster_api::header::BodyType;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::{body, samples};
use crate::app::{ADMIN_KEY, bearer};
use crate::http::Reply;

/// The generator remembers this many values of each kind from earlier answers.
const KNOWN_MAX: usize = 64;
/// Endpoints that move units. The generator prefers them.
const BUSY: [&str; 9] = [
    "purchase",
    "purchase",
    "purchase",
    "cancel_order",
    "cancel_any_order",
    "adjust_stock",
    "pause_sale",
    "resume_sale",
    "resume_sale",
];

/// A request before it is encoded.
#[derive(Debug)]
pub(crate) struct GeneratedRequest {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// True if the request uses a new connection.
    pub fresh: bool,
    /// True if the request may be invalid HTTP.
    pub is_raw: bool,
}

impl GeneratedRequest {
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

/// Ids that exist or existed.
#[derive(Debug, Default)]
pub(crate) struct KnownIds {
    pub sales: Vec<String>,
    pub orders: Vec<String>,
    pub keys: Vec<String>,
    pub endpoints: Vec<String>,
    pub cursors: Vec<String>,
    pub tags: Vec<String>,
    /// The keys of a viewer and of an operator.
    pub role_keys: Vec<String>,
    /// Idempotency keys of earlier purchases and adjustments.
    idempotency: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct RequestGenerator {
    rng: SmallRng,
    pub known: KnownIds,
    made: u64,
}

pub(crate) fn one_in(rng: &mut SmallRng, times: u32) -> bool {
    rng.random_ratio(1, times)
}

pub(crate) fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// Returns a known id, or a random word if no id is known.
fn pick_known(rng: &mut SmallRng, known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { pick(rng, known).clone() }
}

impl RequestGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), known: KnownIds::default(), made: 0 }
    }

    /// Returns the next request. One in three requests has a valid shape. In the other requests,
    /// one in five parts is invalid.
    pub(crate) fn request(&mut self) -> GeneratedRequest {
        self.made += 1;
        let all: Vec<&Endpoint> = endpoints::all().collect();
        let busy = *pick(&mut self.rng, &BUSY);
        let endpoint = match self.rng.random_bool(0.4) {
            true => all.iter().find(|endpoint| endpoint.id == busy).expect("a row of the table"),
            false => pick(&mut self.rng, &all),
        };
        let sound = one_in(&mut self.rng, 3);
        let mut drawn = GeneratedRequest {
            method: endpoint.method.as_str().into(),
            target: self.target(endpoint, sound),
            headers: Vec::new(),
            body: Vec::new(),
            fresh: one_in(&mut self.rng, 4),
            is_raw: false,
        };
        if !sound && one_in(&mut self.rng, 12) {
            drawn.method = (*pick(
                &mut self.rng,
                &["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"],
            ))
            .into();
        }
        if drawn.method == "GET" && endpoint.method == Method::Get && one_in(&mut self.rng, 6) {
            drawn.method = "HEAD".into();
        }
        self.headers(endpoint, sound, &mut drawn);
        self.body(endpoint, sound, &mut drawn);
        drawn.is_raw = samples::RAW.iter().any(|raw| drawn.target.contains(raw));
        drawn
    }

    /// Returns at random whether the next part of the request must be invalid. Always returns false
    /// if `sound` is true.
    fn spoils(&mut self, sound: bool) -> bool {
        !sound && one_in(&mut self.rng, 5)
    }

    fn target(&mut self, endpoint: &Endpoint, sound: bool) -> String {
        let mut target = endpoint.path.to_owned();
        for param in endpoint.path_params() {
            let value = self.value(param, sound);
            target = target.replacen(&format!("{{{}}}", param.name()), &value, 1);
        }
        let mut query = Vec::new();
        for param in endpoint.params.iter().filter(|param| param.location() == ParamLocation::Query)
        {
            let times =
                if sound { self.rng.random_range(0..2) } else { self.rng.random_range(0..3) };
            for _ in 0..times {
                query.push(format!("{}={}", param.name(), self.value(*param, sound)));
            }
        }
        if self.spoils(sound) {
            query.push((*pick(&mut self.rng, samples::STRAY_QUERIES)).into());
        }
        if !sound && one_in(&mut self.rng, 40) {
            query.push(format!("x={}", "y".repeat(samples::TARGET_BYTES)));
        }
        if query.is_empty() { target } else { format!("{target}?{}", query.join("&")) }
    }

    fn value(&mut self, param: Param, sound: bool) -> String {
        let (spoils, rng, known) = (self.spoils(sound), &mut self.rng, &self.known);
        if spoils {
            return match rng.random_range(0..12) {
                0 => pick(rng, samples::RAW).to_string(),
                1 => "x".repeat(*pick(rng, &[64, 65, 300, 5_000])),
                _ => pick(rng, samples::ODD).to_string(),
            };
        }
        match param {
            // The newest sales are more likely to be open than older sales.
            Param::PathSale | Param::Sale | Param::Follow if one_in(rng, 2) => {
                known.sales.last().expect("the list has values from the beginning").clone()
            }
            Param::PathSale | Param::Sale | Param::Follow => pick_known(rng, &known.sales),
            Param::PathItem | Param::Item | Param::RoomItem => "phone".into(),
            Param::PathOrder | Param::Order => pick_known(rng, &known.orders),
            Param::PathKey => pick_known(rng, &known.keys),
            Param::PathBlock => "blk_0c9d8e7a65b1".into(),
            Param::PathEndpoint => pick_known(rng, &known.endpoints),
            Param::PathLetter => pick(rng, &["dlv_1", "ref_none", "ord_none"]).to_string(),
            Param::DeliveryState => pick(rng, &["pending", "dead", "discarded"]).to_string(),
            Param::DeadLetterKind => pick(rng, &["delivery", "refund", "ticket"]).to_string(),
            Param::PathPrefix => pick(rng, &["0", "7K2M", "0123-4567-89AB-CDEF"]).to_string(),
            Param::By => "configured".into(),
            Param::Action => pick(rng, &["sale.opened", "key.created"]).to_string(),
            Param::Subject => "sale:spring".into(),
            Param::Search => "phone".into(),
            Param::From => {
                pick(rng, &["2026-11-20T10:00:00Z", "2026-11-20T10:30:00%2B01:00"]).to_string()
            }
            Param::To => "2026-11-20T10:50:00Z".into(),
            Param::Step => pick(rng, &["1", "10", "60"]).to_string(),
            Param::Buyer | Param::PathBuyer => pick(rng, &["anna", "bob", "carl"]).to_string(),
            Param::State => {
                pick(rng, &["reserved", "paid", "cancelled", "expired", "refunded"]).to_string()
            }
            Param::Phase => {
                pick(rng, &["draft", "scheduled", "open", "paused", "closed"]).to_string()
            }
            Param::Cursor if known.cursors.is_empty() => String::new(),
            Param::Cursor => pick_known(rng, &known.cursors),
            Param::Limit => rng.random_range(1..=200).to_string(),
            header => panic!("{header:?} is no part of a target"),
        }
    }

    fn headers(&mut self, endpoint: &Endpoint, sound: bool, drawn: &mut GeneratedRequest) {
        if let Some(credentials) = self.credentials(endpoint, sound) {
            drawn.headers.push(("Authorization".into(), credentials));
        }
        let spoils = self.spoils(sound);
        if let Some(body) = endpoint.body {
            let media = if spoils {
                pick(&mut self.rng, samples::MEDIA)
            } else {
                pick(&mut self.rng, right(body.media))
            };
            drawn.headers.push(("Content-Type".into(), (*media).into()));
        }
        for param in
            endpoint.params.iter().filter(|param| param.location() == ParamLocation::Header)
        {
            if let Some(value) = self.header(*param, sound) {
                drawn.headers.push((param.name().into(), value));
            }
        }
        if endpoint.id == "open_websocket" && !self.spoils(sound) {
            for (name, value) in [
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Protocol", "doorbuster.v1"),
            ] {
                drawn.headers.push((name.into(), value.into()));
            }
        }
        if self.spoils(sound) {
            drawn.headers.push(("Accept".into(), (*pick(&mut self.rng, samples::ACCEPTS)).into()));
        }
        if self.spoils(sound) {
            let (name, value) = *pick(&mut self.rng, samples::STRAY_HEADERS);
            drawn.headers.push((name.into(), value.into()));
        }
        if !sound && one_in(&mut self.rng, 20) && !drawn.headers.is_empty() {
            let at = self.rng.random_range(0..drawn.headers.len());
            let header = drawn.headers.remove(at);
            if one_in(&mut self.rng, 2) {
                drawn.headers.extend([header.clone(), header]);
            }
        }
    }

    fn credentials(&mut self, endpoint: &Endpoint, sound: bool) -> Option<String> {
        let spoils = self.spoils(sound);
        let rng = &mut self.rng;
        let key = |key: &str| Some(format!("Bearer {key}"));
        let buyer = pick(rng, &["anna", "bob", "carl", "dora"]);
        let kind = match endpoint.auth {
            _ if spoils => rng.random_range(0..6),
            Auth::Public => 5,
            Auth::Buyer => 0,
            Auth::BuyerOrOperator => rng.random_range(0..4),
            Auth::Operator(_) => 3,
        };
        match kind {
            0 => Some(bearer(buyer)),
            1 => key(&self.known.role_keys[0]),
            2 => key(&self.known.role_keys[1]),
            3 => key(ADMIN_KEY),
            4 => Some((*pick(rng, samples::INVALID_TOKENS)).into()),
            _ => None,
        }
    }

    fn header(&mut self, param: Param, sound: bool) -> Option<String> {
        let spoils = self.spoils(sound);
        let (rng, known) = (&mut self.rng, &mut self.known);
        match param {
            Param::IdempotencyKey if spoils => Some((*pick(rng, samples::KEYS)).into()),
            Param::IdempotencyKey if one_in(rng, 4) => Some(pick_known(rng, &known.idempotency)),
            Param::IdempotencyKey => {
                let key = format!("key-{}", self.made);
                keep(&mut known.idempotency, &key);
                Some(key)
            }
            Param::Prefer if one_in(rng, 3) => Some((*pick(rng, samples::PREFERENCES)).into()),
            Param::IfMatch | Param::IfNoneMatch if spoils => {
                Some((*pick(rng, samples::TAGS)).into())
            }
            Param::IfMatch | Param::IfNoneMatch if one_in(rng, 3) => {
                Some(pick_known(rng, &known.tags))
            }
            Param::LastEventId if one_in(rng, 3) => Some(rng.random::<u64>().to_string()),
            _ => None,
        }
    }

    fn body(&mut self, endpoint: &Endpoint, sound: bool, drawn: &mut GeneratedRequest) {
        let spoils = !sound && one_in(&mut self.rng, 2);
        let max = endpoint.body_bytes_max();
        if endpoint.body.is_none() {
            if spoils && one_in(&mut self.rng, 6) {
                drawn.body = body::spoil(&mut self.rng, json!({"sale": "spring"}), max);
            }
        } else {
            let value = self.right_body(endpoint);
            drawn.body = if spoils {
                body::spoil(&mut self.rng, value, max)
            } else {
                value.to_string().into_bytes()
            };
        }
        if !sound && !drawn.body.is_empty() && one_in(&mut self.rng, 10) {
            drawn.headers.push(("Transfer-Encoding".into(), "chunked".into()));
            let piece = self.rng.random_range(1..=drawn.body.len().max(2));
            let mut chunked = Vec::new();
            for part in drawn.body.chunks(piece.max(drawn.body.len() / 50 + 1)) {
                chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                chunked.extend_from_slice(part);
                chunked.extend_from_slice(b"\r\n");
            }
            chunked.extend_from_slice(b"0\r\n\r\n");
            drawn.body = chunked;
        }
    }

    /// Returns the example body in the endpoint's description, with ids of existing objects.
    fn right_body(&mut self, endpoint: &Endpoint) -> Value {
        let shape = endpoint.body.expect("the endpoint takes a body").json_type;
        let mut value = shape.example().unwrap_or_else(|| json!({}));
        let sale = self.value(Param::Sale, true);
        let rng = &mut self.rng;
        match endpoint.id {
            "purchase" => {
                value = json!({"sale": sale, "item": "phone", "units": rng.random_range(1..6)})
            }
            "create_sale" => {
                value["id"] = format!("sale{}", self.made).into();
                value["starts_at"] =
                    pick(rng, &[Value::Null, json!("2100-01-01T00:00:00Z")]).clone();
            }
            "change_sale" => {
                value["items"] =
                    json!([{"id": "phone", "description": format!("the {}th", self.made)}]);
            }
            // The server delivers events to this URL. Nothing listens there, and the server needs
            // no name lookup.
            "create_webhook_endpoint" | "change_webhook_endpoint" => {
                value["url"] = "http://127.0.0.1:1/".into()
            }
            "adjust_stock" => {
                value = json!({"units": pick(rng, &[-5, -1, 1, 20, -1_000]), "reason": "counted again"});
            }
            _ => {}
        }
        value
    }

    pub(crate) fn record_ids(&mut self, drawn: &GeneratedRequest, reply: &Reply) {
        if let Some(tag) = reply.header("etag") {
            keep(&mut self.known.tags, tag);
        }
        let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else { return };
        if let Some(cursor) = body["next_cursor"].as_str() {
            keep(&mut self.known.cursors, cursor);
        }
        if let (201 | 202, Some(id)) = (reply.status, body["id"].as_str()) {
            let known = match drawn.path() {
                "/v1/orders" => &mut self.known.orders,
                "/v1/admin/keys" => &mut self.known.keys,
                "/v1/admin/webhook-endpoints" => &mut self.known.endpoints,
                _ => &mut self.known.sales,
            };
            keep(known, id);
        }
    }
}

fn keep(known: &mut Vec<String>, word: &str) {
    if known.len() >= KNOWN_MAX {
        known.remove(0);
    }
    known.push(word.to_owned());
}

fn right(media: BodyType) -> &'static [&'static str] {
    media.media_types()
}
