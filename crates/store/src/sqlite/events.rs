//! Events in SQLite. `seq` is the commit order, because there is only one writer.
use rusqlite::params;

use doorbuster_core::event::{Event, Subject};
use doorbuster_core::{Ledger, TicketId};

use crate::events::{actor_text, subject_json};
use crate::failure::Done;
use crate::sql::to_i64;

use super::ledger::SqliteLedger;

/// Appends an event. Most events are about orders. To save space, the row of such an event has the
/// number and the times of the order instead of a JSON document.
pub(super) fn append(ledger: &mut SqliteLedger<'_>, event: &Event) -> Done<()> {
    let (what, at, by) = (event.what.as_str(), event.at.0, actor_text(&event.by.actor));
    let why = event.by.why.as_deref();
    ledger.events = true;
    if let Subject::Order(order) = &event.subject {
        ledger.sql.run(
            "INSERT INTO event (type, grant_id, n, at, actor, why, pay_by, paid_at, ended_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                what,
                to_i64(order.grant.0),
                to_i64(order.n.0),
                at,
                by,
                why,
                order.pay_by.0,
                order.paid_at.map(|t| t.0),
                order.ended_at.map(|t| t.0)
            ],
        )?;
        return Ok(());
    }
    let named = match &event.subject {
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => {
            order_numbers(ledger, order)?
        }
        _ => None,
    };
    let (item, sale) = match &event.subject {
        Subject::Ticket { item, .. } | Subject::Item(item) => (Some(item.0), None),
        Subject::Sale(sale) => (None, Some(sale)),
        Subject::Order(_) | Subject::Payment { .. } | Subject::Reversal { .. } => (None, None),
    };
    ledger.sql.run(
        "INSERT INTO event (type, grant_id, n, item_id, sale_id, at, actor, why, data) VALUES (?1, \
         ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            what,
            named.map(|o| o.0),
            named.map(|o| o.1),
            item,
            sale,
            at,
            by,
            why,
            subject_json(&event.subject)
        ],
    )?;
    Ok(())
}

pub(super) fn order_numbers(
    ledger: &mut SqliteLedger<'_>,
    order: &str,
) -> Done<Option<(i64, i64)>> {
    let Some(id) = TicketId::parse(order) else { return Ok(None) };
    Ok(ledger.order(&id)?.map(|order| (to_i64(order.grant.0), to_i64(order.n.0))))
}
