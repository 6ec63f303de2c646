//! The link that opens an order's page without the buyer's token. The link contains a key, which is
//! a keyed hash of the order's id. The server does not store this key.

use doorbuster_core::{IdKey, TicketId};

/// Takes the place of a buyer's name in the hash. No buyer can have this name, so the key differs
/// from the hash of every request.
const PURPOSE: &str = "order link 1";

/// Returns the key in this order's link.
pub fn order_key(key: &IdKey, order: TicketId) -> String {
    format!("{:032x}", key.request_hash(PURPOSE, &order.to_string()).0)
}

/// Returns the link to an order's page. The key is in the link's fragment, which browsers do not
/// send to servers.
pub fn order_link(key: &IdKey, origin: Option<&str>, order: TicketId) -> String {
    format!("{}/order/{order}#key={}", origin.unwrap_or_default(), order_key(key, order))
}
