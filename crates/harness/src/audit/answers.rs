//! Compares the responses that buyers received with the store. An answers file has these responses.
//! Each order that a buyer was promised must exist (rule I3), and the result of a ticket must never
//! change (rule I8).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use doorbuster_api::report::AnswerLine;

use super::AuditError;
use super::findings::Findings;
use super::limits::ANSWER_LINE_BYTES_MAX;
use super::snapshot::{Order, Snapshot};

pub(super) fn check(
    snapshot: &Snapshot,
    path: &Path,
    findings: &mut Findings<'_>,
) -> Result<u64, AuditError> {
    let failed = |reason: String| AuditError::Answers { path: path.display().to_string(), reason };
    let mut file = BufReader::new(File::open(path).map_err(|error| failed(error.to_string()))?);
    let mut auditor = AnswerAuditor::new(snapshot);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let most = ANSWER_LINE_BYTES_MAX as u64;
        let read = file.by_ref().take(most).read_until(b'\n', &mut line);
        if read.map_err(|error| failed(error.to_string()))? == 0 {
            auditor.check_refusals(findings);
            return Ok(number - 1);
        }
        match serde_json::from_slice::<AnswerLine>(&line) {
            Ok(answer) => auditor.check_line(&answer, findings),
            // This line has no line end, so it is the last line of the file. The program that
            // recorded the answers was killed while it wrote the line.
            Err(_) if line.last() != Some(&b'\n') && line.len() < ANSWER_LINE_BYTES_MAX => {
                findings.add_notice("answers", None, format!("line {number} is incomplete"));
            }
            Err(error) => return Err(failed(format!("line {number}: {error}"))),
        }
    }
    Ok(0)
}

