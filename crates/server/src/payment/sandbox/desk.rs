//! The sandbox's checkout page as it works behind its buttons: each does one thing that happens at real providers too.
use doorbuster_core::Millis;
use doorbuster_store::ReversalKind;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Payment, Post, REFUND_TAKES_MS, Sandbox, Session, message};
use crate::engine::EngineError;
use crate::failpoint::{self, Point};

/// How long after a checkout's end a late payment comes in.
const LATE_MS: i64 = 2_000;
/// Payments, failed ones included, that one checkout takes; then it only shows what happened.
const PAYMENTS_MAX: usize = 20;

/// What a button does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Pays.
    Pay,
    /// Tries to pay, in vain; may be tried again.
    Fail,
    /// Pays, and the money comes in when the checkout is over and nobody expects it any more.
    Late,
    /// Pays twice, as impatient people do.
    Twice,
    /// Pays, and the message of it is lost: the shop learns of it only by asking.
    Lose,
    /// Gives back what was paid, as somebody does at a provider's own console.
    Return,
    /// Has the buyer's bank take back what was paid.
    Dispute,
}

impl Action {
    /// The action that a path names.
    pub(crate) fn parse(word: &str) -> Option<Self> {
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

    /// How many payments it makes, and how many messages tell of each.
    fn makes(self) -> (usize, usize) {
        match self {
            Self::Fail => (0, 1),
            Self::Pay | Self::Late => (1, 1),
            Self::Twice => (2, 1),
            Self::Lose => (1, 0),
            Self::Return | Self::Dispute => (0, 0),
        }
    }
}

/// What a checkout's page shows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Desk {
    order: String,
    title: String,
    units: u32,
    amount: Value,
    expires_at: String,
    server_time: String,
    return_url: String,
    state: &'static str,
}

/// What pressing a button came to.
#[derive(Debug)]
pub(crate) enum Done {
    /// Done: the page as it is now.
    Shown(Desk),
    /// The checkout takes no money any more.
    Over(Desk),
    /// There is no such checkout.
    NotFound,
}

impl Sandbox {
    /// What the page of this checkout shows.
    pub(crate) async fn show(&self, id: &str) -> Result<Option<Desk>, EngineError> {
        let now = self.engine.now();
        Ok(self.session(id).await?.map(|session| desk(&session, now)))
    }

    /// Presses a button.
    pub(crate) async fn press(&self, id: &str, action: Action) -> Result<Done, EngineError> {
        let now = self.engine.now();
        let Some(session) = self.session(id).await? else { return Ok(Done::NotFound) };
        match action {
            Action::Return => return self.reverse(id, &session, ReversalKind::Returned, now).await,
            Action::Dispute => {
                return self.reverse(id, &session, ReversalKind::Disputed, now).await;
            }
            _ => {}
        }
        if state(&session, now) != "open" {
            return Ok(Done::Over(desk(&session, now)));
        }
        let due = Millis(if action == Action::Late {
            session.expires_at.max(now.0) + LATE_MS
        } else {
            now.0
        });
        let (payments, told) = action.makes();
        let names: Vec<String> =
            (0..payments.max(1)).map(|_| format!("pay_{:032x}", rand::random::<u128>())).collect();
        for name in names.iter().take(payments) {
            // Before the payment itself: one that was made is never unknown.
            self.engine
                .store()
                .sandbox_swap(format!("payment/{name}"), None, id.to_owned())
                .await?;
        }
        failpoint::pass(Point::SandboxNamed);
        let notice = if told > 0 { self.announce(id, due).await? } else { String::new() };
        failpoint::pass(Point::SandboxAnnounced);
        let pressed = self.change(id, |session| {
            if state(session, now) != "open" {
                return Done::Over(desk(session, now));
            }
            for name in &names {
                let kind = if payments == 0 { "payment.failed" } else { "payment.captured" };
                if told > 0 {
                    let body = message::payment(kind, due, name, &session.order, &session.money());
                    let (id, notice) = (format!("msg_{name}"), notice.clone());
                    session.posts.push(Post {
                        id,
                        body,
                        due: due.0,
                        tries: 0,
                        done: false,
                        notice,
                    });
                }
                if payments > 0 {
                    let late = action == Action::Late;
                    session.payments.push(Payment { id: name.clone(), late, refund: None });
                }
            }
            session.closed = payments > 0;
            Done::Shown(desk(session, now))
        });
        let done = pressed.await?.unwrap_or(Done::NotFound);
        self.woken.notify_one();
        Ok(done)
    }
}

