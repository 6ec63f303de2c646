//! The buttons of the sandbox's checkout page. Each button imitates an event that can happen at a
//! real provider.
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::Millis;
use doorbuster_core::money::ReversalKind;
use doorbuster_engine::error::EngineError;
use serde::Serialize;
use serde_json::{Value, json};

use super::{PendingMessage, REFUND_TAKES_MS, Sandbox, SandboxCheckout, SandboxPayment, message};

/// How long after the end of a checkout a late payment arrives, in milliseconds.
const LATE_MS: i64 = 2_000;
/// The maximum number of payments and failed attempts at one checkout. After that, the checkout
/// counts as expired.
const PAYMENTS_MAX: usize = 20;

/// The action of a button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonAction {
    /// Pays for the order at once.
    Pay,
    /// Attempts a payment that fails. The buyer may try again.
    Fail,
    /// Pays, but the money arrives only after the checkout has ended.
    Late,
    /// Pays twice, as an impatient buyer may do.
    Twice,
    /// Pays, but sends no message. The server finds the payment when it asks the provider about the
    /// checkout.
    Lose,
    /// Refunds the payment, as a person can do in the console of a real provider.
    Return,
    /// Disputes the payment, as the buyer's bank can do.
    Dispute,
}

impl ButtonAction {
    /// Returns the action that a path names.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "pay" => Self::Pay,
            "fail" => Self::Fail,
            "late" => Self::Late,
            "twice" => Self::Twice,
            "lose" => Self::Lose,
            "return" => Self::Return,
            "dispute" => Self::Dispute,
            _ => return None,
        })
    }

    /// Returns the number of payments that the action makes, and the number of messages about each
    /// of them.
    fn payments_and_messages(self) -> (usize, usize) {
        match self {
            Self::Fail => (0, 1),
            Self::Pay | Self::Late => (1, 1),
            Self::Twice => (2, 1),
            Self::Lose => (1, 0),
            Self::Return | Self::Dispute => (0, 0),
        }
    }
}

/// The content of a checkout page.
#[derive(Clone, Debug, Serialize)]
pub struct CheckoutView {
    order: String,
    title: String,
    units: u32,
    amount: Value,
    expires_at: String,
    server_time: String,
    return_url: String,
    state: &'static str,
}

/// Result of pressing a button.
#[derive(Debug)]
pub enum ButtonResult {
    /// The action is done. The value is the page's new content.
    Shown(CheckoutView),
    /// The checkout accepts no more payments.
    Over(CheckoutView),
    /// There is no such checkout.
    NotFound,
}

impl Sandbox {
    /// Returns the content of a checkout's page.
    pub async fn checkout(&self, id: &str) -> Result<Option<CheckoutView>, EngineError> {
        let now = self.node.store().monotonic_now();
        Ok(self.session(id).await?.map(|session| checkout_view(&session, now)))
    }

    /// Performs a button's action.
    pub async fn press(&self, id: &str, action: ButtonAction) -> Result<ButtonResult, EngineError> {
        // Checkouts and orders end by the monotonic time, but the time to send a message is in the
        // store's time.
        let (now, clock) = (self.node.store().monotonic_now(), self.node.now());
        let Some(session) = self.session(id).await? else { return Ok(ButtonResult::NotFound) };
        match action {
            ButtonAction::Return => {
                return self.take_back_money(id, &session, ReversalKind::Returned, clock).await;
            }
            ButtonAction::Dispute => {
                return self.take_back_money(id, &session, ReversalKind::Disputed, clock).await;
            }
            _ => {}
        }
        if state(&session, now) != "open" {
            return Ok(ButtonResult::Over(checkout_view(&session, now)));
        }
        let due = match action {
            ButtonAction::Late => clock.plus((session.expires_at - now.0).max(0) + LATE_MS),
            _ => clock,
        };
        let (payments, messages) = action.payments_and_messages();
        let names: Vec<String> =
            (0..payments.max(1)).map(|_| format!("pay_{:032x}", rand::random::<u128>())).collect();
        for name in names.iter().take(payments) {
            // This document is written before the payment itself, so that a refund finds the
            // session of every payment.
            self.node.store().sandbox_swap(format!("payment/{name}"), None, id.to_owned()).await?;
        }
        failpoint::reach(Failpoint::SandboxNamed);
        let notice =
            if messages > 0 { self.schedule_message(id, due).await? } else { String::new() };
        failpoint::reach(Failpoint::SandboxAnnounced);
        let pressed = self.update_session(id, |session| {
            if state(session, now) != "open" {
                return ButtonResult::Over(checkout_view(session, now));
            }
            for name in &names {
                let kind = if payments == 0 { "payment.failed" } else { "payment.captured" };
                if messages > 0 {
                    let body = message::payment(kind, due, name, &session.order, &session.money());
                    let (id, notice) = (format!("msg_{name}"), notice.clone());
                    session.posts.push(PendingMessage {
                        id,
                        body,
                        due: due.0,
                        tries: 0,
                        done: false,
                        notice,
                    });
                }
                if payments > 0 {
                    let late = action == ButtonAction::Late;
                    session.payments.push(SandboxPayment { id: name.clone(), late, refund: None });
                }
            }
            session.closed = payments > 0;
            ButtonResult::Shown(checkout_view(session, now))
        });
        let done = pressed.await?.unwrap_or(ButtonResult::NotFound);
        self.wake.notify_one();
        Ok(done)
    }
}

