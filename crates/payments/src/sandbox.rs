//! The built-in payment provider for tests and demonstrations. It moves no money. Its checkout page
//! has a button for each event that can happen to a payment.
//!
//! Another program that has the sandbox's secret can send messages about payments that the sandbox
//! does not know. A refund of such a payment stays pending until that program sends
//! `refund.settled`.
//!
//! The sandbox's documents in the store:
//!
//! * `session/…`: a checkout, with its payments and the messages to send.
//! * `payment/…`: the session to which a payment belongs.
//! * `due/…`: the announcement of a message, with the time at which it must be sent. The keys are
//!   sorted by this time.
mod checkout_page;
mod cleanup;
mod delivery;
#[cfg(test)]
mod fixture;
mod message;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_base::signing::{self, SigningKey};
use doorbuster_core::money::{
    Capture, Money, PaymentId, Refund, RefundUpdate, ReversalKind, ReversalReport,
};
use doorbuster_core::{Millis, TicketId};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::node::Node;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::contract::{
    CheckoutStatus, FoundPayment, MessageError, NewCheckout, NewSession, ProviderError,
    ProviderMessage,
};

pub use checkout_page::{ButtonAction, ButtonResult, CheckoutView};

/// The provider's name.
pub const NAME: &str = "sandbox";
/// The maximum number of queries per second. It is high, because the sandbox answers from the store
/// and makes no HTTP requests.
pub(super) const QUERIES_PER_SEC: u32 = 2_000;
/// How many times the sandbox tries to change a document that other tasks change at the same time.
/// After the last attempt, the caller gets an error.
const TRIES_MAX: u32 = 16;
const REFUND_TAKES_MS: i64 = 500;
const REFUND_RECHECK_MS: i64 = 10_000;
const UNKNOWN_RECHECK_MS: i64 = 3_600_000;

