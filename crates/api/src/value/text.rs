//! A text of the shop: one string for all languages, or one string for each language.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// If a text is missing in the reader's own language, the reader gets the text in this language.
const FALLBACK_LANGUAGE: &str = "en";
/// Pattern of a language tag, as a regular expression for the OpenAPI document.
pub(crate) const LANGUAGE_PATTERN: &str = "^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$";
/// The lengths, in characters, that are allowed for the parts of a language tag after the first
/// part.
const SUBTAG_CHARS: std::ops::RangeInclusive<usize> = 2..=8;
const SUBTAGS_MAX: usize = 3;
const RIGHT_TO_LEFT: [&str; 9] = ["ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur"];

/// A text of the shop. A reader gets the text in the reader's language. If this text is missing,
/// the reader gets the English text. If the English text is also missing, the reader gets the text
/// whose language tag is first in the alphabet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// One text for every reader. The language of the text is not known.
    Plain(String),
    /// One text for each language, by language tag (RFC 5646): `en`, `zh`, `pt-BR`.
    Languages(BTreeMap<String, String>),
}

impl Text {
    /// Returns the fallback text: the text for a reader whose language is not known.
    #[must_use]
    pub fn fallback(&self) -> &str {
        self.in_languages().first().map_or("", |(_, text)| text)
    }

    /// Returns the text in `language`. If there is none, returns the text in a variant, such as
    /// `zh-CN` for `zh`. If there is no variant, returns the fallback text.
    #[must_use]
    pub fn for_language(&self, language: &str) -> &str {
        let Self::Languages(texts) = self else { return self.fallback() };
        let is_variant =
            |tag: &str| tag.strip_prefix(language).is_some_and(|rest| rest.starts_with('-'));
        let variant = || texts.iter().find_map(|(tag, text)| is_variant(tag).then_some(text));
        texts.get(language).or_else(variant).map_or_else(|| self.fallback(), String::as_str)
    }

    /// The language tag of the fallback text; `None` if the language of this text is not known.
    #[must_use]
    pub fn fallback_language(&self) -> Option<&str> {
        self.in_languages().first().and_then(|(language, _)| *language)
    }

    /// Every text with its language tag. The fallback text is first.
    #[must_use]
    pub fn in_languages(&self) -> Vec<(Option<&str>, &str)> {
        let texts = match self {
            Self::Plain(text) => return vec![(None, text)],
            Self::Languages(texts) => texts,
        };
        let mut each: Vec<(Option<&str>, &str)> =
            texts.iter().map(|(language, text)| (Some(language.as_str()), text.as_str())).collect();
        // The sort is stable, so the other texts stay sorted by language tag.
        each.sort_by_key(|(language, _)| *language != Some(FALLBACK_LANGUAGE));
        each
    }

    /// Whether all texts are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_languages().iter().all(|(_, text)| text.is_empty())
    }
}

/// Whether `tag` is a language tag: a language of 2 or 3 small letters, then up to 3 parts, each
/// after a hyphen.
#[must_use]
pub fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    let is_part = |part: &str| {
        SUBTAG_CHARS.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && parts.clone().count() <= SUBTAGS_MAX
        && parts.all(is_part)
}

/// The direction in which a language is written: `ltr` or `rtl`.
#[must_use]
pub fn direction(tag: &str) -> &'static str {
    let language = tag.split('-').next().unwrap_or_default();
    if RIGHT_TO_LEFT.contains(&language) { "rtl" } else { "ltr" }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fallback())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

impl PartialSchema for Text {
    fn schema() -> RefOr<Schema> {
        let plain = ObjectBuilder::new().schema_type(Type::String).description(Some("One text."));
        let each = ObjectBuilder::new()
            .schema_type(Type::Object)
            .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(
                ObjectBuilder::new().schema_type(Type::String).into(),
            ))))
            .description(Some("One text for each language, by language tag."));
        OneOfBuilder::new().item(plain).item(each).examples(["Spring drop"]).into()
    }
}

impl ToSchema for Text {}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn a_reader_without_their_language_gets_english_or_else_the_first_language() {
        let check = |json: &str, fallback: &str, language: Option<&str>| {
            let text = text(json);
            assert_eq!((text.fallback(), text.fallback_language()), (fallback, language), "{json}");
            assert_eq!(serde_json::to_string(&text).expect("plain data serialises"), json);
        };
        check(r#""Lamp""#, "Lamp", None);
        check(r#"{"de":"Lampe","en":"Lamp","zh":"灯"}"#, "Lamp", Some("en"));
        check(r#"{"fr":"Lampe","zh":"灯"}"#, "Lampe", Some("fr"));
        check("{}", "", None);
    }

    #[test]
    fn a_reader_of_a_language_gets_that_language_or_a_variant_of_it() {
        let both = text(r#"{"en":"Lamp","zh-CN":"灯","zhx":"?"}"#);
        assert_eq!((both.for_language("zh"), both.for_language("fr")), ("灯", "Lamp"));
        assert_eq!(text(r#"{"zh":"灯","zh-TW":"燈"}"#).for_language("zh"), "灯");
        assert_eq!(text(r#""Lamp""#).for_language("zh"), "Lamp");
    }

    #[test]
    fn a_language_tag_is_short_and_has_small_letters_first() {
        for right in ["en", "zh", "zh-Hans", "pt-BR", "zh-Hant-HK", "ckb"] {
            assert!(is_language(right), "{right}");
        }
        for wrong in ["", "e", "EN", "english", "en-", "en-x", "en_GB", "zh-Hans-CN-a1-b2", "en-é"]
        {
            assert!(!is_language(wrong), "{wrong}");
        }
        assert_eq!((direction("ar-EG"), direction("zh"), direction("arn")), ("rtl", "ltr", "ltr"));
    }
}
