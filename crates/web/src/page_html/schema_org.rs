//! Describes items for search engines.

use doorbuster_api::sale::{Item, Sale};
use serde_json::{Value, json};

use super::{Shop, ShownState, decimal, images};

pub(super) fn product(
    sale: &Sale,
    item: &Item,
    state: Option<ShownState>,
    shop: Shop<'_>,
) -> Value {
    let mut offer = json!({
        "@type": "Offer",
        "price": decimal(item.price),
        "priceCurrency": item.price.currency,
        "eligibleQuantity": {"@type": "QuantitativeValue", "maxValue": item.limit_per_buyer},
    });
    let optional = [
        ("availability", state.map(|state| state.availability().to_owned())),
        ("url", shop.absolute(&format!("/sale/{}", sale.id))),
        ("availabilityStarts", sale.starts_at.map(|time| time.to_string())),
        ("availabilityEnds", sale.ends_at.map(|time| time.to_string())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            offer[name] = value.into();
        }
    }
    let mut product = json!({"@type": "Product", "name": item.title.fallback(), "offers": offer});
    if !item.description.is_empty() {
        product["description"] = item.description.fallback().into();
    }
    let images: Vec<String> = images(item).filter_map(|(image, _)| shop.absolute(image)).collect();
    match images.as_slice() {
        [] => {}
        [only] => product["image"] = only.as_str().into(),
        several => product["image"] = json!(several),
    }
    if !item.facts.is_empty() {
        let facts = item.facts.iter().map(|fact| {
            json!({"@type": "PropertyValue", "name": fact.name.fallback(),
                   "value": fact.value.fallback()})
        });
        product["additionalProperty"] = facts.collect();
    }
    product
}
