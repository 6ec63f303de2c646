//! Serves the files of the pages from memory. The program contains these files, and prepares them
//! when it starts.
//!
//! An asset is a script, a style sheet, an image or a font. Its address contains a hash of the
//! asset and of all files that it names, directly or indirectly. So the content at this address
//! never changes, and caches may keep it forever. The address of a page has no hash, so caches may
//! keep a page only briefly.

mod bundle;
mod compress;
mod docs_page;
mod file;
mod folder;
mod names;
#[cfg(test)]
mod texts_tests;
mod theme;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doorbuster_api::problem::Problem;
use doorbuster_config::{NextSteps, Settings};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use rust_embed::RustEmbed;

use super::fixed_settings::FixedSettings;
use super::rendered::Rendered;
use super::reply::{HandlerResult, no_store};
use file::CONTENT_POLICY;
use names::{hashed, rewrite};

pub(crate) use file::AssetFile;
pub use folder::{ExportedSale, FolderFile, folder};

#[derive(RustEmbed)]
#[folder = "assets"]
struct PageFiles;

#[derive(RustEmbed)]
#[folder = "assets-docs/page"]
struct DocsFiles;

#[derive(RustEmbed)]
#[folder = "assets-console/page"]
struct ConsoleFiles;

#[derive(RustEmbed)]
#[folder = "assets-console/vendor"]
struct ConsoleLibraries;

/// For assets. An asset's address contains a hash, so its content never changes.
const CACHE_FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For pages. A new version of the program may change a page.
const CACHE_BRIEFLY: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The settings can change the pages while the server runs. The server keeps the assets of this
/// many earlier versions of the pages.
const PREVIOUS_MAX: usize = 3;

/// Files by name. The name of an asset has a hash, and the name of a page has none.
#[derive(Debug)]
pub(crate) struct Assets {
    assets: HashMap<String, Arc<AssetFile>>,
    /// The assets of earlier versions of the pages, newest first.
    previous: VecDeque<HashMap<String, Arc<AssetFile>>>,
    pages: HashMap<String, Arc<AssetFile>>,
}

#[derive(Debug)]
struct AssetSource {
    data: Cow<'static, [u8]>,
    /// The hash of `data`. The hash of an embedded file is computed when the program is built.
    hash: [u8; 32],
    /// Whether the data may name other files. Each of these names must be replaced by an address
    /// with a hash.
    names_others: bool,
}

impl AssetSource {
    fn generated(text: String) -> Self {
        let hash = blake3::hash(text.as_bytes()).into();
        Self { data: text.into_bytes().into(), hash, names_others: true }
    }

    fn data(data: Vec<u8>) -> Self {
        let hash = blake3::hash(&data).into();
        Self { data: data.into(), hash, names_others: false }
    }

    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.data)
    }
}

/// Renders one HTML file that shows the shop's brand in both colour schemes.
#[must_use]
pub fn brand_preview(settings: &Settings) -> String {
    let sources = embedded();
    theme::preview(settings, &bundle::joined_styles("look.css", &sources))
}

impl Assets {
    /// Prepares all files of the pages. `api` is the API's address, or `None` if the pages and the
    /// API have the same origin.
    pub(crate) fn prepare(settings: &Settings, fixed: &FixedSettings, api: Option<&str>) -> Self {
        let mut sources = embedded();
        if let Some(first) = sources.get_mut("first.js") {
            *first = AssetSource::generated(site_script(settings, fixed, api) + &first.text());
        }
        let bundles = bundle::ENTRIES.map(|entry| (entry, bundle::bundle(entry, &sources)));
        for (entry, text) in bundles {
            sources.insert(entry.to_owned(), AssetSource::generated(text));
        }
        if let Some(docs) = sources.get_mut("docs.html") {
            *docs = AssetSource::generated(docs_page::complete(&docs.text(), settings.demo));
        }
        if fixed.has_issuer
            && let Some(console) = sources.get_mut("console.html")
        {
            // With this attribute, the console offers to sign in at the OpenID Connect issuer.
            let text = console.text().replace("<div id=\"app\"", "<div id=\"app\" data-issuer");
            *console = AssetSource::generated(text);
        }
        let styles = bundle::joined_styles("look.css", &sources);
        sources.insert("look.css".to_owned(), AssetSource::generated(styles));
        theme::apply(settings, &mut sources);
        embed_icon(&mut sources);
        let addresses = hashed(&sources);
        let (mut assets, mut pages) = (HashMap::new(), HashMap::new());
        for (name, source) in sources {
            let is_page = name.ends_with(".html");
            let plain = match source.names_others {
                true => Rendered::from_bytes(rewrite(&source.text(), &addresses).into()),
                false => Rendered::with_hash(bytes(source.data), &source.hash),
            };
            let media_type = media_type_of(&name).unwrap_or("application/octet-stream");
            let cache = if is_page { CACHE_BRIEFLY } else { CACHE_FOREVER };
            let file = Arc::new(AssetFile::new(plain, media_type, cache));
            match addresses.get(&name) {
                Some(address) if !is_page => assets.insert(address.clone(), file),
                _ => pages.insert(name, file),
            };
        }
        Self { assets, previous: VecDeque::new(), pages }
    }

