//! One connection of a worker. It takes a buyer, sends the request, reads the answer and decides,
//! until no buyer is left.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer::{self, AnswerDecision, ExpectedOrder};
use super::http_connection::{ConnectionFault, HttpConnection};
use super::pending::{PendingBuyer, Queued};
use super::request::{self, OrderRequest};
use super::worker::{AnswerSource, NextStep, Worker};
use super::{limits, listener};

/// Serves buyers until the worker has no more work.
pub(super) async fn run(worker: Rc<Worker>) {
    let shared = &worker.shared;
    let mut connection = BuyerConnection {
        http_connection: HttpConnection::new(
            shared.target.addr,
            Duration::from_secs(shared.plan.wait_secs.into()) + limits::ANSWER_GRACE,
        ),
        request: OrderRequest::new(&shared.plan, &shared.target, &shared.buyers),
        worker: &worker,
    };
    connection.open().await;
    shared.ready.wait().await;
    shared.started_at();
    loop {
        match worker.take() {
            NextStep::PendingBuyer(pending) => connection.serve(pending).await,
            NextStep::Wait => worker.wait_for_work().await,
            NextStep::Done => return,
        }
    }
}

struct BuyerConnection<'a> {
    http_connection: HttpConnection,
    request: OrderRequest,
    worker: &'a Rc<Worker>,
}

impl BuyerConnection<'_> {
    async fn open(&mut self) {
        // The semaphore is never closed.
        let _turn = self.worker.connecting.acquire().await;
        if self.http_connection.open().await.is_err() {
            self.worker.not_connected();
        }
    }

    async fn serve(&mut self, pending: PendingBuyer) {
        self.worker.count_request();
        let fault = match pending.queued.clone() {
            None => self.buy(pending).await,
            Some(queued) => self.poll_verdict(pending, &queued).await,
        };
        match fault {
            None => {}
            // The server does not accept connections. This connection pauses too. Otherwise it
            // would take every buyer of the queue and fail.
            Some(ConnectionFault::Connect) => tokio::time::sleep(limits::BACKOFF_MIN).await,
            Some(_) => self.http_connection.close(),
        }
    }

    async fn buy(&mut self, pending: PendingBuyer) -> Option<ConnectionFault> {
        let worker = self.worker;
        let shared = &worker.shared;
        let bytes = self.request.for_buyer(pending.buyer, &shared.buyers);
        let (head, body) = match self.http_connection.exchange(bytes).await {
            Ok(answer) => answer,
            Err(fault) => return schedule_reconnect(worker, pending, fault),
        };
        let plan = &shared.plan;
        let name = || shared.buyers.name(pending.buyer);
        let expected =
            ExpectedOrder { sale: &plan.sale, item: &plan.item, units: plan.units, buyer: &name };
        match answer::decide(&head, body, &expected) {
            AnswerDecision::Final(answer) => {
                worker.record_answer(&pending, &answer, AnswerSource::Answer)
            }
            AnswerDecision::Queued { id, decide_by } => {
                await_verdict(worker, pending, id.into_owned(), decide_by)
            }
            AnswerDecision::Retry { after, status } => {
                worker.schedule_retry(pending, status, after)
            }
            AnswerDecision::Malformed(what) => {
                return schedule_reconnect(worker, pending, ConnectionFault::Malformed(what));
            }
        }
        None
    }

    async fn poll_verdict(
        &mut self,
        pending: PendingBuyer,
        queued: &Queued,
    ) -> Option<ConnectionFault> {
        let worker = self.worker;
        let shared = &worker.shared;
        let path = format!("/v1/orders/{}", queued.id);
        let bytes =
            request::get(&path, "application/json", &shared.target, &shared.buyers, pending.buyer);
        let (head, body) = match self.http_connection.exchange(&bytes).await {
            Ok(answer) => answer,
            Err(fault) => return schedule_reconnect(worker, pending, fault),
        };
        match answer::decide_verdict(&head, body, &queued.id) {
            AnswerDecision::Final(answer) => {
                worker.record_answer(&pending, &answer, AnswerSource::Poll)
            }
            AnswerDecision::Malformed(what) => {
                return schedule_reconnect(worker, pending, ConnectionFault::Malformed(what));
            }
            AnswerDecision::Queued { .. } | AnswerDecision::Retry { .. } => {
                worker.poll_later(pending)
            }
        }
        None
    }
}

fn schedule_reconnect(
    worker: &Worker,
    pending: PendingBuyer,
    fault: ConnectionFault,
) -> Option<ConnectionFault> {
    worker.schedule_reconnect(pending, &fault);
    Some(fault)
}

/// Waits for the verdict after a `202` by polling. The first few buyers also wait for an event.
fn await_verdict(worker: &Rc<Worker>, pending: PendingBuyer, id: String, decide_by: Timestamp) {
    let due = decide_by.duration_since(Timestamp::now());
    let wait = Duration::try_from(due).unwrap_or_default() + worker.shared.plan.verdict_grace;
    let deadline = Instant::now() + wait.min(limits::VERDICT_WAIT_MAX);
    let listens =
        worker.shared.listeners.fetch_add(1, Ordering::Relaxed) < worker.shared.plan.listeners;
    let first_look = if listens { limits::POLL_MAX } else { limits::POLL_MIN };
    let pending = worker.queued(pending, Queued::new(id, deadline, first_look));
    if listens {
        // The task ends with its verdict, or with the event loop.
        tokio::task::spawn_local(listener::listen(Rc::clone(worker), pending));
    }
}
