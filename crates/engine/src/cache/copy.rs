//! A copy of the catalogue in the shared Redis. One node reads the store and writes the copy for
//! the other nodes.
//!
//! Each version of the catalogue has its own key. A node first reads the current version from the
//! store, and then looks for the copy of this version. So the copy is never older than that read.
//! Each copy has an authentication code that only a program with the deployment's secret can
//! compute.
use std::time::Duration;

use doorbuster_core::IdKey;
use doorbuster_slots::{SharedRedis, SlotError};
use doorbuster_store::{CatalogueRows, SaleRow};
use serde::{Deserialize, Serialize};

use super::{CopyLookup, NAME};

/// The format of a copy. Other versions of the program may write other formats.
const FORMAT: &str = "catalogue 2";
/// How long Redis keeps a copy. After this time, a node that needs the copy must read the store.
const COPY_TTL: Duration = Duration::from_secs(10);
/// The maximum size of a copy, in bytes. Larger values would delay the slots on the same Redis
/// server.
const SIZE_MAX: usize = 256 * 1024;
/// The number of digits of the authentication code. In Redis, each value begins with the code, and
/// the copy follows.
const PROOF_DIGITS: usize = 32;
/// A node writes this value to Redis in place of a copy that is too long. Without it, the other
/// nodes would wait for the copy.
const TOO_LONG: &[u8] = b"-";

/// Looks up the copy of this version. If the copy is too long or invalid, the result is
/// [`CopyLookup::Other`], and the caller must read the store.
pub(super) async fn get(
    shared: &SharedRedis,
    key: &IdKey,
    version: &str,
) -> Result<CopyLookup<CatalogueRows>, SlotError> {
    let Some(bytes) = shared.get(&copy_key(shared, key, version)).await? else {
        return Ok(CopyLookup::Missing);
    };
    Ok(parse(&bytes, key, version).map_or(CopyLookup::Other, CopyLookup::This))
}

pub(super) struct CatalogueCopy {
    name: String,
    bytes: Vec<u8>,
}

impl CatalogueCopy {
    pub(super) fn from_row(shared: &SharedRedis, key: &IdKey, rows: &CatalogueRows) -> Self {
        let bytes = encode(key, rows).unwrap_or_else(|| TOO_LONG.to_vec());
        Self { name: copy_key(shared, key, &rows.version), bytes }
    }

    /// Writes the copy to Redis. Ignores errors: without a copy, the other nodes read the store.
    pub(super) async fn publish(self, shared: &SharedRedis) {
        drop(shared.set(&self.name, &self.bytes, COPY_TTL).await);
    }
}

fn copy_key(shared: &SharedRedis, key: &IdKey, version: &str) -> String {
    let stamp = format!("sales:{:032x}", key.request_hash(FORMAT, version).0);
    shared.key(NAME, &stamp)
}

/// Returns the authentication code of a copy. Only a program that has the deployment's secret can
/// compute this code.
fn proof(key: &IdKey, version: &str, copy: &str) -> String {
    format!("{:0PROOF_DIGITS$x}", key.request_hash(&format!("{FORMAT} {version}"), copy).0)
}

fn encode(key: &IdKey, rows: &CatalogueRows) -> Option<Vec<u8>> {
    let text_bytes = |sale: &SaleRow| {
        let items = sale.items.iter().map(|item| item.description.len() + item.page.len());
        sale.front_door.len() + sale.page.len() + items.sum::<usize>()
    };
    if rows.sales.iter().map(text_bytes).sum::<usize>() > SIZE_MAX {
        return None;
    }
    let copy = serde_json::to_string(&CopyBody { sales: &rows.sales }).ok()?;
    let bytes = [proof(key, &rows.version, &copy).as_bytes(), copy.as_bytes()].concat();
    (bytes.len() <= SIZE_MAX).then_some(bytes)
}

fn parse(bytes: &[u8], key: &IdKey, version: &str) -> Option<CatalogueRows> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SIZE_MAX)?;
    let (found, copy) = text.split_at_checked(PROOF_DIGITS)?;
    if found != proof(key, version, copy) {
        return None;
    }
    let CopyBody { sales } = serde_json::from_str(copy).ok()?;
    Some(CatalogueRows { version: version.to_owned(), sales })
}

/// The content of a copy. `Rows` is a list of [`SaleRow`]. Edges and nodes of other versions also
/// read this JSON.
#[derive(Serialize, Deserialize)]
struct CopyBody<Rows> {
    sales: Rows,
}

#[cfg(test)]
mod tests {
    use doorbuster_core::{ItemId, Millis, PartitionChoice, Phase, Spread};
    use doorbuster_store::ItemRow;

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
            page: r#"{"title":{"en":"A \"phone\""}}"#.to_owned(),
            counted: true,
            spread: Spread {
                partitions: 4,
                auto: false,
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
            page: r#"{"title":{"en":"t"}}"#.to_owned(),
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
    fn a_copy_has_the_same_rows() {
        let rows = rows(20);
        let bytes = encode(&key(), &rows).expect("short enough");
        assert_eq!(parse(&bytes, &key(), &rows.version), Some(rows));
    }

    #[test]
    fn the_format_of_a_row_stays_the_same() {
        let mut sale = rows(1).sales.remove(0);
        sale.items.truncate(1);
        let pinned = concat!(
            r#"{"id":"spring","title":"t","phase":"open","starts_at":1,"ends_at":2,"#,
            r#""front_door":"{\"pass\":\"required\"}","page":"{\"title\":{\"en\":\"t\"}}","#,
            r#""version":6,"created_at":3,"opened_at":4,"closed_at":5,"draining_until":6,"#,
            r#""items":[{"id":7,"name":"phone","title":"A \"phone\"","description":"抢购","#,
            r#""image":"/a.png","price_minor":10,"currency":"CNY","list_price_minor":99900,"#,
            r#""limit":3,"hold_ms":900000,"page":"{\"title\":{\"en\":\"A \\\"phone\\\"\"}}","#,
            r#""counted":true,"partitions":4,"auto":false,"choose":"round_robin","initial":40,"#,
            r#""threshold":10,"refill":20}]}"#,
        );
        assert_eq!(serde_json::to_string(&sale).expect("a row serialises"), pinned);
    }

    #[test]
    fn a_copy_of_another_version_or_database_is_refused() {
        let rows = rows(20);
        let bytes = encode(&key(), &rows).expect("short enough");
        assert_eq!(
            parse(&bytes, &key(), "00000002/77"),
            None,
            "a copy of another version must be refused"
        );
        assert_eq!(
            parse(&bytes, &IdKey::new([6; 32]), &rows.version),
            None,
            "a copy of another database must be refused"
        );
        assert_eq!(
            parse(&bytes[..bytes.len() - 1], &key(), &rows.version),
            None,
            "a truncated copy must be refused"
        );
        for nothing in [TOO_LONG, b"", b"{}", "抢".repeat(20).as_bytes()] {
            assert_eq!(parse(nothing, &key(), &rows.version), None);
        }
        let changed = String::from_utf8(bytes)
            .expect("text")
            .replace("\"price_minor\":10,", "\"price_minor\":11,");
        assert_eq!(
            parse(changed.as_bytes(), &key(), &rows.version),
            None,
            "a copy with a forged price must be refused"
        );
    }

    #[test]
    fn a_catalogue_that_is_too_long_gets_no_copy() {
        assert_eq!(encode(&key(), &rows(SIZE_MAX)), None);
        let mut long = rows(1);
        long.sales[0].items[0].description = "d".repeat(SIZE_MAX + 1);
        assert_eq!(encode(&key(), &long), None);
    }
}
