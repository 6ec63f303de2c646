//! Tests the answers of nginx with the configuration of the guide.

use super::{Cdn, announced, export, get, named};
use crate::crash_windows::fixture::ServerFixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_site_may_show_an_exported_page_in_a_frame() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    let folder = export(&fixture, &[]);
    let cdn = Cdn::start(&fixture, &folder);
    let mut connection = cdn.connect().await;
    let page = std::fs::read_to_string(folder.join("sale/spring/index.html")).expect("the page");
    for path in ["/", "/sale/spring", "/order/ord_1", named(&page)[0].as_str()] {
        let answer = get(&mut connection, path, "").await;
        assert_eq!(answer.status, 200, "{path}: {answer}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}: {answer}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_gets_every_request_without_an_exported_file_except_for_metrics() {
    let fixture = ServerFixture::start();
    let cdn = announced(&fixture).await;
    let mut connection = cdn.connect().await;
    for (path, status, media_type) in [
        ("/sale/spring/calendar.ics", 200, "text/calendar"),
        ("/console", 200, "text/html"),
        ("/docs", 200, "text/html"),
        ("/healthz", 200, "application/json"),
        ("/nothing", 404, "application/problem+json"),
        ("/assets/nothing.js", 404, "application/problem+json"),
        ("/metrics", 403, "text/html"),
    ] {
        let answer = get(&mut connection, path, "").await;
        assert_eq!(answer.status, status, "{path}: {answer}");
        let is_expected = answer.header("content-type").is_some_and(|t| t.starts_with(media_type));
        assert!(is_expected, "{path}: {answer}");
    }
    // The console has assets that no exported page has. The server must answer the requests for
    // these assets.
    let console = get(&mut connection, "/console", "").await;
    let text = String::from_utf8(console.body).expect("text");
    for asset in named(&text) {
        assert_eq!(get(&mut connection, &asset, "").await.status, 200, "{asset}");
    }
}
