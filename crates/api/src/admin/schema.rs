//! Schemas of the members that operators send, where a Rust type alone does not say what is allowed.

use utoipa::PartialSchema;
use utoipa::openapi::schema::{AdditionalProperties, OneOfBuilder, SchemaType};
use utoipa::openapi::{ObjectBuilder, Schema, Type};

use crate::limits::{DESCRIPTION_CHARS_MAX, IMAGE_BYTES_MAX, PRICE_MINOR_MAX, STOCK_MAX, TITLE_CHARS_MAX};
use crate::value::{Currency, NAME_PATTERN};

/// A name that people choose.
pub(crate) fn name() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(NAME_PATTERN))
        .description(Some("A name: 1 to 64 of `A-Z a-z 0-9 _ . : -`."))
        .examples(["spring"])
        .into()
}

/// One line of text that is not blank.
pub(crate) fn title() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r"^[^\u0000-\u001F\u007F]*[^\u0000-\u0020\u007F][^\u0000-\u001F\u007F]*$"))
        .min_length(Some(1))
        .max_length(Some(TITLE_CHARS_MAX))
        .description(Some("One line of text, not blank."))
        .into()
}

/// A text of several lines, maybe empty.
pub(crate) fn description() -> Schema {
    text(Type::String.into()).default(Some("".into())).into()
}

/// The same, or `null`, which makes it empty.
pub(crate) fn nullable_description() -> Schema {
    text(nullable(Type::String)).into()
}

fn text(kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(kind)
        .pattern(Some(r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F]*$"))
        .max_length(Some(DESCRIPTION_CHARS_MAX))
        .description(Some("A longer text, maybe empty."))
}

/// Address of a picture: `http(s)`, or a reference without a scheme.
pub(crate) fn image() -> Schema {
    ObjectBuilder::new()
        .schema_type(nullable(Type::String))
        .pattern(Some("^(https?://[!-~]+|[!-9;-~]+)$"))
        .min_length(Some(1))
        .max_length(Some(IMAGE_BYTES_MAX))
        .description(Some("Address of a picture: http, https, or a path."))
        .examples(["https://shop.example/phone.webp"])
        .into()
}

/// A price that a shop may ask.
pub(crate) fn price() -> Schema {
    price_object(Type::Object.into()).description(Some("Price of one unit.")).into()
}

/// The same, or `null`.
pub(crate) fn nullable_price() -> Schema {
    price_object(nullable(Type::Object)).description(Some("What one unit costs elsewhere, to compare.")).into()
}

fn price_object(kind: SchemaType) -> ObjectBuilder {
    let amount = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .maximum(Some(PRICE_MINOR_MAX))
        .description(Some("Amount in the currency's smallest unit."));
    ObjectBuilder::new()
        .schema_type(kind)
        .property("amount_minor", amount)
        .required("amount_minor")
        .property("currency", Currency::schema())
        .required("currency")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .examples([serde_json::json!({"amount_minor": 10, "currency": "CNY"})])
}

/// How many units an adjustment adds or takes away; not 0.
pub(crate) fn adjustment_units() -> Schema {
    let most = i64::from(STOCK_MAX);
    let range = |from: i64, to: i64| {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(from)).maximum(Some(to)).build()
    };
    OneOfBuilder::new()
        .item(range(1, most))
        .item(range(-most, -1))
        .description(Some("Units to add, or with a minus to take away; not 0."))
        .into()
}

/// The front door of this version: everything off.
pub(crate) fn front_door() -> Schema {
    front_door_object(Type::Object.into()).into()
}

/// The same, or `null`.
pub(crate) fn nullable_front_door() -> Schema {
    front_door_object(nullable(Type::Object)).into()
}

fn front_door_object(kind: SchemaType) -> ObjectBuilder {
    let only = |kind: Type, value: serde_json::Value| {
        ObjectBuilder::new().schema_type(kind).enum_values(Some([value.clone()])).default(Some(value))
    };
    let limits = ObjectBuilder::new().max_properties(Some(0));
    ["pass", "challenge", "access_codes", "waiting_room"]
        .into_iter()
        .fold(ObjectBuilder::new().schema_type(kind), |object, member| {
            object.property(member, only(Type::String, "off".into()))
        })
        .property("members_only", only(Type::Boolean, false.into()))
        .property("min_level", only(Type::Integer, 0.into()))
        .property("limits", limits)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .description(Some("Passes, challenges, thresholds and waiting rooms are not available in this version."))
        .examples([serde_json::json!({"pass": "off", "challenge": "off"})])
}

fn nullable(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}
