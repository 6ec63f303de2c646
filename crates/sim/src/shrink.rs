//! Shrinks a list of operations that has a finding. Drops operations, and simplifies arguments and
//! the setup. Keeps such a change only if the changed list still breaks the same promise.
use serde_json::{Map, Value};

use crate::checker::Finding;
use crate::op::{Case, Op, Setup};

/// The largest number of changed lists that are tried. After this many tries, the smallest list so
/// far is the result.
const RUNS_MAX: usize = 20_000;

/// Returns a smaller list that breaks the same promise, and its finding.
pub fn shrink(
    case: &Case,
    finding: Finding,
    run: impl Fn(&Case) -> Option<Finding>,
) -> (Case, Finding) {
    let mut shrinker = Shrinker { best: case.clone(), finding, run, runs: 0 };
    loop {
        let before = shrinker.best.clone();
        shrinker.drop_ops();
        shrinker.simplify_ops();
        shrinker.simplify_setup();
        if shrinker.best == before || shrinker.runs >= RUNS_MAX {
            return (shrinker.best, shrinker.finding);
        }
    }
}

struct Shrinker<F> {
    best: Case,
    finding: Finding,
    run: F,
    runs: usize,
}

impl<F: Fn(&Case) -> Option<Finding>> Shrinker<F> {
    fn accept(&mut self, candidate: Case) -> bool {
        self.runs += 1;
        if self.runs >= RUNS_MAX || candidate == self.best || !candidate.setup.is_valid() {
            return false;
        }
        match (self.run)(&candidate) {
            Some(finding) if finding.what == self.finding.what => {
                self.best = candidate;
                self.finding = finding;
                true
            }
            _ => false,
        }
    }

    fn drop_ops(&mut self) {
        let mut chunk = self.best.ops.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < self.best.ops.len() {
                let mut candidate = self.best.clone();
                candidate.ops.drain(at..(at + chunk).min(candidate.ops.len()));
                if !self.accept(candidate) {
                    at += chunk;
                }
            }
            if chunk == 1 {
                return;
            }
            chunk /= 2;
        }
    }

    /// For every argument, tries the values 0, half of the argument, and the argument minus one.
    fn simplify_ops(&mut self) {
        for at in 0..self.best.ops.len() {
            if let Op::DeliverMany { count } = self.best.ops[at] {
                self.unfold(at, count);
            }
        }
        for at in 0..self.best.ops.len() {
            for argument in 0..arguments(&self.best.ops[at]) {
                self.simplify(|case, smaller| {
                    let op = with_argument(&case.ops[at], argument, smaller)?;
                    Some(Case { ops: with_replaced(&case.ops, at, op), ..case.clone() })
                });
            }
        }
    }

    /// Replaces one `DeliverMany` by single deliveries. The list gets longer, but the next pass can
    /// drop each single delivery.
    fn unfold(&mut self, at: usize, count: u8) {
        let mut ops = self.best.ops.clone();
        let singles = (0..count).map(|_| Op::Deliver { message: 0 });
        ops.splice(at..=at, singles);
        self.accept(Case { ops, ..self.best.clone() });
    }

    fn simplify_setup(&mut self) {
        for item in 0..self.best.setup.items.len() {
            self.simplify(|case, smaller| {
                let mut next = case.clone();
                let total = next.setup.items[item].total.as_mut()?;
                *total = smaller(i64::from(*total))? as u8;
                Some(next)
            });
            self.simplify(|case, smaller| {
                let mut next = case.clone();
                let limit = &mut next.setup.items[item].limit;
                *limit = (smaller(i64::from(*limit))? as u8).max(1);
                Some(next)
            });
        }
        for slot in 0..self.best.setup.slots.len() {
            self.simplify(|case, smaller| {
                let mut next = case.clone();
                let first = &mut next.setup.slots[slot].first;
                *first = smaller(i64::from(*first))? as u8;
                Some(next)
            });
        }
        let mut plain = self.best.clone();
        for item in &mut plain.setup.items {
            (item.choose, item.initial, item.threshold, item.refill) = (0, 0, 0, 0);
        }
        self.accept(plain);
        let fewer: [fn(&mut Setup); 6] = [
            |s| {
                let _ = s.slots.pop();
            },
            |s| s.nodes -= 1,
            |s| {
                s.items.pop();
                s.slots.retain(|slot| usize::from(slot.item) < s.items.len());
            },
            |s| s.tight = 0,
            |s| s.alone = false,
            |s| s.opens = 0,
        ];
        for less in fewer {
            loop {
                let mut next = self.best.clone();
                less(&mut next.setup);
                if !self.accept(next) {
                    break;
                }
            }
        }
    }

    fn simplify(&mut self, change: impl Fn(&Case, &dyn Fn(i64) -> Option<i64>) -> Option<Case>) {
        let ways: [&dyn Fn(i64) -> Option<i64>; 3] =
            [&|n| (n != 0).then_some(0), &|n| (n.abs() > 2).then_some(n / 2), &|n| {
                (n.abs() > 1).then_some(n - n.signum())
            }];
        for way in ways {
            while let Some(candidate) = change(&self.best, way) {
                if !self.accept(candidate) {
                    break;
                }
            }
        }
    }
}

fn with_replaced(ops: &[Op], at: usize, op: Op) -> Vec<Op> {
    let mut ops = ops.to_vec();
    ops[at] = op;
    ops
}

fn to_json(op: &Op) -> Value {
    serde_json::to_value(op).expect("an operation can be written as JSON")
}

/// Returns the map of an operation's arguments. In JSON, an operation is a map with one name, and
/// the arguments are under this name. For a waitlist or a spread, there are two names, one inside
/// the other. The inner name then has the arguments.
fn numbers(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let map = value.as_object_mut()?;
    match map.values().all(Value::is_object) {
        true => numbers(map.values_mut().next()?),
        false => Some(map),
    }
}

fn arguments(op: &Op) -> usize {
    numbers(&mut to_json(op)).map_or(0, |numbers| numbers.len())
}

fn with_argument(op: &Op, argument: usize, smaller: &dyn Fn(i64) -> Option<i64>) -> Option<Op> {
    let mut value = to_json(op);
    let slot = numbers(&mut value)?.values_mut().nth(argument)?;
    *slot = Value::from(smaller(slot.as_i64()?)?);
    serde_json::from_value(value).ok()
}
