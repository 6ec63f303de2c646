//! Tests pages that were exported to another origin than the server's, as on a CDN. A visitor
//! starts at that origin and gets an order. Also tests which origins may call the server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::driver::Browser;
use super::passes::guarded;
use super::{BUY, STATE, link, states, streams};
use crate::crash_windows::client::{PurchaseSpec, request};
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::{program, run};

async fn serve(listener: TcpListener, folder: PathBuf) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let folder = folder.clone();
        tokio::spawn(async move {
            let mut request = vec![0; 16 * 1024];
            let Ok(read) = stream.read(&mut request).await else { return };
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request
                .split(' ')
                .nth(1)
                .unwrap_or("/")
                .split('?')
                .next()
                .unwrap_or("/")
                .trim_start_matches('/');
            let (status, kind, bytes) = file(&folder, path);
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: \
                 close\r\n\r\n",
                bytes.len()
            );
            let _ = stream.write_all(&[head.into_bytes(), bytes].concat()).await;
        });
    }
}

fn file(folder: &Path, path: &str) -> (&'static str, &'static str, Vec<u8>) {
    let at = folder.join(path);
    let at = if at.is_dir() { at.join("index.html") } else { at };
    let kind = match at.extension().and_then(|end| end.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    match std::fs::read(at) {
        Ok(bytes) => ("200 OK", kind, bytes),
        Err(_) => ("404 Not Found", "text/plain", Vec::new()),
    }
}

#[tokio::test]
async fn a_page_on_another_origin_leads_a_visitor_through_the_front_door_to_an_order() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let elsewhere: SocketAddr = listener.local_addr().expect("an address");
    let fixture =
        ServerFixture::with(&[("DOORBUSTER_PAGE__ORIGIN", &format!("http://{elsewhere}"))]);
    guarded(&fixture, "open", json!({"challenge": "image", "waiting_room": "always"})).await;
    let (folder, api) = (fixture.temp_dir.join("www"), format!("http://{}", fixture.address));
    let mut export = program(&fixture.temp_dir);
    export
        .arg("export")
        .arg(&folder)
        .args(["--url", &api, "--api", &api, "--data-dir"])
        .arg(fixture.temp_dir.join("data"));
    run(&mut export).stdout_of_success();
    let serving = tokio::spawn(serve(listener, folder));
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(elsewhere, "/sale/open", "ann")).await;
        tab.says(BUY, "Join the waiting room").await;
        streams(&fixture, 1).await;
        tab.click(BUY).await;
        tab.says(STATE, "It’s your turn").await;
        tab.click(BUY).await;
        tab.until("document.querySelector('#letters').naturalWidth > 0").await;
        tab.click("#tab-work").await;
        tab.click("#work-start").await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
    serving.abort();
    assert_eq!(states(&fixture, "open").await, ["reserved"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_may_buy_only_from_the_configured_origin() {
    const ORIGIN: &str = "https://shop.example";
    let fixture = ServerFixture::with(&[("DOORBUSTER_PAGE__ORIGIN", ORIGIN)]);
    fixture.open_sale("spring", &[("phone", 100, 9, 900)]).await;
    let ask = |origin: &str, path: &str| {
        let lines = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: \
             POST\r\nAccess-Control-Request-Headers: authorization,idempotency-key\r\n"
        );
        request("OPTIONS", path, &lines, None)
    };
    let allowed = fixture.ask(&ask(ORIGIN, "/v1/orders")).await;
    assert_eq!(
        (allowed.status, allowed.header("access-control-allow-origin")),
        (204, Some(ORIGIN)),
        "{allowed}"
    );
    assert_eq!(allowed.header("access-control-max-age"), Some("86400"));
    assert!(
        allowed
            .header("access-control-allow-headers")
            .is_some_and(|all| all.contains("idempotency-key")),
        "{allowed}"
    );
    for (origin, path) in [
        ("https://evil.example", "/v1/orders"),
        (ORIGIN, "/v1/admin/sales"),
        ("null", "/v1/orders"),
    ] {
        let may_not = fixture.ask(&ask(origin, path)).await;
        assert!(
            may_not.status >= 400 && may_not.header("access-control-allow-methods").is_none(),
            "{origin}: {may_not}"
        );
        assert!(
            may_not.header("access-control-allow-origin").is_none_or(|named| named == ORIGIN),
            "{may_not}"
        );
    }
    // The server's fast path answers the first request. The header `Expect` makes the general HTTP
    // server answer the second one.
    let spec = PurchaseSpec::new("anna", "k", "spring", 1);
    let from = format!("Origin: {ORIGIN}\r\n");
    for bytes in [
        spec.with(&from),
        spec.clone().key("k2").with(&format!("{from}Expect: 100-continue-not\r\n")),
        spec.clone().item("none").with(&from),
        request("GET", "/v1/sales/spring/status", &from, None),
        request("GET", "/v1/orders", &from, None),
    ] {
        let reply = fixture.ask(&bytes).await;
        assert_eq!(reply.header("access-control-allow-origin"), Some(ORIGIN), "{reply}");
        assert!(
            reply
                .header("access-control-expose-headers")
                .is_some_and(|all| all.contains("retry-after")),
            "{reply}"
        );
    }
    let admin = fixture.admin("GET", "/v1/admin/sales", None).await;
    assert_eq!((admin.status, admin.header("access-control-allow-origin")), (200, None));

    let plain = ServerFixture::start();
    plain.open_sale("spring", &[("phone", 100, 9, 900)]).await;
    assert_eq!(plain.ask(&spec.with(&from)).await.header("access-control-allow-origin"), None);
    assert!(plain.ask(&ask(ORIGIN, "/v1/orders")).await.status >= 400);
}