impl Sandbox {
    /// Refunds or disputes a payment without a request from the shop.
    async fn take_back_money(
        &self,
        id: &str,
        session: &SandboxCheckout,
        kind: ReversalKind,
        now: Millis,
    ) -> Result<ButtonResult, EngineError> {
        // Any visitor can press the button as often as they like. So a press without an effect must
        // not write rows.
        if !session.payments.iter().any(SandboxPayment::can_go_back) {
            return Ok(ButtonResult::Over(checkout_view(session, now)));
        }
        let notice = self.schedule_message(id, now).await?;
        let pressed = self.update_session(id, |session| {
            let (money, order) = (session.money(), session.order.clone());
            let Some(paid) = session.payments.iter_mut().find(|paid| paid.can_go_back()) else {
                return ButtonResult::Over(checkout_view(session, now));
            };
            // This time is in the past. So if the shop later requests a refund, the money counts as
            // arrived at once.
            paid.refund = Some((kind.as_str().to_owned(), now.0 - REFUND_TAKES_MS));
            let body = message::payment(
                &format!("payment.{}", kind.as_str()),
                now,
                &paid.id,
                &order,
                &money,
            );
            let post = format!("msg_{}_{}", paid.id, kind.as_str());
            session.posts.push(PendingMessage {
                id: post,
                body,
                due: now.0,
                tries: 0,
                done: false,
                notice: notice.clone(),
            });
            ButtonResult::Shown(checkout_view(session, now))
        });
        let done = pressed.await?.unwrap_or(ButtonResult::NotFound);
        self.wake.notify_one();
        Ok(done)
    }
}

fn state(session: &SandboxCheckout, now: Millis) -> &'static str {
    match () {
        () if session.payments.iter().any(|payment| payment.late) => "late",
        () if !session.payments.is_empty() => session
            .payments
            .iter()
            .find_map(SandboxPayment::reversal)
            .map_or("paid", ReversalKind::as_str),
        () if session.closed => "closed",
        () if now.0 >= session.expires_at || session.posts.len() >= PAYMENTS_MAX => "expired",
        () => "open",
    }
}

fn checkout_view(session: &SandboxCheckout, now: Millis) -> CheckoutView {
    let time = |millis| doorbuster_api::value::Time::from_millis(millis).to_string();
    CheckoutView {
        order: session.order.clone(),
        title: session.title.clone(),
        units: session.units,
        amount: json!({"amount_minor": session.amount_minor, "currency": session.currency}),
        expires_at: time(session.expires_at),
        server_time: time(now.0),
        return_url: session.return_url.clone(),
        state: state(session, now),
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_base::clock::Clock;
    use doorbuster_testkit::TempDir;

    use super::super::{fixture, session_json, session_key};
    use super::*;
    use crate::fixture::engine as start_engine;

    #[tokio::test]
    async fn a_press_without_effect_leaves_no_rows() {
        let dir = TempDir::new();
        let engine = start_engine(&dir, Clock::default()).await;
        let sandbox = Sandbox::new(engine.node.clone(), Vec::new());
        let session = fixture::session(engine.node.now().plus(3_600_000).0);
        engine
            .node
            .store()
            .sandbox_swap(session_key("cs_1"), None, session_json(&session))
            .await
            .expect("writes");
        let press =
            async |action| sandbox.press("cs_1", action).await.expect("the store reads and writes");
        let announced = async || {
            engine
                .node
                .store()
                .sandbox_list("due/".to_owned(), String::new(), 100)
                .await
                .expect("reads")
                .len()
        };
        for _ in 0..5 {
            for action in [ButtonAction::Return, ButtonAction::Dispute] {
                assert!(
                    matches!(press(action).await, ButtonResult::Over(_)),
                    "without a payment, the button must have no effect"
                );
            }
        }
        assert_eq!(announced().await, 0);
        assert!(matches!(press(ButtonAction::Pay).await, ButtonResult::Shown(_)));
        assert!(matches!(press(ButtonAction::Return).await, ButtonResult::Shown(_)));
        for action in
            [ButtonAction::Return, ButtonAction::Dispute, ButtonAction::Pay, ButtonAction::Fail]
        {
            assert!(
                matches!(press(action).await, ButtonResult::Over(_)),
                "after the money was sent back, the button must have no effect"
            );
        }
        assert_eq!(announced().await, 2, "only the payment and its reversal need a message");
        engine.stock.stop_node().await;
    }
}
