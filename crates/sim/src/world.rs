//! The simulated sale: nodes, slots, settlers, leaders and the store. These actors send each other
//! messages, which the operations of the list deliver one by one.
//!
//! This module takes the place of the server. It runs the steps of the crate `steps`, and calls the
//! rules of `core` in the same order as the server. Apart from messages, one actor affects another
//! only through a transaction of the store or through an atomic step of a slot.
mod answer;
mod applied_payments;
mod buyer;
mod control;
mod delivery;
mod failover;
mod faults;
mod in_flight;
mod lease;
mod limit;
mod loss;
mod missing_units;
mod money;
mod money_quiescence;
mod node;
mod opening;
mod phase;
mod probe;
mod provider;
mod quiescence;
mod respread;
mod reversal;
mod round;
mod route;
mod settler;
mod slot_call;
mod view;
mod waitlist;

use std::collections::VecDeque;

use doorbuster_core::event::Attribution;
use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::rows::Item;
use doorbuster_core::{Counter, GrantId, ItemId, Millis, SlotKey, Stock, Units};

use crate::checker::{Checker, Finding, RowsBefore};
use crate::names::NAMES;
use crate::op::{Op, Setup};
use crate::rng::mix;
use crate::state::{
    Attempt, Deliveries, ItemWidth, Message, Node, PlacedSlot, Provider, RecordedCall, UnitsAction,
    first_widths, fresh_slot,
};
use crate::store::{SimStore, Tx, TxResult};
use failover::Failovers;

/// The store's clock at the start.
const START: Millis = Millis(1_800_000_000_000);
/// The largest number of messages in flight. If there are more, the oldest message is lost.
const FLIGHT_MAX: usize = 256;

/// The simulated sale.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) setup: Setup,
    pub(crate) store: SimStore,
    pub(crate) places: Vec<PlacedSlot>,
    /// The changeable part of each item's spread, as the store records it.
    pub(crate) widths: Vec<ItemWidth>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) flight: VecDeque<Message>,
    pub(crate) late: Vec<Message>,
    /// The store's clock.
    pub(crate) now: Millis,
    /// Monotonic time, with which nodes measure waiting times.
    pub(crate) mono: Millis,
    pub(crate) checker: Checker,
    /// All calls to slots so far; `None` if the run is not recorded.
    pub calls: Option<Vec<RecordedCall>>,
    draws: u64,
    /// The number of transactions that have started.
    pub(crate) xids: u64,
    /// How often all loops of the nodes have run since the list's last operation.
    pub(crate) rounds: u64,
    pub(crate) provider: Provider,
    /// Actions that wait for more units. They continue when the item's counts change.
    pub(crate) waiting_actions: Vec<UnitsAction>,
    pub(crate) deliveries: Deliveries,
    /// The number of ended orders of each item.
    pub(crate) ended_orders: [u64; 2],
    pub(crate) failovers: Failovers,
}

