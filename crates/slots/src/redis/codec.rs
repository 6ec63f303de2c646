//! Encodes the arguments of `ticket.lua`. Decodes the entries of queues, and the answers of
//! `ticket.lua` and `view.lua`.
use std::sync::Arc;

use doorbuster_core::limits::SLOT_QUEUE_AGE_MAX_MS;
use doorbuster_core::slot::{IssuedTicket, SlotBounds, SlotView, TicketAnswer, TicketRequest};
use doorbuster_core::{
    BuyerId, Counter, Epoch, GrantId, Millis, NodeId, QueuedTicket, RequestKey, Seq, SlotKey,
    Ticket, TicketN, Token, Units,
};
use redis::{Cmd, Value};

use super::failure::{RedisFailure, unexpected_reply};
use super::limits::EPOCH_MAX;

/// A position in a queue is one number. The lower 40 bits are the ticket's number, and the higher
/// bits are the epoch.
const NUMBER_BITS: u32 = 40;

fn position(epoch: u64, n: u64) -> u64 {
    epoch << NUMBER_BITS | n
}

pub(super) fn entry_id(at: u64) -> String {
    format!("{}-{}", at >> NUMBER_BITS, at & ((1 << NUMBER_BITS) - 1))
}

pub(super) fn ticket_bounds(call: &mut Cmd, bounds: &SlotBounds) {
    call.arg(bounds.requests).arg(bounds.queue).arg(SLOT_QUEUE_AGE_MAX_MS);
}

pub(super) fn ticket_request(call: &mut Cmd, request: &TicketRequest) {
    call.arg(&request.request.0.to_be_bytes()[..])
        .arg(&request.buyer_hash.to_be_bytes()[..])
        .arg(request.units.get())
        .arg(request.limit)
        .arg(request.decide_by.0)
        .arg(format!("{} {} {} {}", request.token, request.node, request.buyer, request.key));
}

/// Splits the answer of `ticket.lua`. Returns the slot's grant, and one value for each request.
/// Returns `None` if the slot has no epoch.
pub(super) fn ticket_answers(
    value: Value,
    requests: usize,
) -> Result<Option<(GrantId, Vec<Value>)>, RedisFailure> {
    let mut values = array(value)?;
    match values.len() {
        0 => Ok(None),
        n if n == requests + 1 => {
            let grant = GrantId(number(&values.remove(0))?);
            Ok(Some((grant, values)))
        }
        _ => Err(unexpected_reply(&Value::Array(values))),
    }
}

pub(super) fn ticket_answer(
    grant: GrantId,
    value: &Value,
    request: &TicketRequest,
) -> Result<TicketAnswer, RedisFailure> {
    let text = match value {
        Value::Int(n) => {
            let &TicketRequest { token, units, decide_by, .. } = request;
            let n = TicketN(u64::try_from(*n).map_err(|_| unexpected_reply(value))?);
            return Ok(TicketAnswer::Issued(IssuedTicket { token, grant, n, units, decide_by }));
        }
        value => text(value)?,
    };
    let mut words = text.split(' ');
    let what = words.next();
    let mut next =
        || words.next().and_then(|w| w.parse::<u64>().ok()).ok_or_else(|| unexpected_reply(value));
    Ok(match what {
        Some("again") => {
            let (n, units, decide_by, token) = (next()?, next()?, next()?, next()?);
            let units = units_of(units).ok_or_else(|| unexpected_reply(value))?;
            let decide_by = Millis(i64::try_from(decide_by).map_err(|_| unexpected_reply(value))?);
            TicketAnswer::Repeated(IssuedTicket {
                token: Token(token),
                grant,
                n: TicketN(n),
                units,
                decide_by,
            })
        }
        Some("reused") => TicketAnswer::KeyReused,
        Some("limit") => TicketAnswer::LimitReached {
            used: u32::try_from(next()?).map_err(|_| unexpected_reply(value))?,
        },
        Some("short") => TicketAnswer::Short { available: next()? },
        Some("full") => TicketAnswer::Full,
        Some("stopped") => TicketAnswer::Stopped,
        Some("damaged") => {
            return Err(RedisFailure::Refused(
                "the slot's record of the request or of the buyer is invalid".to_owned(),
            ));
        }
        _ => return Err(unexpected_reply(value)),
    })
}

/// Decodes a queue entry. Returns `None` if the entry is invalid, or if its ticket is already
/// acknowledged.
pub(super) fn delivery(slot: SlotKey, id: &str, fields: Value) -> Option<QueuedTicket> {
    let (epoch, n) = id.split_once('-')?;
    let (epoch, n) = (epoch.parse().ok()?, n.parse().ok()?);
    if epoch > EPOCH_MAX || n >> NUMBER_BITS > 0 {
        return None;
    }
    let fields = array(fields).ok()?;
    let ticket = ticket(slot, n, text(fields.get(1)?).ok()?)?;
    Some(QueuedTicket { at: position(epoch, n), ticket: Arc::new(ticket) })
}

