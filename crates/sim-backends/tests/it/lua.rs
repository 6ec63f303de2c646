//! Compares the Lua scripts of Redis slots with the reference slot. Only `retire.lua` is left out.
//! A Lua 5.1 interpreter runs the scripts in this process. In some runs, the slot's bounds are
//! small, or an old copy replaces the slot's data.
mod host;
mod keyspace;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{QueuedTicket, SlotKey, Token};
use doorbuster_sim::profile;
use doorbuster_sim::recorded::{RecordedRun, id_key};
use doorbuster_sim::state::{Call, RecordedCall, SlotReply};
use doorbuster_slots::{ScriptedSlot, SlotError};

use self::host::{Interpreter, LuaHost};
use super::backends::wanted_lists;

/// The number of lists of operations to compare, if `DOORBUSTER_SIM_LISTS` is not set.
const LISTS: u64 = 600;

/// Maps each delivered ticket's token to the ticket's position in the scripts' queue. All copies of
/// a slot share this map, because a ticket has the same position in each copy.
type Positions = HashMap<Token, u64>;

#[derive(Clone)]
struct LuaSlot {
    slot: ScriptedSlot<LuaHost>,
    /// The number of redeliveries so far. The reference slot writes this number into the upper 32
    /// bits of each position. A position from before the last redelivery has a smaller number, and
    /// is invalid.
    redeliveries: u64,
    is_stopped: bool,
}

impl LuaSlot {
    fn new(interpreter: &Rc<Interpreter>, at: SlotKey, bounds: SlotBounds) -> Self {
        let host = LuaHost::new(interpreter.clone());
        let slot = ScriptedSlot::new(host, at, id_key(), bounds);
        Self { slot, redeliveries: 0, is_stopped: false }
    }

    fn apply_call(
        &mut self,
        call: &Call,
        expected: &SlotReply,
        positions: &mut Positions,
    ) -> Result<SlotReply, SlotError> {
        let slot = &mut self.slot;
        Ok(match call {
            Call::Init(terms) => {
                let is_new = slot.view()?.is_none();
                let reply = slot.init(*terms)?;
                // The scripts cannot stop a slot that has no grant, but the reference can. If the
                // slot was stopped before its first grant, the stop is repeated after the grant.
                if is_new {
                    slot.stop(self.is_stopped)?;
                }
                SlotReply::ApplyOutcome(reply)
            }
            Call::Ticket(request) => SlotReply::Ticket(slot.ticket(request)?),
            Call::Apply(epoch, row) => SlotReply::ApplyOutcome(slot.apply(*epoch, row)?),
            Call::Recall(id, grant, epoch, units) => {
                SlotReply::RecallOutcome(slot.recall(*id, *grant, *epoch, *units)?)
            }
            Call::Take(at_most) => SlotReply::Taken(self.take(*at_most, expected, positions)?),
            Call::Redeliver => {
                self.redeliveries += 1;
                slot.redeliver()?;
                SlotReply::Done
            }
            Call::Acknowledge(position, token) => {
                if position >> 32 == self.redeliveries {
                    slot.acknowledge(positions[token], *token)?;
                }
                SlotReply::Done
            }
            Call::Stop(is_stopped) => {
                self.is_stopped = *is_stopped;
                slot.stop(*is_stopped)?;
                SlotReply::Done
            }
            Call::Forget | Call::Save | Call::Swap => SlotReply::Done,
        })
    }

    /// Takes tickets. Replaces each ticket's position by its position in the reference, so that the
    /// results can be compared.
    fn take(
        &mut self,
        at_most: usize,
        expected: &SlotReply,
        positions: &mut Positions,
    ) -> Result<Vec<QueuedTicket>, SlotError> {
        let mut taken = self.slot.take(at_most)?;
        if let SlotReply::Taken(expected) = expected {
            for (here, there) in taken.iter_mut().zip(expected) {
                positions.insert(here.ticket.token, here.at);
                here.at = there.at;
            }
        }
        Ok(taken)
    }
}

/// Runs the recorded calls on the scripts. Returns the first difference from the reference as an
/// error.
fn compare(interpreter: &Rc<Interpreter>, run: &RecordedRun) -> Result<(), String> {
    let fresh = |at: SlotKey| LuaSlot::new(interpreter, at, run.bounds);
    let mut slots: Vec<LuaSlot> = run.slot_keys.iter().map(|&at| fresh(at)).collect();
    let (mut kept, mut positions) = (slots.clone(), Positions::new());
    for (i, called) in run.calls.iter().enumerate() {
        let RecordedCall { slot: index, call, reply: expected, view: expected_view } = called;
        match call {
            Call::Forget => slots[*index] = fresh(run.slot_keys[*index]),
            Call::Save => kept[*index] = slots[*index].clone(),
            Call::Swap => std::mem::swap(&mut slots[*index], &mut kept[*index]),
            _ => {}
        }
        let slot = &mut slots[*index];
        let reply = slot
            .apply_call(call, expected, &mut positions)
            .map_err(|e| format!("call {i}, {call:?}: {e}"))?;
        let view = slot.slot.view().map_err(|e| e.to_string())?;
        if reply != *expected || view != *expected_view {
            return Err(format!(
                "call {i}, {call:?}: the scripts returned {reply:?} and have the state {view:?}, \
                 but the reference returned {expected:?} and has the state {expected_view:?}"
            ));
        }
    }
    Ok(())
}

/// Each of these must occur in at least one list: results of calls, `Swap` (an old copy replaces a
/// slot), and Redis commands.
const REACHED: &[&str] = &[
    "ApplyOutcome(At",
    "ApplyOutcome(Foreign",
    "HDEL",
    "HSCAN",
    "RecallOutcome(Refused",
    "RecallOutcome(Taken",
    "Swap",
    "Ticket(Full",
    "Ticket(Issued",
    "Ticket(KeyReused",
    "Ticket(LimitReached",
    "Ticket(NoEpoch",
    "Ticket(Repeated",
    "Ticket(Short",
    "Ticket(Stopped",
    "XAUTOCLAIM",
    "XDEL",
    "XREADGROUP",
    "XTRIM",
];

/// Returns the kind of each reply in this run. If a copy replaced the slot, the kind is `Swap`.
fn kinds(run: &RecordedRun) -> impl Iterator<Item = String> {
    run.calls.iter().map(|called| match called.call {
        Call::Swap => "Swap".to_owned(),
        _ => {
            let reply = format!("{:?}", called.reply);
            let words: Vec<&str> = reply.split(['(', ')', ' ']).take(2).collect();
            words.join("(")
        }
    })
}

#[test]
fn the_scripts_behave_like_the_reference_in_an_interpreter() {
    let lists = wanted_lists(LISTS);
    let work = |nth: u64| {
        let interpreter = Rc::new(Interpreter::new().expect("an interpreter"));
        let mut reached = BTreeSet::new();
        for seed in (nth..lists).step_by(2) {
            let run =
                RecordedRun::with_all_faults(&profile::case(seed)).expect("the run has no finding");
            if let Err(how) = compare(&interpreter, &run) {
                panic!("seed {seed}: {how}");
            }
            reached.extend(kinds(&run));
        }
        reached.extend(interpreter.commands());
        reached
    };
    let reached: BTreeSet<String> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|nth| scope.spawn(move || work(nth)));
        halves.into_iter().flat_map(|half| half.join().expect("no difference")).collect()
    });
    let missing = REACHED.iter().filter(|kind| !reached.contains(**kind));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "{reached:?}");
}