/// Writes to `kept` the lines whose order or verdict is in the store. Returns all other lines.
pub(super) fn split(
    snapshot: &Snapshot,
    path: &Path,
    kept: &Path,
) -> Result<Vec<AnswerLine>, AuditError> {
    let failed = |reason: String| AuditError::Answers { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let verdicts: HashMap<&str, Option<&str>> =
        snapshot.resolutions.iter().map(|row| (&*row.ticket, row.order.as_deref())).collect();
    let (mut known, mut unknown) = (String::new(), Vec::new());
    for line in text.lines() {
        let answer: AnswerLine =
            serde_json::from_str(line).map_err(|error| failed(error.to_string()))?;
        // If an order was lost, for example in a restore, a slot may deliver its ticket again. If
        // the ticket's `decide_by` has passed, the store then returns the ticket. So the verdict of
        // a returned ticket does not confirm an answer that promised an order.
        let names_order = answer.state.as_deref().is_some_and(|state| state != "refused");
        let is_known = |id: &String| {
            let verdict = verdicts.get(&**id);
            snapshot.order(id).is_some()
                || verdict.is_some_and(|order| !names_order || order.is_some())
        };
        if answer.id.as_ref().is_none_or(is_known) {
            known += line;
            known.push('\n');
        } else {
            unknown.push(answer);
        }
    }
    std::fs::write(kept, known).map_err(|error| failed(error.to_string()))?;
    Ok(unknown)
}

struct AnswerAuditor<'a> {
    snapshot: &'a Snapshot,
    items: HashMap<(&'a str, &'a str), i64>,
    requests: HashMap<(&'a str, &'a str), &'a Order>,
    returned: HashMap<&'a str, (&'a str, Option<&'a str>)>,
    /// Orders that at least one answer names.
    seen_orders: HashSet<&'a str>,
    /// Items for which the file has at least one answer.
    requested_items: HashSet<i64>,
    /// Orders whose request was refused without a ticket, according to another line of the file.
    /// Each order has the code of this refusal.
    refused: Vec<(&'a Order, String)>,
}

impl<'a> AnswerAuditor<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let items =
            snapshot.items.values().map(|item| ((&*item.sale, &*item.name), item.id)).collect();
        let requests =
            snapshot.orders.iter().map(|order| ((&*order.buyer, &*order.key), order)).collect();
        let returned = snapshot
            .resolutions
            .iter()
            .map(|row| (&*row.ticket, (&*row.verdict, row.order.as_deref())))
            .collect();
        let (seen_orders, requested_items, refused) = (HashSet::new(), HashSet::new(), Vec::new());
        Self { snapshot, items, requests, returned, seen_orders, requested_items, refused }
    }

    fn check_line(&mut self, answer: &AnswerLine, findings: &mut Findings<'_>) {
        let item = self.items.get(&(&*answer.sale, &*answer.item)).copied();
        self.requested_items.extend(item);
        match (answer.state.as_deref(), answer.id.as_deref()) {
            (Some("refused"), Some(id)) => {
                self.check_verdict(answer, id, item.unwrap_or(0), findings)
            }
            (Some(state), Some(id)) => self.check_promise(answer, state, id, item, findings),
            (Some(state), None) => {
                let detail =
                    format!("{} received state {state:?} without an order id", answer.buyer);
                findings.add_item_finding("I3", item.unwrap_or(0), detail);
            }
            (None, _) => self.record_refusal(answer),
        }
    }

    fn check_promise(
        &mut self,
        answer: &AnswerLine,
        state: &str,
        id: &str,
        item: Option<i64>,
        findings: &mut Findings<'_>,
    ) {
        let at = item.unwrap_or(0);
        let (buyer, key, units) = (&answer.buyer, &answer.key, answer.units);
        // If one request has two tickets, only one of them can become an order. If the answer names
        // the other ticket, which was returned, the verdict of that ticket may name the order.
        let real = match self.returned.get(id) {
            Some((_, Some(order))) => order,
            _ => id,
        };
        let Some(order) = self.snapshot.order(real) else {
            findings.add_item_finding(
                "I3",
                at,
                format!("{buyer} received {state} for order {id}, which does not exist"),
            );
            return;
        };
        self.seen_orders.insert(&order.id);
        let is_theirs = order.is_erased() || (order.buyer == *buyer && order.key == *key);
        if !is_theirs || Some(order.item) != item || order.units != i64::from(units) {
            let detail = format!(
                "{buyer} received {state} for order {id}, but the order differs from the request; \
                 the buyer sent request {key:?} for {units} units of {}/{}; \
                 the order belongs to {}, request {:?}, {} units of item {}",
                answer.sale, answer.item, order.buyer, order.key, order.units, order.item
            );
            findings.add_item_finding("I3", at, detail);
        }
        if !can_become(state, &order.state) {
            findings.add_item_finding(
                "I8",
                at,
                format!("{buyer} received {state} for order {id}, which is {} now", order.state),
            );
        }
    }

    /// Checks a refusal that has an id. The id is a ticket's id. So the ticket's verdict in the
    /// store must be the same refusal.
    fn check_verdict(
        &mut self,
        answer: &AnswerLine,
        id: &str,
        item: i64,
        findings: &mut Findings<'_>,
    ) {
        let (buyer, code) = (&answer.buyer, answer.code.as_deref().unwrap_or("nothing"));
        if let Some(order) = self.snapshot.order(id) {
            findings.add_item_finding(
                "I8",
                item,
                format!(
                    "{buyer} was refused ({code}) with id {id}, which is an order ({})",
                    order.state
                ),
            );
            return;
        }
        let verdict = self.returned.get(id).map(|(verdict, _)| *verdict);
        let word = if code == "idempotency_key_reused" { "key_reused" } else { code };
        if verdict != Some(word) {
            let found = verdict.unwrap_or("missing");
            findings.add_item_finding(
                "I8",
                item,
                format!(
                    "{buyer} was refused ({code}) with id {id}, but the stored verdict is {found}"
                ),
            );
        }
    }

    fn record_refusal(&mut self, answer: &AnswerLine) {
        let codes = ["sold_out", "limit_reached", "ended", "not_started", "paused"];
        let Some(code) = answer.code.as_deref().filter(|code| codes.contains(code)) else {
            return;
        };
        if let Some(order) = self.requests.get(&(&*answer.buyer, &*answer.key)) {
            self.refused.push((order, code.to_owned()));
        }
    }

    /// A refused request can still get an order, because buyers may repeat a refused request with
    /// the same key. The answers file must then name this order in another line. An order that is
    /// newer than every order in the file causes no finding, because the buyer may have repeated
    /// the request after the file was written.
    fn check_refusals(self, findings: &mut Findings<'_>) {
        let seen = self.seen_orders.iter().filter_map(|id| self.snapshot.order(id));
        let newest = seen.map(|order| order.reserved_at).max();
        for (order, code) in &self.refused {
            // A repeated request cannot get an order after the end of the sale, because an ended
            // sale does not open again.
            let is_final = code == "ended" || newest.is_some_and(|at| order.reserved_at <= at);
            if is_final && !self.seen_orders.contains(&*order.id) {
                let detail = format!(
                    "{}'s request {:?} was refused ({code}), but holds order {}",
                    order.buyer, order.key, order.id
                );
                findings.add_item_finding("I8", order.item, detail);
            }
        }
        let unmentioned = self.snapshot.orders.iter().filter(|order| {
            self.requested_items.contains(&order.item) && !self.seen_orders.contains(&*order.id)
        });
        let (mut count, mut first) = (0_u64, None);
        for order in unmentioned {
            count += 1;
            first = first.or(Some(&*order.id));
        }
        if count > 0 {
            findings.add_notice(
                "untold",
                first,
                format!("{count} orders for the requested items appear in no answer"),
            );
        }
    }
}

fn can_become(before: &str, now: &str) -> bool {
    match before {
        "reserved" => matches!(now, "reserved" | "paid" | "cancelled" | "expired" | "refunded"),
        "paid" => matches!(now, "paid" | "refunded"),
        // A late payment can make an ended order paid, and the shop can then refund it.
        "cancelled" | "expired" => now == before || matches!(now, "paid" | "refunded"),
        "refunded" => now == "refunded",
        _ => false,
    }
}
