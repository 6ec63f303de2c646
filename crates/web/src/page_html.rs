//! Writes the texts of a sale into a page's HTML, for search engines, link previews and browsers
//! without JavaScript. Every visitor gets the same page, so a rendered page is used again until the
//! sale, its state or the settings change.
//!
//! The HTML files contain marks, which are comments, where these texts are inserted. Even without
//! these texts, the files are complete pages.

mod calendar;
mod item;
mod schema_org;
mod state;
mod times;

use std::fmt::Write;

use doorbuster_api::sale::{Item, Sale};
use doorbuster_api::value::{Money, Text, Time, direction};
use serde_json::{Value, json};

pub(crate) use calendar::{CalendarEntry, languages};
pub(crate) use state::ShownState;

const HEAD_MARK: &str = "<!-- shell: head -->";
/// The mark where the texts for visitors without JavaScript are inserted.
const BODY_MARK: &str = "<!-- shell: body -->";
/// The server and the page's script fill the elements between these marks. Because the server fills
/// them, a visitor sees the picture and the texts before the script runs.
const PICTURE_MARKS: (&str, &str) = ("<!-- shell: picture -->", "<!-- /shell: picture -->");
const ITEM_MARKS: (&str, &str) = ("<!-- shell: item -->", "<!-- /shell: item -->");
const DATA_MARK: &str = "<!-- shell: data -->";
const DESCRIPTION_CHARS: usize = 200;
pub(crate) const LISTED_MAX: usize = 48;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shop<'a> {
    pub name: &'a str,
    /// The origin of the pages, if it is known.
    pub url: Option<&'a str>,
    /// The shop's time zone, if the settings name it.
    pub time_zone: Option<&'a str>,
}

impl Shop<'_> {
    /// Returns the address of a path with the shop's origin, or `None` if the origin is not known.
    fn absolute(&self, path: &str) -> Option<String> {
        match path.contains("://") {
            true => Some(path.to_owned()),
            false => Some(format!("{}/{}", self.url?, path.trim_start_matches('/'))),
        }
    }
}

/// The present state of a sale, for its page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentState<'a> {
    pub shown: ShownState,
    /// The version of the sale. If a status that the page's script reads later has a different
    /// version, the script knows that the sale has changed.
    pub version: &'a str,
}

/// Renders the page of a sale. With `present`, the page shows the sale's state, and contains the
/// sale as JSON, so that the page's script need not request it. An exported page is rendered
/// without `present`: it has no state and no JSON, because the sale can change after the export.
pub(crate) fn sale_page(
    template: &str,
    sale: &Sale,
    present: Option<PresentState<'_>>,
    shop: Shop<'_>,
) -> String {
    let state = present.map(|present| present.shown);
    let data = match present {
        Some(PresentState { version, .. }) => {
            let mut data = json!(sale);
            data["version"] = json!(version);
            data_block("application/json", "sale-data", &data)
        }
        None => String::new(),
    };
    let page = match sale.items.first() {
        Some(item) => {
            let page = replaced(template, PICTURE_MARKS, &item::picture(item));
            replaced(&page, ITEM_MARKS, &item::texts(sale, item))
        }
        None => template.to_owned(),
    };
    fill(&page, &title(sale, shop), &head(sale, state, shop), &body(sale, state, shop), &data)
}

fn replaced(page: &str, (start, end): (&str, &str), text: &str) -> String {
    let between = page.split_once(start).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    match between {
        Some((before, after)) => format!("{before}{text}{after}"),
        None => page.to_owned(),
    }
}

/// Renders the page with the list of sales. Each entry shows the sale's state, if the caller knows
/// it.
pub(crate) fn index_page(
    template: &str,
    sales: &[(Sale, Option<ShownState>)],
    shop: Shop<'_>,
) -> String {
    let mut list = String::from("<h1>Sales / 抢购活动</h1><ul>");
    for (sale, state) in sales.iter().take(LISTED_MAX) {
        let (id, title) = (escaped(&sale.id), each_language(&sale.title));
        let state = state.map(|state| state.words().to_owned());
        let starts = labelled("Start / 开抢", sale.starts_at, shop);
        let parts: Vec<_> = [lowest_price(sale), state, starts].into_iter().flatten().collect();
        write!(
            list,
            "<li><a href=\"/sale/{id}\">{title}</a> <span>{}</span></li>",
            parts.join(" · ")
        )
        .expect("writing to a string cannot fail");
    }
    list.push_str("</ul>");
    let head = format!(
        "<meta property=\"og:site_name\" content=\"{0}\">\n<meta property=\"og:title\" \
         content=\"{0}\">\n<meta property=\"og:type\" content=\"website\">",
        escaped(shop.name)
    );
    fill(template, &format!("{} – Sales", shop.name), &head, &list, "")
}

/// Returns the lowest price, with the label "From" if the items have different prices.
fn lowest_price(sale: &Sale) -> Option<String> {
    let lowest = sale.items.iter().map(|item| item.price).min_by_key(|price| price.amount_minor)?;
    let is_only = sale.items.iter().all(|item| item.price == lowest);
    let label = if is_only { "" } else { "From / 起价 " };
    Some(format!("{label}{}", escaped(&lowest.to_string())))
}

fn labelled(label: &str, time: Option<Time>, shop: Shop<'_>) -> Option<String> {
    Some(format!("{label} {}", times::tag(time?, shop.time_zone)))
}

/// `title` replaces the page's own title.
fn fill(template: &str, title: &str, head: &str, body: &str, data: &str) -> String {
    let (before, after) = template.split_once("<title>").unwrap_or((template, ""));
    let after = after.split_once("</title>").map_or(after, |(_, after)| after);
    let page = format!("{before}<title>{}</title>{after}", escaped(title));
    page.replacen(HEAD_MARK, head, 1).replacen(BODY_MARK, body, 1).replacen(DATA_MARK, data, 1)
}