/// Parses the text of a queue entry: "grant units decide_by token node buyer key".
fn ticket(slot: SlotKey, n: u64, carried: &str) -> Option<Ticket> {
    let words: Vec<&str> = carried.split(' ').collect();
    let &[grant, units, decide_by, token, node, buyer, key] = words.as_slice() else { return None };
    Some(Ticket {
        token: Token(token.parse().ok()?),
        grant: GrantId(grant.parse().ok()?),
        n: TicketN(n),
        item: slot.item,
        buyer: BuyerId::new(buyer)?,
        key: RequestKey::new(key)?,
        units: units_of(units.parse().ok()?)?,
        decide_by: Millis(decide_by.parse().ok()?),
        node: NodeId(node.parse().ok()?),
    })
}

pub(super) fn view(value: Value, bounds: &SlotBounds) -> Result<Option<SlotView>, RedisFailure> {
    let values = array(value)?;
    if values.is_empty() {
        return Ok(None);
    }
    let at = |i: usize| values.get(i).unwrap_or(&Value::Nil);
    let size =
        |i: usize| Ok::<_, RedisFailure>(usize::try_from(number(at(i))?).unwrap_or(usize::MAX));
    let counters = [number(at(2))?, number(at(3))?];
    Ok(Some(SlotView {
        grant: GrantId(number(at(0))?),
        epoch: Epoch(number(at(1))?),
        available: counters[0] + counters[1],
        counters,
        active: Counter::parse(text(at(4))?).ok_or_else(|| unexpected_reply(at(4)))?,
        mark: number(at(5))? == 1,
        applied: Seq(number(at(6))?),
        n: TicketN(number(at(7))?),
        unacknowledged: size(8)?,
        stopped: number(at(9))? == 1,
        sealed: size(10)? >= bounds.requests || size(11)? >= bounds.recalls,
    }))
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, RedisFailure> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected_reply(&other)),
    }
}

pub(super) fn text(value: &Value) -> Result<&str, RedisFailure> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).map_err(|_| unexpected_reply(value)),
        Value::SimpleString(text) => Ok(text),
        other => Err(unexpected_reply(other)),
    }
}

/// Reads a number from a reply. The reply may be the number, or a text of its digits.
pub(super) fn number(value: &Value) -> Result<u64, RedisFailure> {
    match value {
        Value::Int(n) => u64::try_from(*n).map_err(|_| unexpected_reply(value)),
        value => text(value)?.parse().map_err(|_| unexpected_reply(value)),
    }
}

fn units_of(units: u64) -> Option<Units> {
    Units::new(u32::try_from(units).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_core::ItemId;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![30 => "[0-9]{1,9}", 1 => "[0-9]{9,21}", 1 => "-?[a-z]{0,3}", 1 => "\\PC{0,4}"]
    }

    #[test]
    fn an_entry_id_is_formed_from_its_position() {
        assert_eq!(entry_id(position(5, 17)), "5-17");
        assert_eq!(entry_id(position((1 << 24) - 1, (1 << 40) - 1)), "16777215-1099511627775");
    }

    #[test]
    fn an_invalid_entry_is_refused_and_not_parsed_as_a_ticket() {
        let slot = SlotKey { item: ItemId(1), index: 0 };
        for carried in ["", "1 2 3 4 5 b", "1 0 3 4 5 b k", "x 2 3 4 5 b k", "1 2 3 4 5 b k more"] {
            assert!(ticket(slot, 1, carried).is_none(), "{carried}");
        }
        assert!(ticket(slot, 1, "9223372036854775807 2 3 4 5 b k").is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_random_entry_is_parsed_exactly_or_refused(
            id in prop_oneof![8 => "[0-9]{1,7}-[0-9]{1,12}", 1 => "[0-9]{0,20}-?[0-9]{0,20}", 1 => "\\PC{0,8}"],
            // Most generated entries have seven words, which are often numbers. Such an entry can
            // be valid, because a buyer's id and a key may also be numbers.
            words in prop_oneof![9 => vec(any_text(), 7), 1 => vec(any_text(), 0..9)],
            name in "t|\\PC{0,3}",
            cut in any::<Index>(),
        ) {
            let carried = words.join(" ");
            let bulk = |text: String| Value::BulkString(text.into_bytes());
            let fields = vec![bulk(name), bulk(carried.clone())];
            let slot = SlotKey { item: ItemId(1), index: 0 };
            let read = delivery(slot, &id, Value::Array(fields.clone()));
            if let Some(QueuedTicket { at, ticket: t }) = read {
                let number = |text: &str| text.parse::<u64>().expect("a parsed number");
                let (epoch, n) = id.split_once('-').expect("a parsed id");
                prop_assert_eq!(entry_id(at), format!("{}-{}", number(epoch), number(n)));
                prop_assert_eq!(t.n.0, number(n));
                let says: Vec<u64> = words[..5].iter().map(|word| number(word)).collect();
                let until = u64::try_from(t.decide_by.0).expect("a parsed time");
                let (units, node) = (t.units.get().into(), t.node.0.into());
                prop_assert_eq!(vec![t.grant.0, units, until, t.token.0, node], says);
                prop_assert_eq!((t.buyer.as_str(), t.key.as_str()), (&*words[5], &*words[6]));
            }
            // An entry that lacks a field or has another form is refused.
            let less = fields[..cut.index(2)].to_vec();
            prop_assert!(delivery(slot, &id, Value::Array(less)).is_none());
            for other in [Value::Nil, Value::Int(3), Value::BulkString(carried.into_bytes())] {
                prop_assert!(delivery(slot, &id, other).is_none());
            }
        }
    }
}
