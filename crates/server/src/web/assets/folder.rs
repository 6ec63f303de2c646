//! The buyers' pages as a folder that any web server or CDN can serve: hashed assets, pages, a
//! compressed copy of each file, and how long each kind of file may be cached.
//!
//! A page contains its own content security policy, because a folder has no headers. For servers
//! that support it, `_headers` has the headers.

use std::path::PathBuf;

use super::{AssetFile, Assets, CACHE_BRIEFLY, CACHE_FOREVER, CONTENT_POLICY, text_media_type};
use crate::config::Settings;

/// The place of a page's own policy.
const HEAD: &str = "<meta charset=\"utf-8\">";
/// The pages for buyers. The viewer of the documentation is left out.
const PAGES: [&str; 3] = ["index.html", "sale.html", "order.html"];

/// A file of the folder.
#[derive(Debug)]
pub struct FolderFile {
    /// The path in the folder.
    pub path: PathBuf,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The folder's files for these sales. `api` is the server's address, `https://shop.example`;
/// `None`: the address of the folder itself.
#[must_use]
pub fn folder(settings: &Settings, api: Option<&str>, sales: &[String]) -> Vec<FolderFile> {
    let assets = Assets::prepare(settings, api);
    let mut files = Vec::new();
    let mut add = |path: PathBuf, file: &AssetFile, bytes: Option<&[u8]>| {
        let packed = match bytes {
            Some(bytes) => super::gzipped(bytes),
            None => file.gzip().map(|packed| packed.bytes.to_vec()),
        };
        if let Some(packed) = packed {
            let mut beside = path.clone().into_os_string();
            beside.push(".gz");
            files.push(FolderFile { path: beside.into(), bytes: packed });
        }
        files.push(FolderFile { path, bytes: bytes.unwrap_or(&file.plain.bytes).to_vec() });
    };
    let pages: Vec<(&str, &AssetFile, String)> = PAGES
        .iter()
        .filter_map(|&name| {
            let file = assets.pages.get(name)?;
            Some((name, &**file, with_policy(&String::from_utf8_lossy(&file.plain.bytes), api)))
        })
        .collect();
    for (name, file, text) in &pages {
        add(PathBuf::from(name), file, Some(text.as_bytes()));
        if *name == "sale.html" {
            for sale in sales {
                add(["sale", sale, "index.html"].iter().collect(), file, Some(text.as_bytes()));
            }
        }
    }
    let named = reachable_assets(&assets, pages.iter().map(|(_, _, text)| text.as_str()));
    for name in &named {
        add(["assets", name].iter().collect(), &assets.assets[name], None);
    }
    files.push(FolderFile { path: "_headers".into(), bytes: headers(api).into_bytes() });
    files.push(FolderFile { path: "_redirects".into(), bytes: REDIRECTS.as_bytes().to_vec() });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// For sales that are created later, and for orders: their pages are one file.
const REDIRECTS: &str = "/sale/* /sale.html 200\n/order/* /order.html 200\n";

/// The assets that these pages name, directly or through other assets.
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
    text.split("/assets/")
        .skip(1)
        .map(name)
        .filter(|name| text_media_type(name).is_some())
        .collect()
}

/// The content security policy of the pages, with the server's address.
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

/// A page with its policy. Only a header can restrict who may frame it.
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

/// Headers for each kind of file, in the format of several CDNs.
fn headers(api: Option<&str>) -> String {
    let text = |value: &http::HeaderValue| value.to_str().expect("it is ASCII").to_owned();
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
    use super::*;
    use crate::config::{Flags, load};

    fn made(api: Option<&str>) -> Vec<FolderFile> {
        let flags = Flags { data_dir: Some("/tmp".into()), ..Flags::default() };
        let settings = load(&flags, []).expect("the defaults");
        folder(&settings, api, &["spring".to_owned(), "a:b".to_owned()])
    }

    fn text(files: &[FolderFile], path: &str) -> String {
        let file = files.iter().find(|file| file.path.to_str() == Some(path));
        let file = file.unwrap_or_else(|| {
            panic!("{path} is there: {:?}", files.iter().map(|f| &f.path).collect::<Vec<_>>())
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
            all.contains(&"index.html") && all.contains(&"sale/spring/index.html.gz"),
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
                    .filter(|path| path.starts_with("assets/site."))
                    .map(str::to_owned)
            };
            files.iter().filter_map(path).find(|path| path.ends_with(".js")).expect("it is there")
        };
        assert_ne!(site(&here), site(&there));
        assert!(text(&there, &site(&there)).contains(r#""api":"https://api.example""#));
        assert!(text(&there, "_headers").contains("immutable"));
    }
}
