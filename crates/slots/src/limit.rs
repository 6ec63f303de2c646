//! Limits that all nodes share: what each node let in is charged to one state, in batches. Never a
//! decision, and never stock.
use std::fmt::Write;

use crate::SlotError;
use crate::shared::{ScriptReply, Shared};

const CHARGE_SCRIPT: &str = include_str!("limit.lua");

/// What a node let in under a limit and has not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCharge {
    /// Which limit, and held to whom: a keyed hash that is the same on every node.
    pub key: u64,
    /// What it used, in microseconds of the limit's rate.
    pub used_us: u64,
    /// How far ahead the limit lets itself be, in microseconds of its rate.
    pub burst_us: u64,
}

impl Shared {
    /// Charges all of these in one round trip. How far ahead each of them is now, all nodes
    /// together, in microseconds of its rate.
    ///
    /// # Errors When no server can be reached, or its answer does not come in time: then it may
    /// have been charged. It is not to be charged again.
    pub async fn charge(&self, charges: &[LimitCharge]) -> Result<Vec<u64>, SlotError> {
        let (mut keys, mut numbers) =
            (Vec::with_capacity(charges.len()), Vec::with_capacity(2 * charges.len()));
        let mut name = String::with_capacity(16);
        for charge in charges {
            name.clear();
            write!(name, "{:016x}", charge.key).expect("a string takes everything");
            keys.push(self.key("limit", &name));
            numbers.extend([charge.used_us.to_string(), charge.burst_us.to_string()]);
        }
        let reply = self.eval(CHARGE_SCRIPT, &keys, &numbers).await?;
        let used_us: Option<Vec<u64>> = reply.items().iter().map(used_us).collect();
        used_us.filter(|used_us| used_us.len() == charges.len()).ok_or_else(|| SlotError {
            reason: "the script of the limits told something else than it does".to_owned(),
            may_have_happened: true,
        })
    }
}

fn used_us(reply: &ScriptReply) -> Option<u64> {
    reply.number().and_then(|number| u64::try_from(number).ok())
}
