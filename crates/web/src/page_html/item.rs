//! Fills the elements of a sale's page that show the picture and the texts, so that a visitor sees
//! them before the page's script runs. The script fills the same elements later.

use doorbuster_api::sale::{Item, Sale};
use doorbuster_api::value::Text;
use doorbuster_engine::page_document::PAGE_LANGUAGES;

use super::escaped;

/// A title that is wider than this many letters is shown in a smaller font. The page's script uses
/// the same number.
const LONG_TITLE: usize = 28;

pub(super) fn picture(item: &Item) -> String {
    let image = match item.image.as_deref() {
        Some(image) => format!(
            "src=\"{}\" alt=\"{}\" fetchpriority=\"high\" data-early",
            escaped(image),
            escaped(item.title.fallback())
        ),
        None => "alt=\"\" hidden".to_owned(),
    };
    format!("<img class=\"stage__image\" id=\"image\" {image}>")
}

pub(super) fn texts(sale: &Sale, item: &Item) -> String {
    let titles = PAGE_LANGUAGES.map(|language| item.title.for_language(language));
    let edition = PAGE_LANGUAGES.map(|language| sale.title.for_language(language));
    let edition = if edition == titles { String::new() } else { in_page_languages(&sale.title) };
    let is_long = titles.iter().any(|title| width(title) > LONG_TITLE);
    let long = if is_long { " data-long" } else { "" };
    let hidden = if item.description.is_empty() { " hidden" } else { "" };
    let (name, lead) = (in_page_languages(&item.title), in_page_languages(&item.description));
    format!(
        "<p class=\"eyebrow\" id=\"edition\" data-early>{edition}</p>\n    \
         <h1 id=\"name\"{long} data-early>{name}</h1>\n    \
         <p class=\"offer__lead\" id=\"lead\"{hidden} data-early>{lead}</p>"
    )
}

/// Returns the width of a text in letters. A Chinese character is as wide as two letters.
fn width(text: &str) -> usize {
    text.chars().map(|char| if ('\u{2e80}'..='\u{ffef}').contains(&char) { 2 } else { 1 }).sum()
}

/// Returns the text in each language of the pages. The style sheet shows only the page's current
/// language.
fn in_page_languages(text: &Text) -> String {
    let texts = PAGE_LANGUAGES.map(|language| (language, text.for_language(language)));
    match texts {
        [(_, one), (_, other)] if one == other => escaped(one),
        texts => {
            let span = |(language, text)| {
                format!("<span data-in=\"{language}\" dir=\"auto\">{}</span>", escaped(text))
            };
            texts.map(span).concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::page_html::tests::{TEMPLATE, sale};
    use crate::page_html::{Shop, sale_page};

    #[test]
    fn the_elements_of_the_script_have_the_texts_of_both_languages_of_the_pages() {
        let text = |json: Value| serde_json::from_value::<Text>(json).expect("a text");
        let mut sale = sale();
        let item = &mut sale.items[0];
        (item.image, item.description) = (None, "".into());
        item.title = text(
            json!({"en": "An oak lamp & linen", "zh-CN": "橡木亚麻台灯，手工制作，全球限量三十盏"}),
        );
        sale.title = item.title.clone();
        let shop = Shop { name: "Ora", url: None, time_zone: None };
        let page = sale_page(TEMPLATE, &sale, None, shop);
        for part in [
            "<p class=\"eyebrow\" id=\"edition\" data-early></p>",
            "<h1 id=\"name\" data-long data-early><span data-in=\"en\" dir=\"auto\">An oak lamp \
             &amp; linen</span><span data-in=\"zh\" dir=\"auto\">橡木",
            "id=\"lead\" hidden data-early></p>",
            "id=\"image\" alt=\"\" hidden>",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        sale.items.clear();
        let empty = sale_page(TEMPLATE, &sale, None, shop);
        assert!(
            empty.contains("(template)"),
            "without items, the template's text must stay: {empty}"
        );
    }
}
