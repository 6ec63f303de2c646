//! Writes the buyers' pages as a folder for any web server or CDN, with compressed copies.
//!
//! A plain folder cannot set headers, so each page contains its content security policy. The folder
//! also has a file `_headers` for the CDNs that read it. The file `_headers` sets this policy as a
//! header, and says how long caches may keep each file.

use std::path::PathBuf;

use doorbuster_api::sale::Sale;
use doorbuster_config::Settings;

use super::compress::Coding;
use super::{Assets, CACHE_BRIEFLY, CACHE_FOREVER, CONTENT_POLICY, media_type_of};
use crate::fixed_settings::FixedSettings;
use crate::page_html::{self, Shop};

/// The content security policy is inserted into a page after this text.
const HEAD: &str = "<meta charset=\"utf-8\">";
/// The pages of the folder. The page of the API documentation is not among them.
const PAGES: [&str; 4] = ["index.html", "sale.html", "order.html", "404.html"];
/// The page for addresses that do not exist. CDNs require that it is named `404.html`.
const MISSING: &str = "missing.html";

/// A sale whose page the folder contains.
#[derive(Clone, Debug)]
pub struct ExportedSale {
    /// The sale's id.
    pub id: String,
    /// The sale, for the page's texts. If it is `None`, the page's script must read the sale.
    pub sale: Option<Sale>,
}

/// A file of the folder.
#[derive(Debug)]
pub struct FolderFile {
    /// The path in the folder.
    pub path: PathBuf,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Returns the folder's files. `api` is the address of the API, such as `https://shop.example`.
/// `api` is `None` if the pages and the API have the same origin.
#[must_use]
pub fn folder(settings: &Settings, api: Option<&str>, sales: &[ExportedSale]) -> Vec<FolderFile> {
    let assets = Assets::prepare(settings, &FixedSettings::new(settings), api);
    let url = settings.page_origin.as_deref().or(settings.page_url.as_deref());
    let shop = Shop { name: &settings.shop, url, time_zone: settings.page.time_zone.as_deref() };
    let mut files = Vec::new();
    let mut texts = Vec::new();
    for name in PAGES {
        let file = if name == "404.html" { MISSING } else { name };
        let page = with_policy(&assets.page_text(file), api);
        match name {
            "index.html" => {
                let listed = sales.iter().filter_map(|exported| exported.sale.clone());
                let listed: Vec<_> = listed.map(|sale| (sale, None)).collect();
                add(
                    &mut files,
                    name.into(),
                    page_html::index_page(&page, &listed, shop).as_bytes(),
                );
            }
            _ => add(&mut files, name.into(), page.as_bytes()),
        }
        if name == "sale.html" {
            for exported in sales {
                let text = match &exported.sale {
                    Some(sale) => page_html::sale_page(&page, sale, None, shop),
                    None => page.clone(),
                };
                let path = ["sale", &exported.id, "index.html"].iter().collect();
                add(&mut files, path, text.as_bytes());
            }
        }
        texts.push(page);
    }
    for name in &reachable_assets(&assets, texts.iter().map(String::as_str)) {
        let path = ["assets", name].iter().collect();
        add(&mut files, path, &assets.assets[name].plain.bytes);
    }
    files.push(FolderFile { path: "_headers".into(), bytes: headers(api).into_bytes() });
    files.push(FolderFile { path: "_redirects".into(), bytes: REDIRECTS.as_bytes().to_vec() });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn add(files: &mut Vec<FolderFile>, path: PathBuf, bytes: &[u8]) {
    for coding in Coding::ALL {
        if let Some(packed) = coding.pack(bytes) {
            let mut beside = path.clone().into_os_string();
            beside.push(coding.extension());
            files.push(FolderFile { path: beside.into(), bytes: packed });
        }
    }
    files.push(FolderFile { path, bytes: bytes.to_vec() });
}

/// A sale that is created after the export has no file of its own, so all such sales use
/// `sale.html`. All orders use `order.html`.
const REDIRECTS: &str = "/sale/* /sale.html 200\n/order/* /order.html 200\n";

/// Returns the assets that these pages name, directly or through other assets.
fn reachable_assets<'a>(assets: &Assets, pages: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut open: Vec<String> = pages.flat_map(asset_names).collect();
    let mut reached = std::collections::BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(file) = assets.assets.get(&name) else { continue };
        if reached.insert(name) {
            open.extend(asset_names(&String::from_utf8_lossy(&file.plain.bytes)));
        }
    }
    reached.into_iter().collect()
}

