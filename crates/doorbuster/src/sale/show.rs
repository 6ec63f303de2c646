//! Sales, stock and slots as text.

use comfy_table::Cell;
use doorbuster_api::admin::front_door::{FrontDoor, Limit, LimitSetting, PowEffort};
use doorbuster_api::admin::sale::{AdminSale, AdminSaleList};
use doorbuster_api::admin::stock::{Available, Counter, SlotList, StockList, StockRow};
use doorbuster_api::gate::RoomScope;
use doorbuster_api::sale::Phase;

use crate::table;

/// Returns a page of sales as text.
pub fn list(list: &AdminSaleList) -> String {
    let header = ["sale", "phase", "opens", "closes", "items", "title"];
    let rows = list.sales.iter().map(|sale| {
        [
            Cell::new(&sale.id),
            Cell::new(sale.phase.as_str()),
            Cell::new(table::or_dash(sale.starts_at)),
            Cell::new(table::or_dash(sale.ends_at)),
            table::number(sale.items.len()),
            Cell::new(&sale.title),
        ]
    });
    table::list("No sales found.\n", &header, rows, list.next_cursor.as_deref())
}

/// Returns a sale and its items as text, with the counts of free, kept, held and paid units.
pub fn sale_detail(sale: &AdminSale, stock: &StockList) -> String {
    let header = [
        "item", "price", "limit", "hold", "total", "free", "kept", "held", "paid", "waitlist",
        "title",
    ];
    let mut rows = table::with_header(&header);
    for item in &sale.items {
        let row = stock.items.iter().find(|row| row.item == item.id);
        let free = row.and_then(free);
        let total = item
            .stock
            .count()
            .map_or_else(|| "unlimited".into(), |count| table::grouped(count.into()));
        rows.add_row([
            Cell::new(&item.id),
            table::number(table::money(&item.price)),
            table::number(item.limit_per_buyer),
            table::number(format!("{} s", item.hold_secs)),
            table::number(total),
            table::number(table::grouped_or_dash(free)),
            table::number(table::grouped_or_dash(row.map(|row| row.kept))),
            table::number(table::grouped_or_dash(row.map(|row| row.held))),
            table::number(table::grouped_or_dash(row.map(|row| row.paid))),
            table::number(table::grouped_or_dash(row.map(|row| row.waiting))),
            Cell::new(&item.title),
        ]);
    }
    format!("{}: {} is {}.\n{rows}\n{}", sale.id, sale.title, phase(sale), door(&sale.front_door))
}

/// Returns the number of free units, or `None` if the stock is unlimited.
pub fn free(row: &StockRow) -> Option<u64> {
    row.pool.zip(row.in_slots).map(|(pool, in_slots)| pool.saturating_sub(row.kept) + in_slots)
}

/// Returns the requirements of the front door as one line. The line is empty if every setting has
/// its default.
pub fn door(door: &FrontDoor) -> String {
    let mut requirements = Vec::new();
    let words = [
        ("pass", door.pass.as_str()),
        ("challenge", door.challenge.as_str()),
        ("access codes", door.access_codes.as_str()),
        ("waiting room", door.waiting_room.as_str()),
    ];
    requirements.extend(
        words
            .iter()
            .filter(|(_, word)| *word != "off")
            .map(|(what, word)| format!("{what} {word}")),
    );
    if door.rooms == RoomScope::Items {
        requirements.push("one waiting room for each item".into());
    }
    if door.pow_effort != PowEffort::DEFAULT {
        requirements
            .push(format!("proof of work with {} keys", table::grouped(door.pow_effort.0.into())));
    }
    if door.members_only {
        requirements.push("members only".into());
    }
    if door.min_level > 0 {
        requirements.push(format!("level {} or higher", door.min_level));
    }
    for (whose, limit) in [
        ("buyer", door.limits.buyer),
        ("address", door.limits.ip),
        ("interface", door.limits.interface),
    ] {
        match limit {
            LimitSetting::Default => {}
            LimitSetting::None => requirements.push(format!("no limit by {whose}")),
            LimitSetting::Some(Limit { burst, per_minute }) => {
                requirements
                    .push(format!("limit by {whose}: {burst} at once and {per_minute} a minute"));
            }
        }
    }
    if requirements.is_empty() {
        String::new()
    } else {
        format!("Front door: {}.\n", requirements.join(", "))
    }
}

/// Returns the slots of a sale as text. Brackets mark the active sub-domain of each slot.
pub fn slots(list: &SlotList) -> String {
    if list.slots.is_empty() {
        return "The sale is not open and has no slots.\n".into();
    }
    let header = [
        "item",
        "partition",
        "slot",
        "epoch",
        "granted",
        "settled",
        "a",
        "b",
        "refills",
        "recalls",
        "",
    ];
    let mut rows = table::with_header(&header);
    for slot in &list.slots {
        let marked = |counter: Counter, units: u64| {
            let units = table::grouped(units);
            if slot.active == Some(counter) { format!("[{units}]") } else { units }
        };
        let (a, b) = match &slot.available {
            Some(Available::Two { a, b }) => (marked(Counter::A, *a), marked(Counter::B, *b)),
            Some(Available::One(units)) => (table::grouped(*units), String::new()),
            None => ("?".into(), String::new()),
        };
        rows.add_row([
            Cell::new(&slot.item),
            table::number(slot.partition),
            Cell::new(match slot.leaving {
                true => format!("{} (leaving)", slot.slot),
                false => slot.slot.clone(),
            }),
            table::number(slot.epoch),
            table::number(table::grouped(slot.granted)),
            table::number(table::grouped(slot.settled)),
            table::number(a),
            table::number(b),
            table::number(table::grouped(slot.refills)),
            table::number(table::grouped(slot.recalls)),
            Cell::new(if slot.open { "" } else { "closed" }),
        ]);
    }
    let sum =
        |part: fn(&doorbuster_api::admin::stock::SlotRow) -> u64| list.slots.iter().map(part).sum();
    let (granted, settled) = (sum(|slot| slot.granted), sum(|slot| slot.settled));
    format!(
        "{rows}\n{} of {} granted units are settled.\n",
        table::grouped(settled),
        table::grouped(granted)
    )
}

/// Returns the phase of a sale as text. If the end of the phase is known, the text contains this
/// time.
pub fn phase(sale: &AdminSale) -> String {
    match (sale.phase, sale.starts_at, sale.ends_at) {
        (Phase::Draft, ..) => "a draft".into(),
        (Phase::Scheduled, Some(starts_at), _) => format!("scheduled to open at {starts_at}"),
        (Phase::Open, _, Some(ends_at)) => format!("open until {ends_at}"),
        (phase, ..) => phase.as_str().into(),
    }
}
