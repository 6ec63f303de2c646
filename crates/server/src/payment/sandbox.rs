//! The built-in provider: a checkout page of its own with a button for each thing that can happen,
//! real signed messages over HTTP to this server, refunds of the payments that were made there. It
//! moves no money. Payments that others invented and signed are unknown to it: their refunds stay
//! pending until somebody signs a `refund.settled`.
//!
//! What it knows stands in documents of its own in the store: `session/…` (a checkout with its
//! payments and the messages it has to send), `payment/…` (whose session a payment is of), `due/…`
//! (sessions with messages to send, by time).
mod checkout_page;
mod cleanup;
mod delivery;
#[cfg(test)]
mod fixture;
mod message;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use doorbuster_core::money::{Capture, Money, PaymentId, Refund, RefundUpdate};
use doorbuster_core::{Millis, TicketId};
use doorbuster_store::{Reversal, ReversalKind};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::provider::{
    CheckoutStatus, FoundPayment, MessageError, NewCheckout, NewSession, ProviderError,
    ProviderMessage,
};
use crate::engine::{Engine, EngineError};
use crate::failpoint::{self, Point};
use crate::signing::{self, SigningKey};

pub(crate) use checkout_page::{ButtonAction, ButtonResult, CheckoutView};

/// Its name.
pub(crate) const NAME: &str = "sandbox";
/// How often a document is written anew when others write it too; then the caller hears that it is
/// busy.
const TRIES_MAX: u32 = 16;
/// How long a refund takes to arrive.
const REFUND_TAKES_MS: i64 = 500;
/// When it is to be asked again about a refund that it took.
const REFUND_RECHECK_MS: i64 = 10_000;
/// When it is to be asked again about a refund of a payment that it does not know.
const UNKNOWN_RECHECK_MS: i64 = 3_600_000;

/// The built-in provider.
pub(crate) struct Sandbox {
    engine: Arc<Engine>,
    /// What messages are signed with, newest first. The newest signs, each is believed.
    keys: Vec<SigningKey>,
    http: reqwest::Client,
    /// Where this server is, once it listens.
    address: OnceLock<String>,
    /// Something is to be sent.
    wake: Notify,
}

/// A checkout.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    order: String,
    title: String,
    units: u32,
    amount_minor: i64,
    currency: String,
    expires_at: i64,
    return_url: String,
    /// It takes no money any more.
    closed: bool,
    payments: Vec<SandboxPayment>,
    posts: Vec<PendingMessage>,
}

/// A payment that was made at a checkout.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SandboxPayment {
    id: String,
    /// Its money comes after the checkout was closed, and nobody knows before.
    late: bool,
    /// The refund that was asked for, and when; or the word of what somebody did with the money
    /// here.
    refund: Option<(String, i64)>,
}

impl SandboxPayment {
    /// Whether its money came, and is still there.
    fn can_go_back(&self) -> bool {
        !self.late && self.refund.is_none()
    }

