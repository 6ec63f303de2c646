//! Values of the HTTP contract. Each value is parsed once, when the request arrives.

mod money;
mod stock;
mod text;
mod time;

pub(crate) use money::assigned_currency;
pub use money::{Currency, Money};
pub use stock::Stock;
pub(crate) use text::LANGUAGE_PATTERN;
pub use text::{Text, direction, is_language};
pub use time::Time;

pub use doorbuster_types::is_name;

/// Pattern of a name, as a regular expression for the OpenAPI document.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9_.:-]{1,64}$";