    /// Returns the asset with this hashed name.
    pub fn file(&self, name: &str) -> Option<Arc<AssetFile>> {
        let earlier = || self.previous.iter().find_map(|assets| assets.get(name));
        self.assets.get(name).or_else(earlier).cloned()
    }

    /// Keeps the assets of the previous pages after a reload of the settings, because browsers may
    /// still show these pages. If the reload changed no asset, no further version is kept.
    pub(crate) fn keep_files_of(&mut self, before: &Self) {
        self.previous.clone_from(&before.previous);
        let is_unchanged = self.assets.len() == before.assets.len()
            && self.assets.keys().all(|name| before.assets.contains_key(name));
        if !is_unchanged {
            self.previous.push_front(before.assets.clone());
            self.previous.truncate(PREVIOUS_MAX);
        }
    }

    pub(crate) fn page(&self, name: &str, headers: &HeaderMap) -> HandlerResult {
        let file = self
            .pages
            .get(name)
            .ok_or_else(|| Problem::not_found("this program has no such page"))?;
        Ok(file.reply(headers))
    }

    /// Returns an empty text if there is no such page.
    pub(crate) fn page_text(&self, name: &str) -> Cow<'_, str> {
        self.pages.get(name).map_or_else(Default::default, |file| file.text())
    }

    /// Answers `/favicon.ico`, where browsers request the icon of a page.
    pub(crate) fn icon(&self, headers: &HeaderMap) -> HandlerResult {
        let icon = self.assets.iter().find(|(name, _)| name.starts_with("mark."));
        let (_, file) = icon.ok_or_else(|| Problem::not_found("this program has no icon"))?;
        let mut reply = file.reply(headers);
        reply.headers_mut().insert(CACHE_CONTROL, CACHE_BRIEFLY);
        Ok(reply)
    }

    /// Answers a request for a page that does not exist: returns the page `name` with status 404.
    pub(crate) fn missing_page(&self, name: &str, headers: &HeaderMap) -> HandlerResult {
        let mut reply = self.page(name, headers)?;
        // Status 304 does not become 404, because status 304 tells the browser to show its cached
        // copy of this page.
        if reply.status() == StatusCode::OK {
            *reply.status_mut() = StatusCode::NOT_FOUND;
        }
        // The requested sale or order may exist a moment later, so no cache may keep this response.
        Ok(no_store(reply))
    }
}

fn embedded() -> HashMap<String, AssetSource> {
    let mut files = HashMap::new();
    collect_files::<PageFiles>(&mut files, true);
    collect_files::<DocsFiles>(&mut files, true);
    collect_files::<ConsoleFiles>(&mut files, true);
    collect_files::<ConsoleLibraries>(&mut files, false);
    files
}

/// Adds the files of a directory. Leaves out its licences and notes, because the server does not
/// serve them.
fn collect_files<F: RustEmbed>(files: &mut HashMap<String, AssetSource>, names_others: bool) {
    for name in F::iter().filter(|name| media_type_of(name).is_some()) {
        if let Some(file) = F::get(&name) {
            let source =
                AssetSource { data: file.data, hash: file.metadata.sha256_hash(), names_others };
            files.insert(name.into_owned(), source);
        }
    }
}

/// Embedded data is not copied.
fn bytes(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => data.into(),
    }
}

/// The icon's address, as the source of the buyers' pages writes it.
const ICON: &str = "/assets/mark.svg";

/// Puts the icon into the source of each page, so that a browser needs no request for the icon.
fn embed_icon(sources: &mut HashMap<String, AssetSource>) {
    let Some(icon) = sources.get("mark.svg") else { return };
    let url = format!("data:image/svg+xml;base64,{}", STANDARD.encode(&icon.data));
    for page in theme::PAGES {
        if let Some(page) = sources.get_mut(page) {
            *page = AssetSource::generated(page.text().replace(ICON, &url));
        }
    }
}

