//! One connection's life: take a buyer, send, read, rule; over and over until nobody is left.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::answer::{self, Asked, Ruling};
use super::case::{Case, Queued};
use super::request::{self, OrderRequest};
use super::wire::{Fault, Wire};
use super::worker::{Take, Via, Worker};
use super::{limits, listener};

/// Serves buyers until the worker has none left.
pub(super) async fn run(worker: Rc<Worker>) {
    let shared = &worker.shared;
    let mut line = Line {
        wire: Wire::new(
            shared.target.addr,
            Duration::from_secs(shared.plan.wait_secs.into()) + limits::ANSWER_GRACE,
        ),
        request: OrderRequest::new(&shared.plan, &shared.target, &shared.buyers),
        worker: &worker,
    };
    line.open().await;
    shared.ready.wait().await;
    shared.started_at();
    loop {
        match worker.take() {
            Take::Case(case) => line.serve(case).await,
            Take::Wait => worker.rest().await,
            Take::Done => return,
        }
    }
}

struct Line<'a> {
    wire: Wire,
    request: OrderRequest,
    worker: &'a Rc<Worker>,
}

impl Line<'_> {
    async fn open(&mut self) {
        // The semaphore is never closed.
        let _turn = self.worker.connecting.acquire().await;
        if self.wire.open().await.is_err() {
            self.worker.not_connected();
        }
    }

    async fn serve(&mut self, case: Case) {
        self.worker.sent();
        let fault = match case.queued.clone() {
            None => self.buy(case).await,
            Some(queued) => self.look(case, &queued).await,
        };
        match fault {
            None => {}
            // Nobody listens: this connection waits too, or it would hand every buyer of the queue to nobody.
            Some(Fault::Connect) => tokio::time::sleep(limits::BACKOFF_MIN).await,
            Some(_) => self.wire.close(),
        }
    }

    async fn buy(&mut self, case: Case) -> Option<Fault> {
        let worker = self.worker;
        let shared = &worker.shared;
        let bytes = self.request.of(case.buyer, &shared.buyers);
        let (head, body) = match self.wire.exchange(bytes).await {
            Ok(answer) => answer,
            Err(fault) => return broken(worker, case, fault),
        };
        let plan = &shared.plan;
        let name = || shared.buyers.name(case.buyer);
        let asked = Asked { sale: &plan.sale, item: &plan.item, units: plan.units, buyer: &name };
        match answer::rule(&head, body, &asked) {
            Ruling::Final(told) => worker.settle(&case, &told, Via::Answer),
            Ruling::Queued { id, decide_by } => follow(worker, case, id.into_owned(), decide_by),
            Ruling::Again { after, status } => worker.again(case, status, after),
            Ruling::Malformed(what) => return broken(worker, case, Fault::Malformed(what)),
        }
        None
    }

    async fn look(&mut self, case: Case, queued: &Queued) -> Option<Fault> {
        let worker = self.worker;
        let shared = &worker.shared;
        let path = format!("/v1/orders/{}", queued.id);
        let bytes =
            request::get(&path, "application/json", &shared.target, &shared.buyers, case.buyer);
        let (head, body) = match self.wire.exchange(&bytes).await {
            Ok(answer) => answer,
            Err(fault) => return broken(worker, case, fault),
        };
        match answer::rule_verdict(&head, body, &queued.id) {
            Ruling::Final(told) => worker.settle(&case, &told, Via::Poll),
            Ruling::Malformed(what) => return broken(worker, case, Fault::Malformed(what)),
            Ruling::Queued { .. } | Ruling::Again { .. } => worker.look_later(case),
        }
        None
    }
}

fn broken(worker: &Worker, case: Case, fault: Fault) -> Option<Fault> {
    worker.broken(case, &fault);
    Some(fault)
}

/// Sees to it that the verdict of a `202` is heard: by asking, and for the first few also by event.
fn follow(worker: &Rc<Worker>, case: Case, id: String, decide_by: Timestamp) {
    let due = decide_by.duration_since(Timestamp::now());
    let wait = Duration::try_from(due).unwrap_or_default() + worker.shared.plan.verdict_grace;
    let deadline = Instant::now() + wait.min(limits::VERDICT_WAIT_MAX);
    let listens =
        worker.shared.listeners.fetch_add(1, Ordering::Relaxed) < worker.shared.plan.listeners;
    let first_look = if listens { limits::POLL_MAX } else { limits::POLL_MIN };
    let case = worker.queued(case, Queued::new(id, deadline, first_look));
    if listens {
        // Ends with its verdict, or with the event loop that it lives on.
        tokio::task::spawn_local(listener::listen(Rc::clone(worker), case));
    }
}