fn asset_names(text: &str) -> Vec<String> {
    let name = |part: &str| -> String {
        part.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).collect()
    };
    text.split("/assets/").skip(1).map(name).filter(|name| media_type_of(name).is_some()).collect()
}

fn policy(api: Option<&str>) -> String {
    match api {
        None => CONTENT_POLICY.to_owned(),
        Some(api) => {
            let socket = api.replacen("http", "ws", 1);
            CONTENT_POLICY.replacen(
                "connect-src 'self'",
                &format!("connect-src 'self' {api} {socket}"),
                1,
            )
        }
    }
}

/// Puts the content security policy into the page, without `frame-ancestors`. Browsers obey
/// `frame-ancestors` only in a header.
fn with_policy(page: &str, api: Option<&str>) -> String {
    let policy = policy(api);
    let inside: Vec<&str> = policy
        .split("; ")
        .map(str::trim)
        .filter(|rule| !rule.starts_with("frame-ancestors"))
        .collect();
    let rules = format!(
        "{HEAD}\n<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n<meta \
         name=\"referrer\" content=\"no-referrer\">",
        inside.join("; ")
    );
    page.replacen(HEAD, &rules, 1)
}

/// Returns the content of the file `_headers`: the headers of each kind of file, in the format that
/// several CDNs read.
fn headers(api: Option<&str>) -> String {
    let text = |value: &http::HeaderValue| value.to_str().expect("the header is ASCII").to_owned();
    let (for_ever, briefly) = (text(&CACHE_FOREVER), text(&CACHE_BRIEFLY));
    let policy = policy(api);
    format!(
        "/*\n  Content-Security-Policy: {policy}\n  Referrer-Policy: no-referrer\n\
         \x20 X-Content-Type-Options: nosniff\n\
         /assets/*\n  Cache-Control: {for_ever}\n/\n  Cache-Control: {briefly}\n\
         /sale/*\n  Cache-Control: {briefly}\n\
         /order/*\n  Cache-Control: {briefly}\n"
    )
}

#[cfg(test)]
mod tests {
    use doorbuster_config::{Flags, load};

    use super::*;

    fn made(api: Option<&str>) -> Vec<FolderFile> {
        let flags = Flags { data_dir: Some("/tmp".into()), ..Flags::default() };
        let settings = load(&flags, []).expect("the defaults");
        let sale = |id: &str| ExportedSale { id: id.to_owned(), sale: None };
        folder(&settings, api, &[sale("spring"), sale("a:b")])
    }

    fn text(files: &[FolderFile], path: &str) -> String {
        let file = files.iter().find(|file| file.path.to_str() == Some(path));
        let file = file.unwrap_or_else(|| {
            panic!("{path} is missing: {:?}", files.iter().map(|f| &f.path).collect::<Vec<_>>())
        });
        String::from_utf8(file.bytes.clone()).expect("UTF-8")
    }

    #[test]
    fn a_folder_contains_each_sales_page_and_every_asset_that_the_page_names() {
        let files = made(None);
        let page = text(&files, "sale/spring/index.html");
        assert_eq!(page, text(&files, "sale/a:b/index.html"));
        for name in asset_names(&page) {
            assert!(!text(&files, &format!("assets/{name}")).is_empty());
        }
        let all: Vec<&str> = files.iter().filter_map(|file| file.path.to_str()).collect();
        assert!(
            ["index.html", "404.html", "sale/spring/index.html.gz", "sale/spring/index.html.br"]
                .iter()
                .all(|name| all.contains(name)),
            "{all:?}"
        );
        assert!(
            !all.iter().any(|path| path.contains("docs") || path.contains("scalar")),
            "{all:?}"
        );
        assert!(
            page.contains("http-equiv=\"Content-Security-Policy\"")
                && !page.contains("frame-ancestors")
        );
    }

    #[test]
    fn pages_and_their_security_policy_name_a_server_on_another_origin() {
        let (here, there) = (made(None), made(Some("https://api.example")));
        let page = text(&there, "sale.html");
        assert!(
            page.contains("connect-src 'self' https://api.example wss://api.example;"),
            "{page}"
        );
        let site = |files: &[FolderFile]| {
            let path = |file: &FolderFile| {
                file.path
                    .to_str()
                    .filter(|path| path.starts_with("assets/first."))
                    .map(str::to_owned)
            };
            files
                .iter()
                .filter_map(path)
                .find(|path| path.ends_with(".js"))
                .expect("the folder has this file")
        };
        assert_ne!(site(&here), site(&there));
        assert!(text(&there, &site(&there)).contains(r#""api":"https://api.example""#));
        assert!(text(&there, "_headers").contains("immutable"));
    }
}
