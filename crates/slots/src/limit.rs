//! Rate limits that all nodes share. These limits have no influence on stock.
use std::fmt::Write;

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall};

use crate::SlotError;
use crate::shared::{ScriptReply, SharedRedis};

const LIMIT_SCRIPT: &str = include_str!("limit.lua");

impl SharedRedis {
    /// Applies these calls in one round trip. The number in front of each call identifies the
    /// limit: it is a keyed hash, equal on all nodes.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time. The calls may
    /// still have taken effect.
    pub async fn apply_limit_calls(
        &self,
        calls: &[(u64, LimitCall)],
    ) -> Result<Vec<LimitAnswer>, SlotError> {
        let (mut keys, mut numbers) =
            (Vec::with_capacity(calls.len()), Vec::with_capacity(5 * calls.len()));
        let mut name = String::with_capacity(16);
        for (key, call) in calls {
            name.clear();
            write!(name, "{key:016x}").expect("writing to a string does not fail");
            keys.push(self.key("limit", &name));
            let LimitCall { used_us, wanted_us, cost_ns, burst_us, reserved_us } = *call;
            let of_call = [used_us, wanted_us, cost_ns.max(1), burst_us, reserved_us];
            numbers.extend(of_call.map(|number| number.to_string()));
        }
        let reply = self.eval(LIMIT_SCRIPT, &keys, &numbers).await?;
        let answers: Option<Vec<LimitAnswer>> = reply.items().chunks(2).map(limit_answer).collect();
        answers.filter(|answers| answers.len() == calls.len()).ok_or_else(|| SlotError {
            reason: "the script limit.lua returned an unexpected answer".to_owned(),
            may_have_happened: true,
        })
    }
}

fn limit_answer(reply: &[ScriptReply]) -> Option<LimitAnswer> {
    let [ahead, granted] = reply else { return None };
    let micros = |reply: &ScriptReply| u64::try_from(reply.number()?).ok();
    Some(LimitAnswer { ahead_us: micros(ahead)?, granted_us: micros(granted)? })
}
