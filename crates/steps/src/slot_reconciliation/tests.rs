//! Tests the sequence of a round's effects.
use doorbuster_core::slot::{RecallOutcome, SlotView};
use doorbuster_core::{
    Grant, GrantId, ItemId, Recall, RecallId, RecallTarget, Seq, SlotKey, Spread, Stock, TicketN,
    Units,
};

use super::{Effect, Input, ItemView, OpenSlot, Pause, Portions, Round};
use crate::fixture;

const HERE: SlotKey = SlotKey { item: ItemId(1), index: 0 };
const ALSO_HERE: SlotKey = SlotKey { item: ItemId(1), index: 1 };
const ELSEWHERE: SlotKey = SlotKey { item: ItemId(1), index: 2 };

/// An item with two slots that the node reaches, and a slot that only another node reaches.
struct Item {
    pool: u64,
    demand: Option<u32>,
    halts: bool,
    may_resume: bool,
    pool_rest_ms: u64,
    narrowed: bool,
    /// A slot that this node reaches, but that answers neither recalls nor feed rows.
    silent: Option<SlotKey>,
    reaches_all: bool,
}

const ITEM: Item = Item {
    pool: 0,
    demand: None,
    halts: false,
    may_resume: true,
    pool_rest_ms: 0,
    narrowed: false,
    silent: None,
    reaches_all: false,
};

impl ItemView for Item {
    fn slots(&self) -> Vec<SlotKey> {
        vec![HERE, ALSO_HERE]
    }

    fn is_in_spread(&self, slot: SlotKey) -> bool {
        slot != ELSEWHERE || !self.narrowed
    }

    fn reaches_all_slots(&self) -> bool {
        self.reaches_all
    }

    fn portions(&self) -> Portions {
        Portions::new(Spread::default(), Stock::Unlimited, Some(2))
    }

    fn limit(&self) -> u32 {
        2
    }

    fn pool(&self) -> u64 {
        self.pool
    }

    fn pool_rest_ms(&self) -> u64 {
        self.pool_rest_ms
    }

    fn rest_pool(&mut self) {
        self.pool_rest_ms = 300;
    }

    fn first_demand(&self) -> Option<(SlotKey, Units)> {
        Some((HERE, Units::new(self.demand?)?))
    }

    fn leads(&self) -> bool {
        true
    }

    fn halts(&self) -> bool {
        self.halts
    }

    fn may_resume(&mut self, _: bool) -> bool {
        self.may_resume
    }
}

fn grant(slot: SlotKey) -> Grant {
    Grant { feed_len: Seq(1), ..fixture::grant(u64::from(slot.index) + 1, slot, 5) }
}

fn open(slot: SlotKey, available: u64) -> OpenSlot {
    let grant = grant(slot);
    let view = SlotView {
        grant: grant.id,
        epoch: grant.epoch,
        available,
        counters: [available, 0],
        active: doorbuster_core::Counter::A,
        mark: false,
        applied: Seq(1),
        n: TicketN(0),
        unacknowledged: 0,
        stopped: false,
        sealed: false,
    };
    OpenSlot { grant, view, is_new: false }
}

fn recall(from: SlotKey, target: RecallTarget) -> Recall {
    let (id, grant) = (RecallId(9), grant(from).id);
    Recall { id, grant, target, asked: 3, taken: 0, done: false }
}

fn all_grants() -> Vec<Grant> {
    let closed = Grant { id: GrantId(99), open: false, ..grant(HERE) };
    vec![grant(HERE), grant(ALSO_HERE), grant(ELSEWHERE), closed]
}