fn title(sale: &Sale, shop: Shop<'_>) -> String {
    match sale.items.as_slice() {
        [only] if only.title.fallback() != sale.title.fallback() => {
            format!("{} – {} – {}", only.title, sale.title, shop.name)
        }
        _ => format!("{} – {}", sale.title, shop.name),
    }
}

fn head(sale: &Sale, state: Option<ShownState>, shop: Shop<'_>) -> String {
    let mut out = String::new();
    let mut tag = |property: &str, content: &str| {
        let kind = if property.contains(':') { "property" } else { "name" };
        writeln!(out, "<meta {kind}=\"{property}\" content=\"{}\">", escaped(content))
            .expect("writing to a string cannot fail");
    };
    let first = sale.items.first();
    let text = description(sale, first, shop);
    tag("description", &text);
    tag("og:type", "product");
    tag("og:site_name", shop.name);
    tag("og:title", first.map_or(&sale.title, |item| &item.title).fallback());
    tag("og:description", &text);
    if let Some(url) = shop.absolute(&format!("/sale/{}", sale.id)) {
        tag("og:url", &url);
    }
    let image = first.and_then(|item| shop.absolute(item.image.as_deref()?));
    if let Some(image) = &image {
        tag("og:image", image);
        tag("twitter:card", "summary_large_image");
    }
    if let Some(item) = first {
        tag("product:price:amount", &decimal(item.price));
        tag("product:price:currency", item.price.currency.as_str());
    }
    let products: Vec<Value> =
        sale.items.iter().map(|item| schema_org::product(sale, item, state, shop)).collect();
    let graph = json!({"@context": "https://schema.org", "@graph": products});
    out + &data_block("application/ld+json", "schema", &graph)
}

fn images(item: &Item) -> impl Iterator<Item = (&str, &Text)> {
    let first = item.image.as_deref().map(|image| (image, &item.title));
    first.into_iter().chain(item.gallery.iter().map(|more| (more.image.as_str(), &more.alt)))
}

fn description(sale: &Sale, first: Option<&Item>, shop: Shop<'_>) -> String {
    let mut text = first.map(|item| item.price.to_string()).unwrap_or_default();
    if let Some(starts_at) = sale.starts_at {
        let starts_at = times::words(starts_at, shop.time_zone);
        write!(text, ", on sale from {starts_at}").expect("writing to a string");
    }
    let rest = first.map_or("", |item| item.description.fallback());
    let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
    if !rest.is_empty() {
        write!(text, ". {rest}").expect("writing to a string");
    }
    text.chars().take(DESCRIPTION_CHARS).collect()
}

fn body(sale: &Sale, state: Option<ShownState>, shop: Shop<'_>) -> String {
    let parts = [
        state.map(|state| state.words().to_owned()),
        labelled("Start / 开抢", sale.starts_at, shop),
        labelled("End / 结束", sale.ends_at, shop),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let mut out = format!("<h1>{}</h1><p>{}</p>", each_language(&sale.title), parts.join(" · "));
    for (index, item) in sale.items.iter().enumerate() {
        if item.title != sale.title {
            write!(out, "<h2>{}</h2>", each_language(&item.title)).expect("writing to a string");
        }
        write!(out, "<p><b>{}</b></p>", escaped(&item.price.to_string()))
            .expect("writing to a string");
        // The page already shows the first picture of the first item.
        let shown = usize::from(index == 0 && item.image.is_some());
        for (image, alt) in images(item).skip(shown) {
            write!(
                out,
                "<img src=\"{}\" alt=\"{}\" loading=\"lazy\">",
                escaped(image),
                escaped(alt.fallback())
            )
            .expect("writing to a string");
        }
        if !item.description.is_empty() {
            for (language, text) in item.description.in_languages() {
                let text = escaped(text);
                write!(out, "<p{}>{text}</p>", language_tags(language))
                    .expect("writing to a string");
            }
        }
        out.push_str(&facts(item));
    }
    out
}

fn facts(item: &Item) -> String {
    if item.facts.is_empty() {
        return String::new();
    }
    let rows = item.facts.iter().map(|fact| {
        let (name, value) = (each_language(&fact.name), each_language(&fact.value));
        format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>")
    });
    format!("<table>{}</table>", rows.collect::<String>())
}

/// Returns the text in every language that it has, for readers whose language is not known.
fn each_language(text: &Text) -> String {
    let each = text.in_languages().into_iter().map(|(language, text)| match language {
        None => escaped(text),
        Some(_) => format!("<span{}>{}</span>", language_tags(language), escaped(text)),
    });
    each.collect::<Vec<_>>().join(" / ")
}

fn language_tags(language: Option<&str>) -> String {
    match language {
        None => String::new(),
        Some(tag) => format!(" lang=\"{}\" dir=\"{}\"", escaped(tag), direction(tag)),
    }
}

/// `49.00`, without the currency.
fn decimal(money: Money) -> String {
    let text = money.to_string();
    text.split_once(' ').map_or(text.clone(), |(amount, _)| amount.to_owned())
}

/// Returns an element that contains data. The content security policy forbids inline scripts, but
/// allows this element, because browsers do not run it as a script.
fn data_block(media_type: &str, id: &str, data: &Value) -> String {
    let text = data.to_string().replace('<', "\\u003c");
    format!("<script type=\"{media_type}\" id=\"{id}\">{text}</script>")
}

/// Escapes a text for HTML. The result is also valid in a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
