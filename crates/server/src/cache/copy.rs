//! A copy of the catalogue in the Redis that nodes share: whoever reads the truth leaves it there,
//! the others take it.
//!
//! It lies under a name of its own for each version, and is used only under the very version that
//! the truth has just named, so it cannot be behind. It proves itself by the deployment's secret,
//! it goes by itself, and what is too large for it is read by each node.
use std::time::Duration;

use doorbuster_core::{IdKey, ItemId, Millis, PartitionChoice, Phase, Spread};
use doorbuster_slots::{Shared, SlotError};
use doorbuster_store::{CatalogueRows, ItemRow, SaleRow};
use serde::{Deserialize, Serialize};

use super::{Left, NAME};

/// What a copy looks like; nodes of another version of the program may write others.
const FORMAT: &str = "catalogue 1";
/// How long it is kept: until every node that hears of a change has it. One that starts later reads
/// the truth.
const LIVES: Duration = Duration::from_secs(10);
/// The longest copy, in bytes: the same server decides about stock, and must not be kept from it.
const SIZE_MAX: usize = 256 * 1024;
/// Digits of the proof that stands before the copy.
const PROOF_DIGITS: usize = 32;
/// What lies in the place of a copy that would be too long: nobody need wait for it.
const TOO_LONG: &[u8] = b"-";

/// The copy of this version, if it is there.
pub(super) async fn get(
    shared: &Shared,
    key: &IdKey,
    version: &str,
) -> Result<Left<CatalogueRows>, SlotError> {
    let Some(bytes) = shared.get(&name(shared, key, version)).await? else {
        return Ok(Left::Nothing);
    };
    Ok(parse(&bytes, key, version).map_or(Left::Other, Left::This))
}

/// What others are to find of these rows.
pub(super) struct Parcel {
    name: String,
    bytes: Vec<u8>,
}

impl Parcel {
    pub(super) fn of(shared: &Shared, key: &IdKey, rows: &CatalogueRows) -> Self {
        let bytes = text(key, rows).unwrap_or_else(|| TOO_LONG.to_vec());
        Self { name: name(shared, key, &rows.version), bytes }
    }

    /// Leaves it for them. Not written: they read for themselves.
    pub(super) async fn leave(self, shared: &Shared) {
        drop(shared.set(&self.name, &self.bytes, LIVES).await);
    }
}

/// Another database, and another format, has other names for its versions.
fn name(shared: &Shared, key: &IdKey, version: &str) -> String {
    let stamp = format!("sales:{:032x}", key.request_hash(FORMAT, version).0);
    shared.key(NAME, &stamp)
}

/// What nobody can write who has not the secret.
fn proof(key: &IdKey, version: &str, copy: &str) -> String {
    format!("{:0PROOF_DIGITS$x}", key.request_hash(&format!("{FORMAT} {version}"), copy).0)
}

fn text(key: &IdKey, rows: &CatalogueRows) -> Option<Vec<u8>> {
    let words = |sale: &SaleRow| {
        sale.front_door.len() + sale.items.iter().map(|item| item.description.len()).sum::<usize>()
    };
    if rows.sales.iter().map(words).sum::<usize>() > SIZE_MAX {
        return None;
    }
    let copy =
        serde_json::to_string(&Copy { sales: rows.sales.iter().map(Sale::of).collect() }).ok()?;
    let bytes = [proof(key, &rows.version, &copy).as_bytes(), copy.as_bytes()].concat();
    (bytes.len() <= SIZE_MAX).then_some(bytes)
}

/// One that cannot be read is as good as none.
fn parse(bytes: &[u8], key: &IdKey, version: &str) -> Option<CatalogueRows> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SIZE_MAX)?;
    let (found, copy) = text.split_at_checked(PROOF_DIGITS)?;
    if found != proof(key, version, copy) {
        return None;
    }
    let copy: Copy = serde_json::from_str(copy).ok()?;
    let sales = copy.sales.into_iter().map(Sale::row).collect::<Option<Vec<_>>>()?;
    Some(CatalogueRows { version: version.to_owned(), sales })
}

#[derive(Serialize, Deserialize)]
struct Copy {
    sales: Vec<Sale>,
}

/// [`SaleRow`] in a copy. Times are milliseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Sale {
    id: String,
    title: String,
    phase: String,
    starts_at: Option<i64>,
    ends_at: Option<i64>,
    front_door: String,
    version: u64,
    created_at: i64,
    opened_at: Option<i64>,
    closed_at: Option<i64>,
    draining_until: Option<i64>,
    items: Vec<Item>,
}

/// [`ItemRow`] in a copy.
#[derive(Serialize, Deserialize)]
struct Item {
    id: i64,
    name: String,
    title: String,
    description: String,
    image: Option<String>,
    price_minor: i64,
    currency: String,
    list_price_minor: Option<i64>,
    limit: u32,
    hold_ms: i64,
    counted: bool,
    partitions: u32,
    choose: String,
    initial: u64,
    threshold: u64,
    refill: u64,
}

impl Sale {
    fn of(row: &SaleRow) -> Self {
        let time = |at: Option<Millis>| at.map(|at| at.0);
        Self {
            id: row.id.clone(),
            title: row.title.clone(),
            phase: row.phase.as_str().to_owned(),
            starts_at: time(row.starts_at),
            ends_at: time(row.ends_at),
            front_door: row.front_door.clone(),
            version: row.version,
            created_at: row.created_at.0,
            opened_at: time(row.opened_at),
            closed_at: time(row.closed_at),
            draining_until: time(row.draining_until),
            items: row.items.iter().map(Item::of).collect(),
        }
    }

