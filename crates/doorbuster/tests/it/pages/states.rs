//! The sale's page in every state that its model can have: no two parts contradict each other, no
//! words are cut or missing, and no part moves. A small server serves the page's own modules, and a
//! script draws the states.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::axe::speak;
use super::driver::Browser;
use super::plain;

/// Draws the states and reads the page.
const SCRIPT: &str = include_str!("states.js");
/// The style sheets that the page's style sheet imports.
const IMPORTED: [&str; 2] = ["look-product.css", "look-lists.css"];
/// The widths of a small phone and of a desktop.
const WIDTHS: [u32; 2] = [360, 1280];
/// The script must draw at least this number of states. If it draws fewer, the script is broken.
const STATES_MIN: usize = 1_000;

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/assets")
}

/// The file at this path, and its type.
fn file(path: &str) -> Option<(Vec<u8>, &'static str)> {
    let name = match path {
        "/states" => "sale.html",
        "/states.js" => return Some((SCRIPT.into(), "text/javascript")),
        _ => path.strip_prefix("/assets/").filter(|name| !name.contains('/'))?,
    };
    let read = |name: &str| std::fs::read_to_string(assets().join(name)).ok();
    let text = read(name)?;
    match name.rsplit('.').next()? {
        "html" => Some((text.replace("/assets/sale.js", "/states.js").into(), "text/html")),
        "js" => Some((text.into(), "text/javascript")),
        "css" => {
            // The server joins the sheets in this order: the imported sheets come last.
            let imported = IMPORTED.iter().map(|name| read(name)).collect::<Option<String>>()?;
            let own = text.lines().filter(|line| !line.starts_with("@import"));
            Some((
                own.map(|line| format!("{line}\n")).chain([imported]).collect::<String>().into(),
                "text/css",
            ))
        }
        _ => Some((text.into(), "image/svg+xml")),
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, (body, media_type)) = match file(path) {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", (Vec::new(), "text/plain")),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await
}

/// The positions of the page's parts in a state.
fn places(state: &Value) -> Vec<i64> {
    let places = state["places"].as_array().expect("a list");
    places.iter().map(|place| place.as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn in_every_state_the_parts_of_a_sales_page_agree_and_stay_in_their_places() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(address, "/states?lang=en")).await;
        for width in WIDTHS {
            tab.width(width).await;
            for language in ["en", "zh"] {
                speak(&tab, language).await;
                let walked = tab.eval("states.walk()").await;
                let states = walked.as_array().expect("a list");
                assert!(states.len() >= STATES_MIN, "{} states", states.len());
                let wrong: Vec<_> =
                    states.iter().filter(|state| state["faults"] != Value::Array(vec![])).collect();
                assert!(wrong.is_empty(), "{width} px, {language}: {wrong:#?}");
                let first = places(&states[0]);
                for state in states {
                    // A part that is not shown has no position.
                    let moved = places(state)
                        .into_iter()
                        .zip(&first)
                        .any(|(is, was)| is != *was && is >= 0 && *was >= 0);
                    assert!(!moved, "{width} px, {language}: {state} moved from {first:?}");
                }
            }
        }
    })
    .await;
    server.abort();
}