/// Returns a JavaScript statement with the shop's settings. The statement is put before the code of
/// first.js.
fn site_script(settings: &Settings, fixed: &FixedSettings, api: Option<&str>) -> String {
    let page_settings = serde_json::json!({
        "shop": settings.shop,
        "sign_in_url": settings.auth.sign_in_url.as_ref().or(fixed.nodes_sign_in_url.as_ref()),
        "shop_url": settings.page.shop_url,
        "next_steps": next_steps(&settings.page.next_steps),
        "next_steps_at": settings.page.next_steps_at,
        "time_zone": settings.page.time_zone,
        "guest": settings.demo,
        "sandbox": fixed.is_sandbox,
        "api": api,
        "push_key": fixed.push_key,
    });
    format!("window.doorbuster = {page_settings};\n")
}

/// Returns the text that a page shows after a payment: one string, or an object with a text for
/// each language.
fn next_steps(texts: &NextSteps) -> serde_json::Value {
    match &texts.zh {
        None => serde_json::json!(texts.text),
        Some(zh) => serde_json::json!({"en": texts.text.as_ref().unwrap_or(zh), "zh": zh}),
    }
}

/// Returns the media type for a file's extension, or `None` if the server does not serve such
/// files.
fn media_type_of(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "html" => Some("text/html; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml; charset=utf-8"),
        "png" => Some("image/png"),
        "webp" => Some("image/webp"),
        "woff2" => Some("font/woff2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_config::{Flags, load};

    use super::*;

    fn assets(demo: bool) -> Assets {
        let flags = Flags { demo, data_dir: Some("/tmp".into()), ..Flags::default() };
        let environment = [("DOORBUSTER_PAGE__SHOP".into(), "A \"shop\" </script>".into())];
        let settings = load(&flags, environment).expect("the defaults");
        Assets::prepare(&settings, &FixedSettings::new(&settings), None)
    }

    #[test]
    fn pages_and_assets_name_only_assets_that_exist() {
        let assets = assets(false);
        let mut named = 0;
        for file in assets.assets.values().chain(assets.pages.values()) {
            let text = String::from_utf8_lossy(&file.plain.bytes);
            for part in text.split("/assets/").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c))
                    .collect();
                if name.contains('.') {
                    named += 1;
                    assert!(assets.assets.contains_key(&name), "{name} is not served");
                }
            }
        }
        assert!(
            named > 20
                && ["index.html", "sale.html", "order.html", "docs.html"]
                    .iter()
                    .all(|page| assets.pages.contains_key(*page))
        );
        assert!(
            assets.assets.keys().all(|name| name.matches('.').count() >= 2),
            "{:?}",
            assets.assets.keys()
        );
    }

    #[test]
    fn different_settings_give_the_script_a_different_address() {
        let address =
            |assets: &Assets| assets.assets.keys().find(|name| name.starts_with("first.")).cloned();
        let (plain, demo) = (assets(false), assets(true));
        assert_ne!(address(&plain), address(&demo));
        let site = &demo.assets[&address(&demo).expect("the server must serve the asset")];
        let text = std::str::from_utf8(&site.plain.bytes).expect("UTF-8");
        assert!(
            text.contains(r#""guest":true"#) && text.contains(r#""shop":"A \"shop\" </script>""#),
            "{text}"
        );
    }

    #[test]
    fn assets_of_earlier_pages_are_served_after_several_reloads() {
        let shop = |name: &str, before: Option<&Assets>| {
            let environment = [("DOORBUSTER_PAGE__SHOP".into(), name.into())];
            let flags = Flags { data_dir: Some("/tmp".into()), ..Flags::default() };
            let settings = load(&flags, environment).expect("the defaults");
            let mut assets = Assets::prepare(&settings, &FixedSettings::new(&settings), None);
            before.into_iter().for_each(|before| assets.keep_files_of(before));
            assets
        };
        let script = |assets: &Assets| {
            let name = assets.assets.keys().find(|name| name.starts_with("first."));
            name.expect("the script is an asset").clone()
        };
        let first = shop("first", None);
        let mut assets = shop("second", Some(&first));
        for _ in 0..=PREVIOUS_MAX {
            assets = shop("second", Some(&assets));
        }
        assert!(assets.file(&script(&first)).is_some(), "these reloads changed no page");
        for n in 1..PREVIOUS_MAX {
            assets = shop(&n.to_string(), Some(&assets));
        }
        assert!(assets.file(&script(&first)).is_some());
        assets = shop("last", Some(&assets));
        assert!(assets.file(&script(&first)).is_none(), "the number of kept files is bounded");
    }
}
