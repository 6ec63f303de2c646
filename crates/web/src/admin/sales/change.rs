//! `PATCH /v1/admin/sales/{sale}`: applies a merge patch to the newest row of the sale, inside a
//! transaction of the store.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::admin::sale_patch::{ItemPatch, SalePatch};
use doorbuster_api::body::MemberPatch;
use doorbuster_api::problem::{Fault, Problem};
use doorbuster_api::value::{Money, Stock, Time};
use doorbuster_core::{Millis, Phase};
use doorbuster_engine::catalogue::{self, SaleState};
use doorbuster_engine::{api_conversion, page_document};
use doorbuster_store::{ItemRow, PatchOutcome, SaleRow, StoreResult, recorded};
use http::{HeaderMap, StatusCode};

use super::{other_currency, requested_version, unpayable};
use crate::App;
use crate::admin::{check_slots_readable, no_sale, sale, sale_reply};
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::HandlerResult;
use crate::request_body::MergePatchBody;

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name]): PathNames<1>,
    headers: HeaderMap,
    MergePatchBody(body): MergePatchBody,
) -> HandlerResult {
    let patch = SalePatch::from_json(&body)?;
    let before = sale(&app, &name)?;
    let if_version = requested_version(&headers, &before)?;
    check_stock(&patch, &before)?;
    check_prices(&app, &patch)?;
    let has_visitors = has_visitors(&app, &name).await?;
    // The closure `apply` can refuse the patch. The store then returns only a text, so the closure
    // puts the complete problem into `wrong`.
    let wrong = Arc::new(Mutex::new(None));
    let (kept, now, shop) = (wrong.clone(), app.node.now(), app.clone());
    let own = before.items.iter().map(|item| item.slots.len()).sum();
    let apply = Box::new(move |row: &mut SaleRow| {
        let times = (row.starts_at, row.ends_at);
        let applied = apply(patch, row, has_visitors, now);
        applied.and_then(|()| check_times(&shop, row, times, own)).map_err(|problem| {
            let word = problem.code().as_str().to_owned();
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
            word
        })
    });
    let patched = app.sales.patch_sale(&name, if_version, apply);
    let action = by.action("sale.changed", "sale", &name);
    match recorded(action, patched).await? {
        PatchOutcome::Done(row) => Ok(sale_reply(&app, StatusCode::OK, &row)),
        PatchOutcome::NotFound => Err(no_sale().into()),
        PatchOutcome::VersionMismatch(_) => Err(Problem::precondition_failed().into()),
        PatchOutcome::Refused(_) => {
            let wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(wrong.unwrap_or_else(Problem::internal).into())
        }
    }
}

/// Refuses a patch that changes the stock, because only an adjustment may do so.
fn check_stock(patch: &SalePatch, sale: &SaleState) -> Result<(), Problem> {
    let is = |item: &ItemPatch| {
        sale.item(&item.id).map(|item| api_conversion::stock(item.gauge.counts().total))
    };
    let differs = |item: &ItemPatch, stock: Stock| is(item).is_some_and(|is| is != stock);
    let faults: Vec<Fault> = patch
        .items
        .iter()
        .enumerate()
        .filter(|(_, item)| item.stock.is_some_and(|stock| differs(item, stock)))
        .map(|(index, _)| {
            fault(index, "stock", "is changed by an adjustment of the stock, not by this request")
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid_request(faults)) }
}

fn check_prices(app: &App, patch: &SalePatch) -> Result<(), Problem> {
    let prices =
        patch.items.iter().enumerate().filter_map(|(index, item)| Some((index, item.price?)));
    let unpayable = |(index, price): (usize, Money)| {
        unpayable(app, index, price.amount_minor, price.currency.as_str())
    };
    let faults: Vec<Fault> = prices.filter_map(unpayable).collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid_request(faults)) }
}

fn fault(index: usize, member: &str, detail: &'static str) -> Fault {
    Fault::body(format!("/items/{index}/{member}"), detail)
}

/// The sale's new times may overlap the times of other sales. Checks that a node can read the slots
/// of all sales that run at the same time. A draft is checked later, when it is scheduled or
/// opened. `own` is the number of this sale's slots.
fn check_times(
    app: &App,
    row: &SaleRow,
    before: (Option<Millis>, Option<Millis>),
    own: usize,
) -> Result<(), Problem> {
    let is_on = matches!(row.phase, Phase::Scheduled | Phase::Open | Phase::Paused);
    if !is_on || before == (row.starts_at, row.ends_at) {
        return Ok(());
    }
    check_slots_readable(app, row.phase, row, own)
}

/// Returns whether a buyer has joined a waiting room of the sale. A buyer who joins after this
/// check may have to join again.
async fn has_visitors(app: &App, sale: &str) -> StoreResult<bool> {
    let rooms = app.node.store().waiting_rooms(vec![sale.to_owned()]).await?;
    Ok(rooms.iter().any(|room| room.line.entered > 0))
}

/// Refuses a switch between one waiting room for the sale and one for each item. The switch is
/// allowed only before the opening, and only if no buyer has joined a room.
fn check_rooms(
    row: &SaleRow,
    before: FrontDoor,
    after: FrontDoor,
    has_visitors: bool,
) -> Result<(), Problem> {
    if before.rooms == after.rooms || (row.phase.is_before_opening() && !has_visitors) {
        return Ok(());
    }
    let detail = "front_door.rooms can change only before the sale opens, and before the first \
                  buyer joins a waiting room";
    Err(Problem::wrong_state(row.phase.as_str(), detail))
}

