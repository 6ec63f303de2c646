//! Schemas for members of operators' requests. A Rust type cannot express the rules of these
//! members.

use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, OneOfBuilder, SchemaType};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

use crate::limits::{
    DESCRIPTION_CHARS_MAX, GALLERY_MAX, IMAGE_BYTES_MAX, ITEM_FACTS_MAX, LANGUAGES_MAX,
    PRICE_MINOR_MAX, STOCK_MAX, TITLE_CHARS_MAX,
};
use crate::value::{LANGUAGE_PATTERN, NAME_PATTERN, assigned_currency};

/// The schema of a sum of amounts in minor units. It has no maximum, because a sum may be larger
/// than the largest single amount.
pub(crate) fn sum() -> Schema {
    ObjectBuilder::new().schema_type(Type::Integer).into()
}

pub(crate) fn name() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(NAME_PATTERN))
        .description(Some("A name: 1 to 64 characters of `A-Z a-z 0-9 _ . : -`."))
        .examples(["spring"])
        .into()
}

/// The schema of the name of a new sale or item: any name except `.` and `..`.
pub(crate) fn new_name() -> Schema {
    let pattern = "^([A-Za-z0-9_:-][A-Za-z0-9_.:-]?|[.][A-Za-z0-9_:-]|[A-Za-z0-9_.:-]{3,64})$";
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .description(Some("A name: 1 to 64 characters of `A-Z a-z 0-9 _ . : -`. The names `.` and `..` are not allowed."))
        .examples(["spring"])
        .into()
}

pub(crate) fn title() -> Schema {
    line(Type::String.into()).into()
}

/// The schema of a title on the page: one line, or one line for each language.
pub(crate) fn page_title() -> Schema {
    in_languages(line(Type::String.into()), line(Type::String.into()))
}

/// The schema of a change to a title: a new title, or changes in single languages. `null` removes a
/// language.
pub(crate) fn page_title_patch() -> Schema {
    in_languages(line(Type::String.into()), line(nullable(Type::String)))
}

fn line(kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(kind)
        .pattern(Some(r"^[^\u0000-\u001F\u007F]*[^\u0000-\u0020\u007F][^\u0000-\u001F\u007F]*$"))
        .min_length(Some(1))
        .max_length(Some(TITLE_CHARS_MAX))
        .description(Some("One line of text, not blank."))
}

/// The schema of a description: a text of several lines, or one such text for each language. A text
/// may be empty.
pub(crate) fn page_description() -> Schema {
    in_languages(text(Type::String.into()), text(Type::String.into()))
}

/// The schema of a change to a description: a new description, or changes in single languages.
/// `null` makes the whole description empty. `null` as the text of a language removes the language.
pub(crate) fn page_description_patch() -> Schema {
    in_languages(text(nullable(Type::String)), text(nullable(Type::String)))
}

/// Returns the schema of one text, or of an object with a text for each language.
fn in_languages(plain: ObjectBuilder, each: ObjectBuilder) -> Schema {
    let tag = ObjectBuilder::new().schema_type(Type::String).pattern(Some(LANGUAGE_PATTERN));
    let languages = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(tag))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(each.into()))))
        .min_properties(Some(1))
        .max_properties(Some(LANGUAGES_MAX))
        .description(Some("One text for each language, by language tag."));
    OneOfBuilder::new().item(plain).item(languages).into()
}

fn text(kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(kind)
        .pattern(Some(r"^[^\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F]*$"))
        .max_length(Some(DESCRIPTION_CHARS_MAX))
        .description(Some("A longer text, possibly empty."))
}

pub(crate) fn gallery() -> Schema {
    pictures(Type::Array.into()).into()
}

/// `null` removes the pictures.
pub(crate) fn nullable_gallery() -> Schema {
    pictures(nullable(Type::Array)).into()
}

fn pictures(kind: SchemaType) -> ArrayBuilder {
    let picture = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("image", image_url(Type::String.into()))
        .required("image")
        .property("alt", page_description())
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    ArrayBuilder::new()
        .schema_type(kind)
        .items(picture)
        .max_items(Some(GALLERY_MAX))
        .description(Some("Further pictures, shown after the first."))
}

pub(crate) fn facts() -> Schema {
    table(Type::Array.into()).into()
}

/// `null` removes the facts.
pub(crate) fn nullable_facts() -> Schema {
    table(nullable(Type::Array)).into()
}

