//! The sample sale of `serve --demo`. It has a few items and opens soon.

use std::time::Duration;

use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Spread, Stock};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::node::Node;
use doorbuster_engine::sales::SaleControl;
use doorbuster_store::{NewItem, NewSale};

/// Time from the start of the server to the sale's start.
pub(super) const OPENS_IN: Duration = Duration::from_secs(20);
/// The payment window is short, so that a visitor sees how the units of an unpaid order become
/// available again.
const HOLD: Duration = Duration::from_secs(120);
/// If the data directory has this many demo sales, a start creates no further sale.
const SALES_MAX: u32 = 10_000;

pub(super) async fn open(node: &Node, sales: &SaleControl) -> Result<String, EngineError> {
    let starts_at = node.now().plus(OPENS_IN.as_millis() as i64);
    for number in 1..=SALES_MAX {
        let id = if number == 1 { "demo".to_owned() } else { format!("demo-{number}") };
        // An earlier demonstration in the same data directory may have used this id.
        if node.catalogue().sale(&id).is_some() {
            continue;
        }
        let sale = NewSale {
            id: id.clone(),
            title: "Lamps from the small workshop".into(),
            starts_at: Some(starts_at),
            ends_at: None,
            front_door: "{}".into(),
            page: String::new(),
            items: items(),
        };
        sales.create_sale(sale).await?;
        sales.step_sale(&id, PhaseStep::Schedule).await?;
        return Ok(id);
    }
    Ok("demo".into())
}

fn items() -> Vec<NewItem> {
    let item = |name: &str,
                title: &str,
                description: &str,
                price_minor,
                list_price_minor,
                limit,
                stock| NewItem {
        name: name.into(),
        title: title.into(),
        description: description.into(),
        image: None,
        price_minor,
        currency: "EUR".into(),
        list_price_minor,
        limit,
        hold_ms: HOLD.as_millis() as i64,
        page: String::new(),
        stock,
        spread: Spread::default(),
    };
    vec![
        item(
            "lamp",
            "Table lamp",
            "Oiled oak and linen. Forty were made.",
            4_900,
            Some(8_900),
            2,
            Stock::Counted(40),
        ),
        item(
            "shade",
            "Spare shade",
            "Linen, fits the table lamp.",
            1_200,
            None,
            4,
            Stock::Counted(100),
        ),
        item("bulb", "Warm bulb", "As many as anyone wants.", 350, None, 10, Stock::Unlimited),
    ]
}