/// Runs a round. If `gives` is true, the slots give all recalled units. Otherwise, the slots refuse
/// the recalls. Returns the effects that follow the start of the slots.
fn run(item: &mut Item, slots: &[OpenSlot], pending: &[Recall], gives: bool) -> Vec<String> {
    let mut names = Vec::new();
    let (mut round, mut effect) = Round::begin();
    loop {
        let input = match &effect {
            Effect::ReadGrants => Input::Grants(all_grants()),
            Effect::ReadRecalls => Input::Recalls(pending.to_vec()),
            Effect::StartSlots { .. } => Input::Started(slots.to_vec()),
            Effect::DrainSlot(grant) => {
                names.push(format!("drain {}", grant.slot.index));
                Input::Drained(false)
            }
            Effect::TakeUnits { from, recall } => {
                names.push(format!("take {} from {}", recall.asked, from.slot.index));
                let outcome = match gives {
                    true => RecallOutcome::Taken(recall.asked),
                    false => RecallOutcome::Refused,
                };
                Input::Taken((item.silent != Some(from.slot)).then_some(outcome))
            }
            Effect::FinishRecall { units, .. } => {
                names.push(format!("move {units}"));
                Input::Moved(*units)
            }
            Effect::Feed(slots) => {
                let indices: Vec<u32> = slots.iter().map(|slot| slot.grant.slot.index).collect();
                names.push(format!("feed {indices:?}"));
                let (missed, mut fed): (Vec<_>, Vec<_>) =
                    slots.iter().cloned().partition(|slot| item.silent == Some(slot.grant.slot));
                fed.iter_mut().for_each(|slot| slot.view.applied = slot.grant.feed_len);
                Input::Fed { fed, missed: missed.iter().map(|slot| slot.grant.id).collect() }
            }
            Effect::Distribute { refills, .. } => {
                let units = refills.iter().map(|part| (part.grant, part.portion.units));
                let parts: Vec<_> =
                    refills.iter().map(|part| (part.slot.index, part.portion.units)).collect();
                names.push(format!("distribute {parts:?}"));
                Input::Refilled(units.collect())
            }
            Effect::Gather(part) => {
                names.push(format!("give {} to {}", part.portion.units, part.slot.index));
                Input::Refilled(vec![(part.grant, part.portion.units)])
            }
            Effect::BeginRecall { from, into, units } => {
                names.push(format!("recall {units} from grant {} into {}", from.0, into.0));
                let target = RecallTarget::Grant(*into);
                let grant = *from;
                Input::RecallBegun(Some(Recall { grant, asked: *units, ..recall(HERE, target) }))
            }
            Effect::RunAgain(pause) => {
                names.push(match pause {
                    Pause::Drain => "again: drain".into(),
                    Pause::PoolRest(ms) => format!("again: rest {ms}"),
                    Pause::GiveWay => "again: give way".into(),
                });
                Input::Done
            }
            Effect::Record => Input::Done,
            Effect::Stop { slot, stopped } => {
                names.push(format!("stop {}: {stopped}", slot.index));
                Input::Done
            }
            Effect::Finish => return names,
        };
        effect = round.next(input, item);
    }
}

fn check(item: Item, slots: &[OpenSlot], pending: &[Recall], wanted: &[&str]) {
    let mut item = item;
    assert_eq!(run(&mut item, slots, pending, true), wanted);
}

#[test]
fn a_round_without_work_only_reads() {
    check(ITEM, &[open(HERE, 5), open(ALSO_HERE, 5)], &[], &[]);
}

#[test]
fn slots_that_must_not_issue_tickets_stop_and_get_no_new_grant() {
    let (mut round, _) = Round::begin();
    let mut item = Item { halts: true, ..ITEM };
    round.next(Input::Grants(vec![grant(HERE)]), &mut item);
    let effect = round.next(Input::Recalls(Vec::new()), &mut item);
    let Effect::StartSlots { slots, .. } = effect else { panic!("{effect:?}") };
    assert_eq!(slots.iter().map(|slot| slot.slot).collect::<Vec<_>>(), [HERE]);
    check(item, &[open(HERE, 5)], &[], &["stop 0: true"]);
}

#[test]
fn a_stopped_slot_resumes_only_if_this_node_may_resume_it() {
    let mut stopped = open(HERE, 5);
    stopped.view.stopped = true;
    check(ITEM, &[stopped.clone()], &[], &["stop 0: false"]);
    check(Item { may_resume: false, ..ITEM }, &[stopped.clone()], &[], &[]);
    let new = OpenSlot { is_new: true, ..stopped };
    check(Item { may_resume: false, ..ITEM }, &[new], &[], &["stop 0: false"]);
}

#[test]
fn a_slot_that_lacks_rows_is_fed_alone() {
    let mut behind = open(HERE, 5);
    behind.grant.feed_len = Seq(2);
    check(ITEM, &[behind, open(ALSO_HERE, 5)], &[], &["feed [0]"]);
}

#[test]
fn the_pool_goes_to_the_slots_and_all_slots_are_fed() {
    let slots = [open(HERE, 0), open(ALSO_HERE, 5)];
    check(Item { pool: 3, ..ITEM }, &slots, &[], &["distribute [(0, 3)]", "feed [0, 1]"]);
    let rests = Item { pool: 3, pool_rest_ms: 40, ..ITEM };
    check(rests, &slots, &[], &["again: rest 40"]);
}

#[test]
fn a_recall_to_the_pool_leaves_the_pool_to_other_nodes() {
    let slots = [open(HERE, 5), open(ALSO_HERE, 5)];
    let to_pool = recall(HERE, RecallTarget::Pool);
    let item = Item { pool: 3, ..ITEM };
    let wanted = ["take 3 from 0", "move 3", "feed [0, 1]", "again: rest 300"];
    check(item, &slots, std::slice::from_ref(&to_pool), &wanted);
    assert_eq!(run(&mut { ITEM }, &slots, &[to_pool], false), ["take 3 from 0"]);
    let elsewhere = recall(ELSEWHERE, RecallTarget::Pool);
    check(ITEM, &slots, &[elsewhere], &[]);
}

