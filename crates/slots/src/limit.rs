//! Rate limits that all nodes share. Each node charges the requests that it allowed to a shared
//! state, in batches. The state never decides a request and never affects stock.
use std::fmt::Write;

use crate::SlotError;
use crate::shared::{ScriptReply, SharedRedis};

const CHARGE_SCRIPT: &str = include_str!("limit.lua");

/// Requests that a node allowed under a limit and has not charged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitCharge {
    /// The limit and the limited key, as a keyed hash that is the same on every node.
    pub key: u64,
    /// The time used, in microseconds of the limit's rate.
    pub used_us: u64,
    /// The burst, in microseconds of the limit's rate.
    pub burst_us: u64,
}

impl SharedRedis {
    /// Charges all of these in one round trip. Returns how far each limit is ahead of the present
    /// over all nodes, in microseconds of its rate.
    ///
    /// # Errors Fails if no server can be reached, or its answer does not arrive in time. The
    /// charge may still have taken effect, so the caller must not repeat it.
    pub async fn charge(&self, charges: &[LimitCharge]) -> Result<Vec<u64>, SlotError> {
        let (mut keys, mut numbers) =
            (Vec::with_capacity(charges.len()), Vec::with_capacity(2 * charges.len()));
        let mut name = String::with_capacity(16);
        for charge in charges {
            name.clear();
            write!(name, "{:016x}", charge.key).expect("writing to a string does not fail");
            keys.push(self.key("limit", &name));
            numbers.extend([charge.used_us.to_string(), charge.burst_us.to_string()]);
        }
        let reply = self.eval(CHARGE_SCRIPT, &keys, &numbers).await?;
        let used_us: Option<Vec<u64>> = reply.items().iter().map(used_us).collect();
        used_us.filter(|used_us| used_us.len() == charges.len()).ok_or_else(|| SlotError {
            reason: "the limit script returned an unexpected answer".to_owned(),
            may_have_happened: true,
        })
    }
}

fn used_us(reply: &ScriptReply) -> Option<u64> {
    reply.number().and_then(|number| u64::try_from(number).ok())
}
