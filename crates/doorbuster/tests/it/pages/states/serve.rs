//! A small server for the tests of the pages' states. It serves the files of the pages, and its API
//! returns the sales of `cases.json`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The sales that the test checks, each in another state. The server's unit tests use the same
/// file.
pub(super) const CASES: &str = include_str!("../../../../../web/src/page_html/state/cases.json");
/// The style sheets that the pages' style sheet imports.
const IMPORTED: [&str; 2] = ["look-product.css", "look-lists.css"];
/// The pages that are drawn in all their states. For each page: its address, its HTML file, the
/// page's own script, and the test's script that replaces the own script.
const PAGES: [[&str; 4]; 2] = [
    ["/states", "sale.html", "/assets/sale.js", "/states/sale.js"],
    ["/order-states", "order.html", "/assets/order.js", "/states/order.js"],
];
/// If the address of a page contains this word, the API answers the page's requests with `503`.
const FAR: &str = "far";

pub(super) async fn start() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    (address, server)
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/assets")
}

/// Returns the sales of [`CASES`]. The times in the cases are in seconds from now.
pub(super) fn sales() -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(CASES).expect("the cases are valid");
    let now = Timestamp::now();
    let time = |secs: &Value| {
        secs.as_i64().map(|secs| (now + jiff::SignedDuration::from_secs(secs)).to_string())
    };
    let price = json!({"amount_minor": 4900, "currency": "EUR"});
    let sale = |(n, case): (usize, &Value)| {
        let rows = case["items"].as_array().expect("a list").iter().enumerate();
        let item = |(i, _)| {
            json!({"id": format!("item-{i}"), "title": case["name"], "price": price,
                "limit_per_buyer": 2})
        };
        let counts = |(i, row): (usize, &Value)| {
            json!({"item": format!("item-{i}"), "state": row[0], "count": row[1],
                "remaining": row[2], "held": row[3]})
        };
        let items: Vec<_> = rows.clone().map(item).collect();
        let counts: Vec<_> = rows.map(counts).collect();
        let (starts, ends) = (time(&case["starts_secs"]), time(&case["ends_secs"]));
        let status = json!({"sale": format!("case-{n}"), "phase": case["phase"],
            "started": case["started"], "server_time": now.to_string(), "version": "v",
            "starts_at": starts, "ends_at": ends, "items": counts});
        json!({"id": format!("case-{n}"), "title": case["name"], "starts_at": starts,
            "ends_at": ends, "items": items, "status": status})
    };
    cases.iter().enumerate().map(sale).collect()
}

fn orders() -> Vec<Value> {
    let at = |secs| (Timestamp::now() + jiff::SignedDuration::from_secs(secs)).to_string();
    let order = |(n, state): (usize, &str)| {
        let pay_by = at(if n == 0 { 840 } else { -1 });
        json!({"id": format!("ord_{n}"), "sale": "case-5", "item": "item-0", "units": 1,
            "state": state, "reserved_at": at(-60), "pay_by": pay_by, "paid_at": at(-30),
            "ended_at": at(-1), "amount": {"amount_minor": 4900, "currency": "EUR"}})
    };
    let states = ["reserved", "reserved", "paid", "cancelled", "expired", "refunded"];
    states.into_iter().enumerate().map(order).collect()
}

fn api(path: &str) -> Option<Value> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match path {
        "/v1/sales" if query.contains("&q=") => Some(json!({"sales": []})),
        "/v1/sales" => Some(json!({ "sales": sales() })),
        "/v1/orders" => Some(json!({ "orders": orders() })),
        _ => {
            let id = path.strip_prefix("/v1/sales/")?;
            sales().into_iter().find(|sale| sale["id"] == id)
        }
    }
}

fn file(path: &str) -> Option<(Vec<u8>, &'static str)> {
    let path = path.split('?').next()?;
    let read = |name: &str| std::fs::read_to_string(assets().join(name)).ok();
    if let Some([_, html, own, script]) = PAGES.iter().find(|page| page[0] == path) {
        return Some((read(html)?.replace(own, script).into(), "text/html"));
    }
    let name = match path {
        "/" => "index.html",
        _ if path.starts_with("/sale/") => "sale.html",
        _ if path.starts_with("/order/") => "order.html",
        "/states/sale.js" => return Some((include_str!("sale.js").into(), "text/javascript")),
        "/states/order.js" => return Some((include_str!("order.js").into(), "text/javascript")),
        "/states/common.js" => return Some((include_str!("common.js").into(), "text/javascript")),
        _ => path.strip_prefix("/assets/").filter(|name| !name.contains('/'))?,
    };
    let text = read(name)?;
    match name.rsplit('.').next()? {
        "html" => Some((text.into(), "text/html")),
        "js" => Some((text.into(), "text/javascript")),
        "css" => {
            // Joins the style sheets as the real server does: the imported ones come last.
            let imported = IMPORTED.iter().map(|name| read(name)).collect::<Option<String>>()?;
            let own = text.lines().filter(|line| !line.starts_with("@import"));
            let joined = own.map(|line| format!("{line}\n")).chain([imported]).collect::<String>();
            Some((joined.into(), "text/css"))
        }
        _ => Some((text.into(), "image/svg+xml")),
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let mut is_far = first.contains(FAR);
    while let Some(line) = lines.next_line().await?.filter(|line| !line.is_empty()) {
        is_far |= line.to_ascii_lowercase().starts_with("referer:") && line.contains(FAR);
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, (body, media_type)) = if path.starts_with("/v1/") {
        match api(path).filter(|_| !is_far) {
            Some(found) => ("200 OK", (found.to_string().into(), "application/json")),
            // `Retry-After` makes a page without data wait 300 seconds. So the page stays in this
            // state during the test.
            None if is_far => {
                ("503 Service Unavailable\r\nRetry-After: 300", (Vec::new(), "text/plain"))
            }
            None => ("404 Not Found", (Vec::new(), "text/plain")),
        }
    } else {
        match file(path) {
            Some(found) => ("200 OK", found),
            None => ("404 Not Found", (Vec::new(), "text/plain")),
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await
}