fn table(kind: SchemaType) -> ArrayBuilder {
    let fact = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("name", page_title())
        .required("name")
        .property("value", page_title())
        .required("value")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    ArrayBuilder::new()
        .schema_type(kind)
        .items(fact)
        .max_items(Some(ITEM_FACTS_MAX))
        .description(Some("Facts about the product, shown as a table."))
}

/// The schema of a picture's address: an `https` URL, or a reference without a scheme.
pub(crate) fn image() -> Schema {
    image_url(nullable(Type::String)).into()
}

fn image_url(kind: SchemaType) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(kind)
        .pattern(Some("^(https://[!-~]+|[!-9;-~]+)$"))
        .min_length(Some(1))
        .max_length(Some(IMAGE_BYTES_MAX))
        .description(Some("URL of a picture: https, or a path."))
        .examples(["https://shop.example/phone.webp"])
}

pub(crate) fn price() -> Schema {
    price_object(Type::Object.into()).description(Some("Price of one unit.")).into()
}

pub(crate) fn nullable_price() -> Schema {
    price_object(nullable(Type::Object))
        .description(Some("A price for comparison, such as the usual price."))
        .into()
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
        .property("currency", assigned_currency())
        .required("currency")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .examples([serde_json::json!({"amount_minor": 10, "currency": "CNY"})])
}

/// The schema of the units that an adjustment adds or removes: any number except 0.
pub(crate) fn adjustment_units() -> Schema {
    let most = i64::from(STOCK_MAX);
    let range = |from: i64, to: i64| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(from))
            .maximum(Some(to))
            .build()
    };
    OneOfBuilder::new()
        .item(range(1, most))
        .item(range(-most, -1))
        .description(Some("The units to add. A negative number removes units. 0 is invalid."))
        .into()
}

pub(crate) fn front_door() -> Schema {
    front_door_object(false).into()
}

/// The schema of a change to a front door. For a single limit, `null` means no limit. For any other
/// member, `null` restores the default.
pub(crate) fn front_door_patch() -> Schema {
    front_door_object(true).into()
}

fn front_door_object(is_patch: bool) -> ObjectBuilder {
    let kind = |kind: Type| if is_patch { nullable(kind) } else { kind.into() };
    let word = |words: &[&'static str]| {
        let words = words.iter().map(|word| Some(*word)).chain(is_patch.then_some(None));
        let object = ObjectBuilder::new().schema_type(kind(Type::String)).enum_values(Some(words));
        if is_patch { object } else { object.default(Some("off".into())) }
    };
    let limit = || {
        let count = || {
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .maximum(Some(crate::limits::LIMIT_MAX))
        };
        let object = ObjectBuilder::new()
            .schema_type(nullable(Type::Object))
            .property("burst", count())
            .property("per_minute", count())
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        if !is_patch {
            return RefOr::from(object.required("burst").required("per_minute"));
        }
        let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["default"]));
        OneOfBuilder::new().item(object).item(word).into()
    };
    let limits = ["buyer", "ip", "interface"]
        .into_iter()
        .fold(ObjectBuilder::new().schema_type(kind(Type::Object)), |object, name| {
            object.property(name, limit())
        })
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .description(Some(
            "The rate limits. `null` means no limit. In a new sale, an absent limit has its \
             default. In a patch, an absent limit stays, and `default` restores the default.",
        ));
    let level =
        ObjectBuilder::new().schema_type(kind(Type::Integer)).minimum(Some(0)).maximum(Some(255));
    let effort = ObjectBuilder::new()
        .schema_type(kind(Type::Integer))
        .minimum(Some(crate::limits::POW_EFFORT_MIN))
        .maximum(Some(crate::limits::POW_EFFORT_MAX))
        .description(Some("The average number of keys that a device tries for a proof of work."));
    let effort = if is_patch {
        effort
    } else {
        effort.default(Some(crate::limits::POW_EFFORT_DEFAULT.into()))
    };
    ObjectBuilder::new()
        .schema_type(kind(Type::Object))
        .property("pass", word(&["off", "required"]))
        .property("challenge", word(&["off", "image", "slider", "pow"]))
        .property("pow_effort", effort)
        .property("members_only", ObjectBuilder::new().schema_type(kind(Type::Boolean)))
        .property("min_level", level)
        .property("access_codes", word(&["off", "required"]))
        .property("waiting_room", word(&["off", "auto", "always"]))
        .property("rooms", word(&["sale", "items"]))
        .property("limits", limits)
        .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        .description(Some("What a sale requires of its buyers, and its rate limits."))
        .examples([serde_json::json!({"pass": "required", "challenge": "off"})])
}

fn nullable(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}