    fn row(self) -> Option<SaleRow> {
        let time = |at: Option<i64>| at.map(Millis);
        Some(SaleRow {
            id: self.id,
            title: self.title,
            phase: Phase::parse(&self.phase)?,
            starts_at: time(self.starts_at),
            ends_at: time(self.ends_at),
            front_door: self.front_door,
            version: self.version,
            created_at: Millis(self.created_at),
            opened_at: time(self.opened_at),
            closed_at: time(self.closed_at),
            draining_until: time(self.draining_until),
            items: self.items.into_iter().map(Item::row).collect::<Option<_>>()?,
        })
    }
}

impl Item {
    fn of(row: &ItemRow) -> Self {
        let Spread { partitions, choose, initial, threshold, refill } = row.spread;
        Self {
            id: row.id.0,
            name: row.name.clone(),
            title: row.title.clone(),
            description: row.description.clone(),
            image: row.image.clone(),
            price_minor: row.price_minor,
            currency: row.currency.clone(),
            list_price_minor: row.list_price_minor,
            limit: row.limit,
            hold_ms: row.hold_ms,
            counted: row.counted,
            partitions,
            choose: choose.as_str().to_owned(),
            initial,
            threshold,
            refill,
        }
    }

    fn row(self) -> Option<ItemRow> {
        let Self { partitions, initial, threshold, refill, .. } = self;
        let spread = Spread {
            partitions,
            choose: PartitionChoice::parse(&self.choose)?,
            initial,
            threshold,
            refill,
        };
        Some(ItemRow {
            id: ItemId(self.id),
            name: self.name,
            title: self.title,
            description: self.description,
            image: self.image,
            price_minor: self.price_minor,
            currency: self.currency,
            list_price_minor: self.list_price_minor,
            limit: self.limit,
            hold_ms: self.hold_ms,
            counted: self.counted,
            spread,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> IdKey {
        IdKey::new([5; 32])
    }

    fn rows(titles: usize) -> CatalogueRows {
        let item = ItemRow {
            id: ItemId(7),
            name: "phone".to_owned(),
            title: "A \"phone\"".to_owned(),
            description: "抢购".to_owned(),
            image: Some("/a.png".to_owned()),
            price_minor: 10,
            currency: "CNY".to_owned(),
            list_price_minor: Some(99_900),
            limit: 3,
            hold_ms: 900_000,
            counted: true,
            spread: Spread {
                partitions: 4,
                choose: PartitionChoice::RoundRobin,
                initial: 40,
                threshold: 10,
                refill: 20,
            },
        };
        let plain = ItemRow {
            id: ItemId(8),
            image: None,
            list_price_minor: None,
            counted: false,
            ..item.clone()
        };
        let sale = SaleRow {
            id: "spring".to_owned(),
            title: "t".repeat(titles),
            phase: Phase::Open,
            starts_at: Some(Millis(1)),
            ends_at: Some(Millis(2)),
            front_door: r#"{"pass":"required"}"#.to_owned(),
            version: 6,
            created_at: Millis(3),
            opened_at: Some(Millis(4)),
            closed_at: Some(Millis(5)),
            draining_until: Some(Millis(6)),
            items: vec![item, plain],
        };
        let none = SaleRow {
            id: "bare".to_owned(),
            phase: Phase::Draft,
            starts_at: None,
            ends_at: None,
            opened_at: None,
            closed_at: None,
            draining_until: None,
            items: Vec::new(),
            ..sale.clone()
        };
        CatalogueRows { version: "00000001/77".to_owned(), sales: vec![sale, none] }
    }

    #[test]
    fn a_copy_is_the_same_rows_again() {
        let rows = rows(20);
        let bytes = text(&key(), &rows).expect("short enough");
        assert_eq!(parse(&bytes, &key(), &rows.version), Some(rows));
    }

    #[test]
    fn a_copy_of_anything_else_is_none() {
        let rows = rows(20);
        let bytes = text(&key(), &rows).expect("short enough");
        assert_eq!(parse(&bytes, &key(), "00000002/77"), None, "another version");
        assert_eq!(parse(&bytes, &IdKey::new([6; 32]), &rows.version), None, "another database");
        assert_eq!(parse(&bytes[..bytes.len() - 1], &key(), &rows.version), None, "half of one");
        for nothing in [TOO_LONG, b"", b"{}", "抢".repeat(20).as_bytes()] {
            assert_eq!(parse(nothing, &key(), &rows.version), None);
        }
        let changed = String::from_utf8(bytes)
            .expect("text")
            .replace("\"price_minor\":10,", "\"price_minor\":11,");
        assert_eq!(parse(changed.as_bytes(), &key(), &rows.version), None, "somebody else's price");
    }

    #[test]
    fn a_copy_is_no_longer_than_it_may_be() {
        assert_eq!(text(&key(), &rows(SIZE_MAX)), None);
        let mut long = rows(1);
        long.sales[0].items[0].description = "d".repeat(SIZE_MAX + 1);
        assert_eq!(text(&key(), &long), None);
    }
}
