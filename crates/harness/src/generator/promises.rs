//! Collects the order ids that answers promised to buyers, and finds promised orders that the store
//! lacks.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{AnswerKind, RequestScript};

/// A script that also collects the order ids of all answers with an order.
#[derive(Debug)]
pub struct PromisedOrders<S> {
    script: S,
    /// The collected ids. Answers without an order id add no id, so there may be fewer ids than
    /// answers.
    pub ids: BTreeSet<String>,
}

impl<S> PromisedOrders<S> {
    /// Returns a script that sends the requests of `script` and collects the ids of their orders.
    #[must_use]
    pub fn new(script: S) -> Self {
        Self { script, ids: BTreeSet::new() }
    }
}

impl<S: RequestScript> RequestScript for PromisedOrders<S> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        self.script.next(out)
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        let kind = self.script.read(inbox)?;
        if matches!(kind, Some(AnswerKind::Accepted | AnswerKind::Fine)) {
            let answer = String::from_utf8_lossy(inbox);
            let id = answer.split_once(r#""id":""#).and_then(|(_, rest)| rest.split_once('"'));
            self.ids.extend(id.map(|(id, _)| id.to_owned()));
        }
        Ok(kind)
    }
}

/// Returns how many promised orders are not among the stored orders.
#[must_use]
pub fn count_missing(promised: &BTreeSet<String>, stored: &BTreeSet<String>) -> u64 {
    promised.difference(stored).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_no_answer_promised_does_not_hide_a_missing_order() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let promised = ids(&["a", "b", "c"]);
        assert_eq!(count_missing(&promised, &ids(&["a", "b", "c", "d"])), 0);
        assert_eq!(count_missing(&promised, &ids(&["a", "b", "d"])), 1);
        assert_eq!(count_missing(&promised, &ids(&["d", "e", "f", "g"])), 3);
    }
}
