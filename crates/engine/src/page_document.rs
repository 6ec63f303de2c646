//! The parts of a sale's or an item's page that have no column of their own: translations, further
//! pictures and facts. These parts are one JSON document in the column `page`.
//!
//! The columns `title` and `description` have their texts in only one language. Exports, payment
//! providers and older versions of the program use only these columns.

use std::collections::BTreeMap;

use doorbuster_api::sale::{Fact, Picture};
use doorbuster_api::value::Text;
use doorbuster_store::{ItemRow, SaleRow};
use serde::{Deserialize, Serialize};

/// The languages of the pages.
pub const PAGE_LANGUAGES: [&str; 2] = ["en", "zh"];

type Languages = BTreeMap<String, String>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SalePage {
    #[serde(skip_serializing_if = "Languages::is_empty")]
    title: Languages,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ItemPage {
    #[serde(skip_serializing_if = "Languages::is_empty")]
    title: Languages,
    #[serde(skip_serializing_if = "Languages::is_empty")]
    description: Languages,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gallery: Vec<Picture>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    facts: Vec<Fact>,
}

/// The texts on the page of an item.
#[derive(Clone, Debug, Default)]
pub struct ItemTexts {
    /// The title, in one or two languages.
    pub title: Text,
    /// The description, in one or two languages.
    pub description: Text,
    /// The pictures besides the main picture.
    pub gallery: Vec<Picture>,
    /// The rows of the table of facts.
    pub facts: Vec<Fact>,
}

/// Returns a sale's title.
pub fn sale_title(row: &SaleRow) -> Text {
    joined(&row.title, parsed::<SalePage>(&row.page).title)
}

/// Returns the columns `title` and `page` of a sale with this title.
pub fn sale_columns(title: Text) -> (String, String) {
    let (title, languages) = split(title);
    (title, written(&SalePage { title: languages }))
}

/// Returns the texts of an item.
pub fn item_texts(row: &ItemRow) -> ItemTexts {
    let ItemPage { title, description, gallery, facts } = parsed(&row.page);
    ItemTexts {
        title: joined(&row.title, title),
        description: joined(&row.description, description),
        gallery,
        facts,
    }
}

/// Returns the columns `title`, `description` and `page` of an item with these texts.
pub fn item_columns(texts: ItemTexts) -> (String, String, String) {
    let (title, titles) = split(texts.title);
    let (description, descriptions) = split(texts.description);
    let page = ItemPage {
        title: titles,
        description: descriptions,
        gallery: texts.gallery,
        facts: texts.facts,
    };
    (title, description, written(&page))
}

/// Reads the document in the column `page`. Returns an empty document if the column is empty or
/// unreadable.
fn parsed<T: Default + for<'de> Deserialize<'de>>(page: &str) -> T {
    serde_json::from_str(page).unwrap_or_default()
}

/// Returns the document as text, or an empty text if the document has no content.
fn written(page: &impl Serialize) -> String {
    let text = serde_json::to_string(page).expect("a document serialises into memory");
    if text == "{}" { String::new() } else { text }
}

/// Returns a text in all its languages. If the column has another text than the document, an older
/// version of the program has changed the column, but not the document. In this case, returns only
/// the column's text.
fn joined(column: &str, languages: Languages) -> Text {
    let text = Text::Languages(languages);
    if text.fallback_language().is_some() && text.fallback() == column {
        return text;
    }
    Text::Plain(column.to_owned())
}

fn split(text: Text) -> (String, Languages) {
    let fallback = text.fallback().to_owned();
    match text {
        Text::Plain(plain) => (plain, Languages::new()),
        Text::Languages(languages) => (fallback, languages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn a_plain_text_needs_no_document_and_languages_keep_their_fallback_in_the_column() {
        assert_eq!(sale_columns("Spring".into()), ("Spring".to_owned(), String::new()));
        let (title, page) = sale_columns(text(r#"{"en":"Spring","zh":"春"}"#));
        assert_eq!(title, "Spring");
        assert_eq!(page, r#"{"title":{"en":"Spring","zh":"春"}}"#);
        assert_eq!(joined(&title, parsed::<SalePage>(&page).title).in_languages().len(), 2);
    }

    #[test]
    fn a_column_that_another_program_changed_counts_alone() {
        let (_, page) = sale_columns(text(r#"{"en":"Spring","zh":"春"}"#));
        assert_eq!(joined("Summer", parsed::<SalePage>(&page).title), Text::from("Summer"));
        assert_eq!(joined("Summer", parsed::<SalePage>("").title), Text::from("Summer"));
    }

    #[test]
    fn an_items_document_has_its_pictures_and_facts() {
        let facts = vec![Fact { name: "Weight".into(), value: text(r#"{"en":"1 kg"}"#) }];
        let gallery = vec![Picture { image: "/b.webp".into(), alt: "Back".into() }];
        let texts = ItemTexts {
            title: "Lamp".into(),
            description: Text::default(),
            gallery: gallery.clone(),
            facts: facts.clone(),
        };
        let (title, description, page) = item_columns(texts);
        assert_eq!((title.as_str(), description.as_str()), ("Lamp", ""));
        let read: ItemPage = parsed(&page);
        assert_eq!((read.gallery, read.facts), (gallery, facts));
    }
}