#[test]
fn the_last_units_are_gathered_for_the_first_request() {
    let slots = [open(HERE, 1), open(ALSO_HERE, 2)];
    let item = Item { demand: Some(3), ..ITEM };
    // Only another node reaches the fullest slot, so that node carries out the recall.
    let wanted = ["recall 1 from grant 3 into 2", "feed [0, 1]"];
    check(item, &slots, &[], &wanted);
}

#[test]
fn a_round_goes_on_without_a_slot_that_does_not_answer() {
    let silent = || Item { pool: 3, silent: Some(HERE), ..ITEM };
    let mut behind = open(HERE, 0);
    behind.grant.feed_len = Seq(2);
    let slots = [behind, open(ALSO_HERE, 0)];
    let wanted = ["feed [0]", "distribute [(1, 3)]", "feed [1]"];
    check(silent(), &slots, &[], &wanted);
    // The slot does not answer the first recall, so the round does not try the second recall from
    // this slot.
    let recalls =
        [recall(HERE, RecallTarget::Pool), recall(HERE, RecallTarget::Grant(grant(ALSO_HERE).id))];
    let slots = [open(HERE, 5), open(ALSO_HERE, 0)];
    let wanted = ["take 3 from 0", "distribute [(1, 3)]", "feed [1]"];
    check(silent(), &slots, &recalls, &wanted);
}

#[test]
fn units_are_gathered_from_slots_that_a_node_can_reach() {
    let item = || Item { demand: Some(5), reaches_all: true, ..ITEM };
    let slots = [open(HERE, 2), open(ALSO_HERE, 3)];
    let take_two = ["recall 2 from grant 1 into 2", "take 2 from 0", "move 2", "feed [0, 1]"];
    check(item(), &slots, &[], &take_two);
    // No node reaches the slot from which this pending recall takes units. So these units do not
    // count as on their way.
    let pending = recall(ELSEWHERE, RecallTarget::Grant(grant(ALSO_HERE).id));
    check(item(), &slots, &[pending], &take_two);
    check(Item { demand: Some(6), ..item() }, &slots, &[], &[]);
}

#[test]
fn a_recall_between_slots_of_this_node_is_carried_out_at_once() {
    let slots = [open(HERE, 1), open(ALSO_HERE, 6)];
    let item = Item { demand: Some(7), ..ITEM };
    let wanted = ["recall 1 from grant 3 into 2", "feed [0, 1]"];
    check(item, &slots, &[], &wanted);
    let item = Item { demand: Some(12), ..ITEM };
    let wanted = [
        "recall 5 from grant 3 into 2",
        "recall 1 from grant 1 into 2",
        "take 1 from 0",
        "move 1",
        "feed [0, 1]",
    ];
    check(item, &slots, &[], &wanted);
}

#[test]
fn units_of_the_pool_are_gathered_first() {
    let slots = [open(HERE, 1), open(ALSO_HERE, 2)];
    let item = Item { demand: Some(3), pool: 1, pool_rest_ms: 40, ..ITEM };
    check(item, &slots, &[], &["again: rest 40", "give 1 to 1", "feed [0, 1]"]);
}

#[test]
fn a_node_that_gave_units_away_recalls_none_in_the_same_round() {
    let slots = [open(HERE, 1), open(ALSO_HERE, 2)];
    let given = recall(HERE, RecallTarget::Grant(grant(ELSEWHERE).id));
    let item = Item { demand: Some(3), ..ITEM };
    let wanted = ["take 3 from 0", "move 3", "feed [0, 1]", "again: give way"];
    check(item, &slots, &[given], &wanted);
}

#[test]
fn a_slot_that_left_the_spread_is_drained_and_looked_at_again() {
    let item = Item { narrowed: true, ..ITEM };
    let slots = [open(HERE, 5), open(ALSO_HERE, 5)];
    check(item, &slots, &[], &["drain 2", "again: drain"]);
}

#[test]
fn a_slot_that_lacks_rows_gets_no_further_portion() {
    let sizes = Spread { partitions: 2, initial: 4, threshold: 2, refill: 3, ..Spread::default() };
    let portions = Portions::new(sizes, Stock::Counted(20), None);
    let (mut behind, low) = (open(HERE, 0), open(ALSO_HERE, 0));
    behind.grant.feed_len = Seq(2);
    let parts = portions.split_pool(10, 2, &[behind, low]);
    let units: Vec<_> = parts.iter().map(|part| part.map(|portion| portion.units)).collect();
    assert_eq!(units, [None, Some(3)]);
}