/// The built-in provider.
pub struct Sandbox {
    node: Arc<Node>,
    /// The signing keys, newest first. Every key signs the messages, and every key verifies them.
    keys: Vec<SigningKey>,
    http: reqwest::Client,
    /// This server's address. It is set when the server begins to listen.
    address: OnceLock<String>,
    /// Wakes the task that sends messages when there is a message to send.
    wake: Notify,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SandboxCheckout {
    order: String,
    title: String,
    units: u32,
    amount_minor: i64,
    currency: String,
    expires_at: i64,
    return_url: String,
    /// True after the checkout stopped accepting payments.
    closed: bool,
    payments: Vec<SandboxPayment>,
    posts: Vec<PendingMessage>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SandboxPayment {
    id: String,
    /// Whether the money arrives only after the checkout has ended.
    late: bool,
    /// The refund or reversal of the payment. The text is the refund's id, or the kind of a
    /// reversal that a visitor caused. The number is a time in milliseconds; the money arrives
    /// `REFUND_TAKES_MS` after this time.
    refund: Option<(String, i64)>,
}

impl SandboxPayment {
    fn can_go_back(&self) -> bool {
        !self.late && self.refund.is_none()
    }

    fn reversal(&self) -> Option<ReversalKind> {
        let word = &self.refund.as_ref()?.0;
        ReversalKind::parse(word)
    }
}

/// A message to this server. The sandbox sends it until the server answers 200, or until the last
/// attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PendingMessage {
    id: String,
    body: String,
    due: i64,
    tries: u32,
    done: bool,
    /// The key of the document under `due/` that announces this message.
    notice: String,
}

impl SandboxCheckout {
    fn money(&self) -> Money {
        Money { minor: self.amount_minor, currency: self.currency.clone() }
    }
}

impl Sandbox {
    /// Creates a sandbox. Each of `keys` signs the messages. The first key also makes the ids of
    /// sessions.
    pub fn new(node: Arc<Node>, keys: Vec<SigningKey>) -> Self {
        let http = reqwest::Client::builder()
            .timeout(delivery::TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // The client sends only to this server, without TLS, so it needs no certificates.
            .tls_certs_only([])
            .build()
            .expect("a client without certificates can be created");
        Self { node, keys, http, address: OnceLock::new(), wake: Notify::new() }
    }

    /// Sets the address of this server, to which the sandbox sends its messages.
    pub fn set_server_address(&self, address: &str) {
        // `set` cannot fail, because a server starts to listen only once.
        let _ = self.address.set(address.to_owned());
        self.wake.notify_one();
    }

    pub(super) async fn open(&self, wanted: &NewCheckout) -> Result<NewSession, ProviderError> {
        let hash =
            blake3::hash(format!("{}\0{}", wanted.key, self.session_secret()).as_bytes()).to_hex();
        let id = format!("cs_{}", &hash[..32]);
        let session = SandboxCheckout {
            order: wanted.order.to_string(),
            title: wanted.title.clone(),
            units: wanted.units,
            amount_minor: wanted.total.minor,
            currency: wanted.total.currency.clone(),
            expires_at: wanted.pay_by.0,
            return_url: wanted.return_url.clone(),
            closed: false,
            payments: Vec::new(),
            posts: Vec::new(),
        };
        // The result is ignored: if it is `false`, an earlier request with the same key has already
        // created this session.
        self.node
            .store()
            .sandbox_swap(session_key(&id), None, session_json(&session))
            .await
            .map_err(unavailable)?;
        let url = format!("/sandbox/checkout/{id}");
        Ok(NewSession { session: id, url, expires_at: wanted.pay_by })
    }

    /// Returns the secret from which session ids are computed. Because of this secret, a buyer
    /// cannot guess a checkout's URL.
    fn session_secret(&self) -> String {
        self.keys
            .first()
            .map(|key| signing::sign("sandbox", 0, b"session", std::slice::from_ref(key)))
            .unwrap_or_default()
    }

    pub(super) async fn close(
        &self,
        order: &TicketId,
        id: &str,
    ) -> Result<CheckoutStatus, ProviderError> {
        let closing = self.update_session(id, |session| {
            let paid: Vec<_> = session.payments.iter().filter(|p| !p.late).cloned().collect();
            session.closed = true;
            (paid, session.money())
        });
        let Some((paid, money)) = closing.await.map_err(unavailable)? else {
            return Ok(CheckoutStatus::Closed);
        };
        if paid.is_empty() {
            return Ok(CheckoutStatus::Closed);
        }
        let found = |paid: SandboxPayment| {
            let (provider, payment) = (NAME.to_owned(), PaymentId(paid.id.clone()));
            let capture = Capture {
                event: format!("ask:{}", paid.id),
                provider: provider.clone(),
                payment: payment.clone(),
                order: order.to_string(),
                money: money.clone(),
            };
            let money = Some(money.clone());
            let back = paid.reversal();
            let back = back.map(|kind| ReversalReport {
                event: None,
                provider,
                payment,
                kind,
                money,
                stands: true,
                reported_at: None,
                dispute: None,
            });
            FoundPayment { capture, back }
        };
        Ok(CheckoutStatus::Paid(paid.into_iter().map(found).collect()))
    }

    /// Requests a refund, or returns its progress. See [`super::provider::Provider::refund`].
    pub(super) async fn refund(&self, refund: &Refund) -> Result<RefundUpdate, ProviderError> {
        let unknown = RefundUpdate::Accepted { again_ms: UNKNOWN_RECHECK_MS };
        let payment = &refund.payment.0;
        let Some(id) = self
            .node
            .store()
            .sandbox_get(&format!("payment/{payment}"))
            .await
            .map_err(unavailable)?
        else {
            return Ok(unknown);
        };
        let now = self.node.now();
        let notice =
            self.schedule_message(&id, now.plus(REFUND_TAKES_MS)).await.map_err(unavailable)?;
        failpoint::reach(Failpoint::SandboxRefundAnnounced);
        let taken = self.update_session(&id, |session| {
            let (money, order) = (session.money(), session.order.clone());
            let paid = session.payments.iter_mut().find(|p| p.id == *payment)?;
            if let Some((_, at)) = &paid.refund {
                return Some(now.0 - at >= REFUND_TAKES_MS);
            }
            paid.refund = Some((refund.id.0.clone(), now.0));
            let body = message::refund_settled(now, payment, &order, &money, &refund.id.0);
            let id = format!("msg_{}_settled", refund.id.0);
            let due = now.0 + REFUND_TAKES_MS;
            session.posts.push(PendingMessage {
                id,
                body,
                due,
                tries: 0,
                done: false,
                notice: notice.clone(),
            });
            Some(false)
        });
        Ok(match taken.await.map_err(unavailable)?.flatten() {
            None => unknown,
            Some(true) => RefundUpdate::Settled,
            Some(false) => RefundUpdate::Accepted { again_ms: REFUND_RECHECK_MS },
        })
    }

    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Result<ProviderMessage, MessageError> {
        let event = signing::verify(headers, body, &self.keys, now, signing::TOLERANCE_MS)
            .map_err(|why| MessageError::Unverified(why.to_string()))?;
        message::read(event, body)
    }

    async fn session(&self, id: &str) -> Result<Option<SandboxCheckout>, EngineError> {
        let found = self.node.store().sandbox_get(&session_key(id)).await?;
        Ok(found.as_deref().and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Changes a session and writes it. If another task has changed the session meanwhile, tries
    /// again. Returns `None` if the session does not exist.
    async fn update_session<T>(
        &self,
        id: &str,
        update_session: impl Fn(&mut SandboxCheckout) -> T,
    ) -> Result<Option<T>, EngineError> {
        for _ in 0..TRIES_MAX {
            let Some(old) = self.node.store().sandbox_get(&session_key(id)).await? else {
                return Ok(None);
            };
            let Ok(mut session) = serde_json::from_str(&old) else { return Ok(None) };
            let made = update_session(&mut session);
            let new = session_json(&session);
            if new == old || self.node.store().sandbox_swap(session_key(id), Some(old), new).await?
            {
                return Ok(Some(made));
            }
        }
        let reason = "too many concurrent changes of the sandbox's session".to_owned();
        Err(doorbuster_store::StoreError::Unavailable { reason, may_have_happened: false }.into())
    }
}

fn session_key(session: &str) -> String {
    format!("session/{session}")
}

fn session_json(session: &SandboxCheckout) -> String {
    serde_json::to_string(session).expect("plain data serialises into memory")
}

fn unavailable(error: impl Into<EngineError>) -> ProviderError {
    ProviderError::unavailable(error.into().to_string())
}

const POLL_INTERVAL: Duration = Duration::from_millis(500);