impl Sandbox {
    /// Sends back what was paid, without the shop, which is told by a message.
    async fn reverse(
        &self,
        id: &str,
        session: &Session,
        kind: ReversalKind,
        now: Millis,
    ) -> Result<Done, EngineError> {
        // Looked at before anything is announced: whoever presses in vain, as anybody may, leaves nothing behind.
        if !session.payments.iter().any(Payment::can_go_back) {
            return Ok(Done::Over(desk(session, now)));
        }
        let notice = self.announce(id, now).await?;
        let pressed = self.change(id, |session| {
            let (money, order) = (session.money(), session.order.clone());
            let Some(paid) = session.payments.iter_mut().find(|paid| paid.can_go_back()) else {
                return Done::Over(desk(session, now));
            };
            // Whoever asks for it as a refund later hears that it arrived.
            paid.refund = Some((kind.as_str().to_owned(), now.0 - REFUND_TAKES_MS));
            let body = message::payment(
                &format!("payment.{}", kind.as_str()),
                now,
                &paid.id,
                &order,
                &money,
            );
            let post = format!("msg_{}_{}", paid.id, kind.as_str());
            session.posts.push(Post {
                id: post,
                body,
                due: now.0,
                tries: 0,
                done: false,
                notice: notice.clone(),
            });
            Done::Shown(desk(session, now))
        });
        let done = pressed.await?.unwrap_or(Done::NotFound);
        self.woken.notify_one();
        Ok(done)
    }
}

fn state(session: &Session, now: Millis) -> &'static str {
    match () {
        () if session.payments.iter().any(|payment| payment.late) => "late",
        () if !session.payments.is_empty() => {
            session.payments.iter().find_map(Payment::reversal).map_or("paid", ReversalKind::as_str)
        }
        () if session.closed => "closed",
        () if now.0 >= session.expires_at || session.posts.len() >= PAYMENTS_MAX => "expired",
        () => "open",
    }
}

fn desk(session: &Session, now: Millis) -> Desk {
    let time = |millis| doorbuster_api::value::Time::from_millis(millis).to_string();
    Desk {
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
    use super::super::{key_of, rig, text};
    use super::*;
    use crate::scratch::Scratch;

    #[tokio::test]
    async fn a_button_that_is_pressed_in_vain_leaves_nothing_behind() {
        let dir = Scratch::new();
        let engine = rig::engine(&dir).await;
        let sandbox = Sandbox::new(engine.clone(), Vec::new());
        let session = rig::session(engine.now().plus(3_600_000).0);
        engine.store().sandbox_swap(key_of("cs_1"), None, text(&session)).await.expect("writes");
        let press = async |action| sandbox.press("cs_1", action).await.expect("reads and writes");
        let announced = async || {
            engine
                .store()
                .sandbox_list("due/".to_owned(), String::new(), 100)
                .await
                .expect("reads")
                .len()
        };
        for _ in 0..5 {
            for action in [Action::Return, Action::Dispute] {
                assert!(matches!(press(action).await, Done::Over(_)), "nothing was paid");
            }
        }
        assert_eq!(announced().await, 0);
        assert!(matches!(press(Action::Pay).await, Done::Shown(_)));
        assert!(matches!(press(Action::Return).await, Done::Shown(_)));
        for action in [Action::Return, Action::Dispute, Action::Pay, Action::Fail] {
            assert!(matches!(press(action).await, Done::Over(_)), "it went back");
        }
        assert_eq!(announced().await, 2, "that it was paid, and that it went back");
        engine.stop().await;
    }
}
