//! Readers of a product's texts, pictures and facts. A text may be in several languages.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::json::{self, JsonKind};
use super::object::{Faults, Object, escape_pointer};
use super::read;
use crate::limits::{GALLERY_MAX, ITEM_FACTS_MAX, LANGUAGES_MAX};
use crate::sale::{Fact, Picture};
use crate::value::{Text, is_language};

type Raw<'a> = &'a RawValue;
type Reader<'a> = fn(Raw<'a>, &str, &mut Faults) -> Option<String>;

/// A change of a text: a new text, or changes of single languages. `null` removes a language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPatch {
    /// One text for every reader.
    Plain(String),
    /// The languages to set and to remove; other languages stay.
    Languages(BTreeMap<String, Option<String>>),
}

impl TextPatch {
    /// Returns the text `before` with this change.
    ///
    /// # Errors
    /// Fails if the text would have no language or too many languages after the change.
    pub fn apply(self, before: Text) -> Result<Text, &'static str> {
        let changes = match self {
            Self::Plain(text) => return Ok(Text::Plain(text)),
            Self::Languages(changes) => changes,
        };
        let mut texts = match before {
            Text::Plain(_) => BTreeMap::new(),
            Text::Languages(texts) => texts,
        };
        for (language, text) in changes {
            match text {
                Some(text) => texts.insert(language, text),
                None => texts.remove(&language),
            };
        }
        match texts.len() {
            0 => Err("must keep at least one language"),
            1..=LANGUAGES_MAX => Ok(Text::Languages(texts)),
            _ => Err("must not have more than 20 languages"),
        }
    }
}

pub(crate) fn title(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Text> {
    text(raw, pointer, faults, read::title)
}

pub(crate) fn description(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Text> {
    text(raw, pointer, faults, read::description)
}

pub(crate) fn title_patch(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<TextPatch> {
    patch(raw, pointer, faults, read::title)
}

/// `null` makes the description empty.
pub(crate) fn description_patch(
    raw: Raw<'_>,
    pointer: &str,
    faults: &mut Faults,
) -> Option<TextPatch> {
    match JsonKind::from_raw(raw) {
        JsonKind::Null => Some(TextPatch::Plain(String::new())),
        _ => patch(raw, pointer, faults, read::description),
    }
}

pub(crate) fn gallery(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Vec<Picture>> {
    read::list(raw, pointer, faults, 0..=GALLERY_MAX, |raw, pointer, faults| {
        let mut picture = Object::open(raw, pointer.to_owned(), &["image", "alt"], faults)?;
        let image = picture.required("image", read::image);
        let alt = picture.optional("alt", Text::default(), description);
        Some(Picture { image: image?, alt: alt? })
    })
}

pub(crate) fn facts(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Vec<Fact>> {
    read::list(raw, pointer, faults, 0..=ITEM_FACTS_MAX, |raw, pointer, faults| {
        let mut fact = Object::open(raw, pointer.to_owned(), &["name", "value"], faults)?;
        let name = fact.required("name", title);
        let value = fact.required("value", title);
        Some(Fact { name: name?, value: value? })
    })
}

fn text<'a>(raw: Raw<'a>, pointer: &str, faults: &mut Faults, reader: Reader<'a>) -> Option<Text> {
    if !JsonKind::from_raw(raw).is_object() {
        return reader(raw, pointer, faults).map(Text::Plain);
    }
    languages(raw, pointer, faults, reader).map(Text::Languages)
}

fn patch<'a>(
    raw: Raw<'a>,
    pointer: &str,
    faults: &mut Faults,
    reader: Reader<'a>,
) -> Option<TextPatch> {
    if !JsonKind::from_raw(raw).is_object() {
        return reader(raw, pointer, faults).map(TextPatch::Plain);
    }
    let nullable =
        |raw, pointer: &str, faults: &mut Faults| read::nullable(reader)(raw, pointer, faults);
    languages(raw, pointer, faults, nullable).map(TextPatch::Languages)
}

/// Reads an object with 1 to [`LANGUAGES_MAX`] members, one for each language.
fn languages<'a, T>(
    raw: Raw<'a>,
    pointer: &str,
    faults: &mut Faults,
    reader: impl Fn(Raw<'a>, &str, &mut Faults) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let Some(members) = json::members(raw) else {
        return faults.refuse(pointer, "has a member whose name is not Unicode");
    };
    if !(1..=LANGUAGES_MAX).contains(&members.len()) {
        return faults.refuse(pointer, format!("must have 1 to {LANGUAGES_MAX} languages"));
    }
    let all = members.len();
    let mut texts = BTreeMap::new();
    for (language, value) in members {
        let at = format!("{pointer}/{}", escape_pointer(&language));
        if !is_language(&language) {
            faults.add(&at, "is not a language tag, such as en, zh or pt-BR");
        } else if texts.contains_key(&*language) {
            faults.add(&at, "is given twice");
        } else if let Some(text) = reader(value, &at, faults) {
            texts.insert(language.into_owned(), text);
        }
    }
    (texts.len() == all).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_of_a_text_changes_single_languages() {
        let text = |json: &str| serde_json::from_str::<Text>(json).expect(json);
        let patch = |json: &str| TextPatch::Languages(serde_json::from_str(json).expect(json));
        let before = text(r#"{"en":"Lamp","zh":"灯"}"#);
        assert_eq!(
            patch(r#"{"en":"Light","fr":"Lampe","zh":null}"#).apply(before.clone()),
            Ok(text(r#"{"en":"Light","fr":"Lampe"}"#))
        );
        assert!(patch(r#"{"en":null,"zh":null}"#).apply(before.clone()).is_err());
        assert_eq!(TextPatch::Plain("Lamp".into()).apply(before), Ok(text("\"Lamp\"")));
        assert_eq!(
            patch(r#"{"zh":"灯"}"#).apply("Lamp".into()),
            Ok(text(r#"{"zh":"灯"}"#)),
            "a plain text has no language, so the patch replaces the whole text"
        );
        let many: BTreeMap<_, _> = ('a'..='z')
            .map(|letter| (format!("a{letter}"), Some("x".to_owned())))
            .take(LANGUAGES_MAX + 1)
            .collect();
        assert!(TextPatch::Languages(many).apply(Text::default()).is_err());
    }
}