impl World {
    /// Returns a sale at its beginning. Each slot has its first grant.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let mut world = Self::before_opening(setup);
        world.open();
        world
    }

    /// Creates a world as [`World::new`] does. This world records every transaction and every call
    /// to a slot. Also returns the rows before the first transaction.
    #[must_use]
    pub fn recorded(setup: &Setup) -> (Self, Model) {
        let mut world = Self::before_opening(setup);
        let rows = world.store.model.clone();
        (world.store.trace, world.calls) = (Some(Vec::new()), Some(Vec::new()));
        world.open();
        (world, rows)
    }

    fn before_opening(setup: &Setup) -> Self {
        let mut model = Model::default();
        for (i, item) in setup.items.iter().enumerate() {
            let id = ItemId(i as i64 + 1);
            let total = match item.total {
                Some(units) => Stock::Counted(u64::from(units)),
                None => Stock::Unlimited,
            };
            let pool = u64::from(item.total.unwrap_or(0));
            let (limit, hold_ms) = (u32::from(item.limit), i64::from(item.hold_secs) * 1_000);
            let minor = 10 * (i as i64 + 1) + 7;
            model.prices.insert(id, Money { minor, currency: "EUR".into() });
            model.items.insert(
                id,
                Item { id, total, pool, limit, hold_ms, ended: 0, paid: 0, waiting: 0 },
            );
        }
        let places = setup.slots.iter().enumerate().map(|(i, s)| PlacedSlot {
            at: SlotKey { item: ItemId(i64::from(s.item) + 1), index: i as u32 },
            node: s.node,
            slot: fresh_slot(setup, ItemId(i64::from(s.item) + 1)),
            kept: None,
        });
        let places: Vec<_> = places.collect();
        let starts_at = (setup.opens > 0).then(|| START.plus(i64::from(setup.opens) * 100));
        let checker = Checker::new(&model, starts_at);
        Self {
            setup: setup.clone(),
            store: SimStore::new(model, NAMES.key.clone(), starts_at),
            places,
            widths: first_widths(setup),
            nodes: (0..setup.nodes).map(|_| Node::default()).collect(),
            attempts: Vec::new(),
            flight: VecDeque::new(),
            late: Vec::new(),
            now: START,
            mono: START,
            checker,
            calls: None,
            draws: 0,
            xids: 0,
            rounds: 0,
            provider: Provider::default(),
            waiting_actions: Vec::new(),
            deliveries: Deliveries::default(),
            ended_orders: [0; 2],
            failovers: Failovers::default(),
        }
    }

    fn open(&mut self) {
        for i in 0..self.places.len() {
            let units = self.opening_units(i);
            self.open_slot(0, i, units);
        }
        self.deliver_all();
        for i in 0..self.nodes.len() {
            self.boot_snapshot(i);
        }
    }

    /// Runs a whole list of operations, and then every loop until no work is left. Stops at the
    /// first finding, and returns it.
    pub fn run(&mut self, ops: &[Op]) -> Option<Finding> {
        for &op in ops {
            self.step(op);
            if self.checker.has_finding() {
                return self.checker.finding.take();
            }
        }
        self.quiesce();
        self.checker.finding.take()
    }

    /// Runs one operation.
    pub fn step(&mut self, op: Op) {
        match op {
            Op::Buy { node, buyer, key, item, units } => self.buy(node, buyer, key, item, units),
            Op::Replay { node, attempt, more } => self.replay(node, attempt, more),
            Op::HandOut { attempt } => self.end_verdict_wait(attempt),
            Op::Get { id, .. } => self.get(id),
            Op::Poll { attempt } => self.poll_one(attempt),
            Op::Retry { attempt } => self.retry_one(attempt),
            Op::Cancel { order } => self.cancel(order, Attribution::BUYER.clone()),
            Op::Pay { order, event } => self.pay(order, event),
            Op::Refund { order } => self.refund(order),
            Op::Expire { order } => self.expire(order),
            Op::Deliver { message } => self.deliver(message),
            Op::DeliverMany { count } => self.deliver_many(usize::from(count)),
            Op::Lose { message } => self.lose(message),
            Op::Repeat { message } => self.repeat(message),
            Op::Delay { message } => self.delay(message),
            Op::Late { message } => self.deliver_delayed(message),
            Op::Take { slot, at_most } => self.take_op(slot, at_most),
            Op::Poison { message } => self.poison(message),
            Op::Redeliver { slot } => self.redeliver(slot),
            Op::Snapshot { node } => self.send_snapshot(node),
            Op::Tick { tenths } => self.tick(tenths),
            Op::Step { minutes } => self.now = self.now.plus(i64::from(minutes) * 60_000),
            Op::Skew { node, tenths } => self.skew(node, tenths),
            Op::CrashNode { node } => self.crash_node(node),
            Op::Die { node } => self.stop_node(node),
            Op::Rise { node } => self.restart_node(node),
            Op::Beat { node } => self.renew_lease(node),
            Op::CrashLeader { leader } => self.crash_leader(leader % 2),
            Op::Forget { slot } => self.forget(slot),
            Op::Save { slot } => self.save(slot),
            Op::Swap { slot } => self.swap_in_saved_copy(slot),
            control => self.control(control),
        }
    }

    fn control(&mut self, op: Op) {
        match op {
            Op::Open { leader, slot, units } => {
                self.open_slot(leader % 2, self.slot_of(slot), u64::from(units))
            }
            Op::Refill { leader, slot, units, counter } => {
                let counter = Counter::ALL[usize::from(counter % 2)];
                self.refill(leader % 2, self.slot_of(slot), u64::from(units), counter);
            }
            Op::Leases { leader } => self.close_lapsed_grants(leader % 2),
            Op::Feed { leader, slot } => self.send_feed(leader % 2, self.slot_of(slot)),
            Op::Look { leader, slot } => self.start_loss_check(leader % 2, self.slot_of(slot)),
            Op::Recall { leader, slot, units, target } => {
                self.recall(leader % 2, slot, units, target)
            }
            Op::RecallAgain { leader, recall } => self.recall_again(leader % 2, recall),
            Op::Round { node, item } => {
                self.begin_round(node % self.setup.nodes, self.item_of(item))
            }
            Op::Adjust { item, delta } => self.adjust(self.item_of(item), i64::from(delta)),
            Op::Pause { item } => self.pause(self.item_of(item)),
            Op::Resume { item } => self.resume(self.item_of(item)),
            Op::Close { item } => self.close_sale(self.item_of(item)),
            Op::TakeDueStep { leader, item } => self.take_due_step(leader % 2, self.item_of(item)),
            Op::MoveStart { item, tenths } => self.move_start(self.item_of(item), tenths),
            Op::Drain { leader, item } => self.drain(leader % 2, self.item_of(item)),
            Op::Roll { leader, slot } => self.roll(leader % 2, self.slot_of(slot)),
            Op::Lapse { slot, .. } => self.lapse(self.slot_of(slot)),
            after => self.money_op(after),
        }
    }

    fn money_op(&mut self, op: Op) {
        match op {
            Op::Checkout { order } => self.ask_checkout(order),
            Op::PayAt { session, how } => self.pay_at(session, how),
            Op::Charge { order, how } => self.charge(order, how),
            Op::TellAgain { payment, how } => self.send_again(payment, how),
            Op::EndWait { action } => self.end_wait(action),
            Op::Provider { how } => self.set_provider(how),
            Op::Reconcile { leader, checkout } => self.reconcile(leader % 2, checkout),
            Op::AskRefund { leader, refund } => self.ask_refund(leader % 2, refund),
            Op::RefundArrives { refund, how } => self.refund_arrives(refund, how),
            Op::Reverse { payment, how } => self.reverse(payment, how),
            Op::RetryRefund { refund } => self.retry_refund(refund),
            Op::Extend { order, secs } => self.extend(order, secs),
            Op::Wait { tens } => (0..tens).for_each(|_| self.tick(100)),
            Op::Tell { worker, endpoint } => self.deliver_events(worker, endpoint),
            Op::Endpoint { endpoint, mood } => self.set_endpoint_mode(endpoint, mood),
            Op::CrashTeller { worker } => self.crash_worker(worker),
            Op::StandbyStops => self.stop_standby(),
            Op::FailOver => self.fail_over(),
            Op::PauseAfterFailover => self.pause_after_failover(),
            Op::Waitlist(op) => self.waitlist_op(op),
            Op::Respread(op) => self.respread_op(op),
            _ => {}
        }
    }

    fn slot_of(&self, slot: u8) -> usize {
        usize::from(slot) % self.places.len()
    }

    fn item_of(&self, item: u8) -> ItemId {
        ItemId((usize::from(item) % self.setup.items.len()) as i64 + 1)
    }

    pub(crate) fn commit(&mut self, tx: Tx) -> TxResult {
        if !matches!(tx, Tx::Settle(..)) {
            self.xids += 1;
            self.store.xid = self.xids;
        }
        let before = RowsBefore::for_tx(&self.store, &tx);
        let done = self.store.commit(&tx);
        self.count_ended_order(&tx, &done);
        self.checker.committed(&self.store, (&tx, &done), &before, (self.now, self.mono));
        if self.setup.alone {
            self.boot_snapshot(0);
        }
        done
    }

    /// Returns bits for a new id. The bits depend only on the number of earlier calls, so that a
    /// run can be repeated exactly.
    pub(crate) fn next_id_bits(&mut self) -> u64 {
        self.draws += 1;
        mix(self.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn draw_grant(&mut self) -> GrantId {
        GrantId(self.next_id_bits() >> 1)
    }
}

pub(crate) fn units_of(units: u8) -> Units {
    Units::new(u32::from(units).clamp(1, 9)).expect("1 to 9 is in range")
}