/// Returns a fault if a changed time would open or close the sale at once. Opening and closing
/// cannot be undone, so a patch must not cause them. An operator must send the request `open` or
/// `close`.
fn due_time(before: &SaleRow, after: &SaleRow, now: Millis) -> Option<Fault> {
    let is_due =
        |old: Option<Millis>, new: Option<Millis>| old != new && new.is_some_and(|at| at <= now);
    let (member, detail) = match after.phase {
        Phase::Scheduled if is_due(before.starts_at, after.starts_at) => {
            ("/starts_at", "must be in the future; to open the sale now, use open")
        }
        Phase::Scheduled | Phase::Open | Phase::Paused if is_due(before.ends_at, after.ends_at) => {
            ("/ends_at", "must be in the future; to close the sale now, use close")
        }
        _ => return None,
    };
    Some(Fault::body(member, detail))
}

fn apply(
    patch: SalePatch,
    row: &mut SaleRow,
    has_visitors: bool,
    now: Millis,
) -> Result<(), Problem> {
    let (mut faults, before) = (Vec::new(), row.clone());
    if let Some(title) = patch.title {
        match title.apply(page_document::sale_title(row)) {
            Ok(title) => (row.title, row.page) = page_document::sale_columns(title),
            Err(why) => faults.push(Fault::body("/title", why)),
        }
    }
    row.starts_at = changed_time(patch.starts_at, row.starts_at);
    row.ends_at = changed_time(patch.ends_at, row.ends_at);
    if row.phase == Phase::Scheduled && row.starts_at.is_none() {
        faults.push(Fault::body("/starts_at", "a scheduled sale must have a start"));
    }
    if row.starts_at.zip(row.ends_at).is_some_and(|(starts_at, ends_at)| ends_at <= starts_at) {
        faults.push(Fault::body("/ends_at", "must be after starts_at"));
    }
    faults.extend(due_time(&before, row, now));
    let door = catalogue::front_door(row);
    let changed = match patch.front_door {
        MemberPatch::Keep => None,
        MemberPatch::Clear => Some(FrontDoor::default()),
        MemberPatch::Set(_) if FrontDoor::parse(&row.front_door).is_none() => {
            let detail = "this node cannot read the sale's front door, so it cannot change a part \
                          of it; send the request to a node with the newest version, or set \
                          front_door to null";
            return Err(Problem::wrong_state(row.phase.as_str(), detail));
        }
        MemberPatch::Set(patch) => Some(patch.apply(door)?),
    };
    if let Some(changed) = changed {
        check_rooms(row, door, changed, has_visitors)?;
        row.front_door = changed.to_json();
    }
    let mut late = false;
    for (index, item) in patch.items.into_iter().enumerate() {
        match row.items.iter_mut().find(|known| known.name == item.id) {
            Some(known) => late |= apply_item(item, known, index, &mut faults),
            None => {
                faults.push(fault(index, "id", "the sale has no such item; items cannot be added"))
            }
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid_request(faults));
    }
    if late && !row.phase.is_before_opening() {
        let detail = "prices, limits and holds cannot change after a sale has opened";
        return Err(Problem::wrong_state(row.phase.as_str(), detail));
    }
    Ok(())
}

fn changed_time(change: MemberPatch<Time>, before: Option<Millis>) -> Option<Millis> {
    change.apply(before.map(api_conversion::time)).map(|time| Millis(time.millis()))
}

/// Returns whether the patch changes a field that is fixed after the sale has opened.
fn apply_item(patch: ItemPatch, row: &mut ItemRow, index: usize, faults: &mut Vec<Fault>) -> bool {
    let before = row.clone();
    let mut texts = page_document::item_texts(row);
    for (member, change, text) in [
        ("title", patch.title, &mut texts.title),
        ("description", patch.description, &mut texts.description),
    ] {
        match change.map(|change| change.apply(text.clone())) {
            None => {}
            Some(Ok(changed)) => *text = changed,
            Some(Err(why)) => faults.push(fault(index, member, why)),
        }
    }
    texts.gallery = patch.gallery.unwrap_or(texts.gallery);
    texts.facts = patch.facts.unwrap_or(texts.facts);
    (row.title, row.description, row.page) = page_document::item_columns(texts);
    row.image = patch.image.apply(row.image.take());
    if let Some(Money { amount_minor, currency }) = patch.price {
        row.price_minor = amount_minor;
        row.currency = currency.to_string();
    }
    match patch.list_price {
        MemberPatch::Keep if row.list_price_minor.is_some() && row.currency != before.currency => {
            faults.push(other_currency(index));
        }
        MemberPatch::Keep => {}
        MemberPatch::Clear => row.list_price_minor = None,
        MemberPatch::Set(price) => {
            if price.currency.as_str() != row.currency {
                faults.push(other_currency(index));
            }
            row.list_price_minor = Some(price.amount_minor);
        }
    }
    if let Some(limit) = patch.limit_per_buyer {
        row.limit = limit;
    }
    if let Some(hold_secs) = patch.hold_secs {
        row.hold_ms = i64::from(hold_secs) * 1_000;
    }
    let terms = |row: &ItemRow| {
        (row.price_minor, row.currency.clone(), row.list_price_minor, row.limit, row.hold_ms)
    };
    terms(row) != terms(&before)
}