    /// How its money went back without the shop.
    fn reversal(&self) -> Option<ReversalKind> {
        let word = &self.refund.as_ref()?.0;
        ReversalKind::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// A message to be sent, until somebody answers 200.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PendingMessage {
    id: String,
    body: String,
    due: i64,
    tries: u32,
    done: bool,
    /// What announced it.
    notice: String,
}

impl Session {
    fn money(&self) -> Money {
        Money { minor: self.amount_minor, currency: self.currency.clone() }
    }
}

impl Sandbox {
    /// A provider whose messages are signed with the first of `keys`.
    pub(crate) fn new(engine: Arc<Engine>, keys: Vec<SigningKey>) -> Self {
        let http = reqwest::Client::builder()
            .timeout(delivery::TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // It speaks to this very server, without TLS.
            .tls_certs_only([])
            .build()
            .expect("a client without certificates of its own can be made");
        Self { engine, keys, http, address: OnceLock::new(), wake: Notify::new() }
    }

    /// Where this server listens: messages go there from now on.
    pub(crate) fn set_server_address(&self, address: &str) {
        // A server listens once.
        let _ = self.address.set(address.to_owned());
        self.wake.notify_one();
    }

    /// See [`super::provider::Provider::open`].
    pub(super) async fn open(&self, wanted: &NewCheckout) -> Result<NewSession, ProviderError> {
        let hash =
            blake3::hash(format!("{}\0{}", wanted.key, self.session_secret()).as_bytes()).to_hex();
        let id = format!("cs_{}", &hash[..32]);
        let session = Session {
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
        // False: it was made under the same key before.
        self.engine
            .store()
            .sandbox_swap(session_key(&id), None, session_json(&session))
            .await
            .map_err(unavailable)?;
        let url = format!("/sandbox/checkout/{id}");
        Ok(NewSession { session: id, url, expires_at: wanted.pay_by })
    }

    /// Something that nobody outside knows, so that the address of a checkout cannot be guessed.
    fn session_secret(&self) -> String {
        self.keys
            .first()
            .map(|key| signing::sign("sandbox", 0, b"session", std::slice::from_ref(key)))
            .unwrap_or_default()
    }

    /// See [`super::provider::Provider::close`].
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
            let told = Capture {
                event: format!("ask:{}", paid.id),
                provider: provider.clone(),
                payment: payment.clone(),
                order: order.to_string(),
                money: money.clone(),
            };
            let money = Some(money.clone());
            let back = paid.reversal();
            let back = back.map(|kind| Reversal {
                event: None,
                provider,
                payment,
                kind,
                money,
                stands: true,
                dispute: None,
            });
            FoundPayment { told, back }
        };
        Ok(CheckoutStatus::Paid(paid.into_iter().map(found).collect()))
    }

    /// See [`super::provider::Provider::refund`]. Asking again says how far it is.
    pub(super) async fn refund(&self, refund: &Refund) -> Result<RefundUpdate, ProviderError> {
        let unknown = RefundUpdate::Accepted { again_ms: UNKNOWN_RECHECK_MS };
        let payment = &refund.payment.0;
        let Some(id) = self
            .engine
            .store()
            .sandbox_get(&format!("payment/{payment}"))
            .await
            .map_err(unavailable)?
        else {
            return Ok(unknown);
        };
        let now = self.engine.now();
        let notice = self.announce(&id, now.plus(REFUND_TAKES_MS)).await.map_err(unavailable)?;
        failpoint::pass(Point::SandboxRefundAnnounced);
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

    /// See [`super::provider::Provider::read`].
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

    /// The session as it is.
    async fn session(&self, id: &str) -> Result<Option<Session>, EngineError> {
        let found = self.engine.store().sandbox_get(&session_key(id)).await?;
        Ok(found.as_deref().and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Changes a session by compare-and-set. `None`: there is no such session.
    async fn update_session<T>(
        &self,
        id: &str,
        update_session: impl Fn(&mut Session) -> T,
    ) -> Result<Option<T>, EngineError> {
        for _ in 0..TRIES_MAX {
            let Some(old) = self.engine.store().sandbox_get(&session_key(id)).await? else {
                return Ok(None);
            };
            let Ok(mut session) = serde_json::from_str(&old) else { return Ok(None) };
            let made = update_session(&mut session);
            let new = session_json(&session);
            if new == old
                || self.engine.store().sandbox_swap(session_key(id), Some(old), new).await?
            {
                return Ok(Some(made));
            }
        }
        let reason = "the sandbox's session is changed by too many at once".to_owned();
        Err(doorbuster_store::StoreError::Unavailable { reason, may_have_happened: false }.into())
    }
}

fn session_key(session: &str) -> String {
    format!("session/{session}")
}

fn session_json(session: &Session) -> String {
    serde_json::to_string(session).expect("plain data serialises into memory")
}

fn unavailable(error: impl Into<EngineError>) -> ProviderError {
    ProviderError::unavailable(error.into().to_string())
}

/// How long between two looks for what is to be sent, besides being told.
const POLL_EVERY: Duration = Duration::from_millis(500);
