//! Tests the static pages behind a real cache. `export` writes the pages to a folder, nginx serves
//! the folder like a CDN, and the test counts the requests that reach the server.
//!
//! `DOORBUSTER_PAGE_VIEWS` sets the number of page views [default: 2,000]. For a run by hand, use
//! 20,000 or more.

mod nginx;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::crash_windows::client::{HttpConnection, PurchaseSpec, Reply, request, signed_in};
use super::crash_windows::fixture::ServerFixture;
use crate::test_server::{program, stand_in};
use doorbuster_testkit::ports::free_ports;
use doorbuster_testkit::tool;

/// The guide that contains a configuration of nginx. The test runs nginx with this configuration,
/// but replaces the paths.
const GUIDE: &str = include_str!("../../../../docs/front-door.md");
const VISITORS: usize = 16;
const READY_WITHIN: Duration = Duration::from_secs(60);

/// nginx in front of the server; it stops with the test.
pub struct Cdn {
    child: Child,
    /// The address on which nginx listens.
    pub address: SocketAddr,
}

impl Cdn {
    /// Starts nginx. It serves the files in `folder`, and forwards all other requests to `fixture`
    /// through a cache.
    pub fn start(fixture: &ServerFixture, folder: &Path) -> Self {
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let dir = fixture.temp_dir.join("cdn");
        std::fs::create_dir_all(&dir).expect("a directory");
        let (_, rest) = GUIDE.split_once("```nginx\n").expect("the guide has a configuration");
        let (sites, _) = rest.split_once("\n```").expect("it ends");
        let sites = sites
            .replace("listen 443 ssl;", &format!("listen {address};"))
            .replace("ssl_certificate", "# ssl_certificate")
            .replace("/srv/www", &folder.display().to_string())
            .replace("/var/cache/nginx-doorbuster", &dir.join("cache").display().to_string())
            .replace("http://127.0.0.1:8080", &format!("http://{}", fixture.address));
        let here = dir.display();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ types {{ text/html html; text/css css; text/javascript js;\n\
             image/svg+xml svg; }}\n\
             access_log off; keepalive_requests 1000000000;\n\
             client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
             fastcgi_temp_path {here}/f;\n\
             uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n{sites}\n}}\n"
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config).expect("the file is written");
        let child = Command::new(tool::program("nginx"))
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn();
        let cdn = Self { child: child.expect("nginx starts"), address };
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(dir.join("error.log")).unwrap_or_default();
            assert!(begun.elapsed() < READY_WITHIN, "nginx does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        cdn
    }

    async fn connect(&self) -> HttpConnection {
        HttpConnection::connect(self.address).await.expect("nginx listens")
    }
}

impl Drop for Cdn {
    fn drop(&mut self) {
        // An error is ignored, because nginx may have stopped by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Exports the pages of the fixture's sales.
pub fn export(fixture: &ServerFixture, more: &[&str]) -> std::path::PathBuf {
    let folder = fixture.temp_dir.join("www");
    let url = format!("http://{}", fixture.address);
    let mut command = program(&fixture.temp_dir);
    command
        .arg("export")
        .arg(&folder)
        .args(["--url", &url, "--data-dir"])
        .arg(fixture.data_dir())
        .args(more);
    let made = command.output().expect("the program starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    folder
}

async fn get(connection: &mut HttpConnection, path: &str, more: &str) -> Reply {
    connection
        .ask(&request("GET", path, more, None))
        .await
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Returns the assets that a text names.
fn named(text: &str) -> Vec<String> {
    let part = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c))
            .collect::<String>()
    };
    let names =
        text.split("/assets/").skip(1).map(part).filter(|name| name.matches('.').count() == 2);
    names.map(|name| format!("/assets/{name}")).collect()
}

/// Returns the number of requests of sale pages that have reached the server: requests for the
/// page, its assets, the sale and the sale's status.
async fn reached(fixture: &ServerFixture) -> u64 {
    let page = fixture.ask(&request("GET", "/metrics", "", None)).await;
    let text = String::from_utf8(page.body).expect("text");
    let counts = text.lines().filter(|line| line.starts_with("doorbuster_http_requests_total{"));
    let of_pages = ["get_sale", "get_status", "page", "asset"];
    let is_pages =
        |line: &&str| of_pages.iter().any(|route| line.contains(&format!("\"{route}\"")));
    counts.filter(is_pages).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Loads the page `count` times, and checks that browsers may cache its assets. Returns the number
/// of requests.
async fn visits(mut connection: HttpConnection, count: usize) -> usize {
    let mut requests = 0;
    for _ in 0..count {
        let page = get(&mut connection, "/sale/spring", "").await;
        assert_eq!(page.status, 200, "{page}");
        let text = String::from_utf8(page.body.clone()).expect("a UTF-8 page");
        let assets = named(&text);
        assert!(assets.len() >= 3, "the page must name a style sheet and two scripts: {assets:?}");
        for asset in &assets {
            let asset = get(&mut connection, asset, "").await;
            assert_eq!(
                (
                    asset.status,
                    asset.header("cache-control").is_some_and(|c| c.contains("immutable"))
                ),
                (200, true)
            );
        }
        for path in ["/v1/sales/spring", "/v1/sales/spring/status?v="] {
            let answer = get(&mut connection, path, "").await;
            assert_eq!(answer.status, 200, "{path}: {answer}");
        }
        requests += assets.len() + 3;
    }
    requests
}

/// Simulates `views` page views, spread evenly over `span`, through `caches` independent caches.
/// Returns the number of requests that reach the server.
fn simulated(views: u64, span: Duration, caches: u64) -> u64 {
    const KEPT: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(1)];
    let mut until = vec![[Duration::ZERO; KEPT.len()]; usize::try_from(caches).expect("a few")];
    let mut dice = 1_u64;
    let mut total = 0;
    for view in 0..views {
        let now = span.mul_f64(view as f64 / views as f64) + Duration::from_nanos(1);
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let cache = usize::try_from((dice >> 33) % caches).expect("a few");
        for (until, kept) in until[cache].iter_mut().zip(KEPT) {
            if now >= *until {
                (total, *until) = (total + 1, now + kept);
            }
        }
    }
    total
}

#[test]
fn of_a_million_page_views_a_few_hundred_reach_the_server() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    // These are the rows of the table in the guide.
    for (span, caches, expected) in [
        (minutes(1), 1, 61),
        (minutes(10), 1, 610),
        (minutes(10), 50, 30_500),
        (minutes(60), 1, 3_660),
    ] {
        let arrived = simulated(1_000_000, span, caches);
        println!("1,000,000 views over {span:?}, {caches} caches: {arrived} reach the server");
        assert!(
            arrived.abs_diff(expected) <= expected / 20,
            "{arrived} requests arrived, but the guide says {expected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_answers_nearly_every_page_view() {
    let views = std::env::var("DOORBUSTER_PAGE_VIEWS").unwrap_or_else(|_| "2000".into());
    let views: usize = views.parse().expect("DOORBUSTER_PAGE_VIEWS is a number");
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    let cdn = Cdn::start(&fixture, &export(&fixture, &[]));
    let before = reached(&fixture).await;
    let begun = Instant::now();
    let mut visitors = tokio::task::JoinSet::new();
    for _ in 0..VISITORS {
        visitors.spawn(visits(cdn.connect().await, views / VISITORS));
    }
    let requests: usize = visitors.join_all().await.into_iter().sum();
    let (took, arrived) = (begun.elapsed(), reached(&fixture).await - before);
    println!("{views} page views, {requests} requests in {took:?}: {arrived} reached the server");
    // nginx counts in whole seconds, so nginx keeps a copy a little longer than the simulated cache
    // does.
    let most = simulated(views as u64, took, 1) + 2;
    assert!(
        (1..=most).contains(&arrived),
        "{arrived} of {requests} requests reached the server in {took:?}; expected 1 to {most}"
    );

    // Purchases are never cached, so this purchase must reach the server.
    let sold = cdn.connect().await.ask(&PurchaseSpec::new("anna", "k", "spring", 1).bytes()).await;
    assert_eq!(sold.expect("an answer").verdict(), "201");
    let own = signed_in("anna");
    let orders = get(&mut cdn.connect().await, "/v1/orders", &own).await;
    assert_eq!(orders.json()["orders"].as_array().map(Vec::len), Some(1), "{orders}");
    let bert = get(&mut cdn.connect().await, "/v1/orders", &signed_in("bert")).await;
    assert_eq!(bert.json()["orders"].as_array().map(Vec::len), Some(0), "{bert}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_file_has_a_cache_time_and_a_compressed_copy() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    let folder = export(&fixture, &[]);
    let cdn = Cdn::start(&fixture, &folder);
    let mut connection = cdn.connect().await;
    let page = get(&mut connection, "/sale/spring", "Accept-Encoding: gzip\r\n").await;
    assert_eq!((page.status, page.header("content-encoding")), (200, Some("gzip")), "{page}");
    assert_eq!(
        page.body,
        std::fs::read(folder.join("sale/spring/index.html.gz")).expect("a compressed file")
    );
    assert_eq!(page.header("cache-control"), Some("public, max-age=60"));
    let tag = page.header("etag").expect("an ETag").to_owned();
    let again = get(
        &mut connection,
        "/sale/spring",
        &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"),
    )
    .await;
    assert_eq!(again.status, 304);
    let plain = get(&mut connection, "/sale/spring", "").await;
    let text = String::from_utf8(plain.body.clone()).expect("text");
    let asset = get(&mut connection, &named(&text)[0], "").await;
    assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let status = get(&mut connection, "/v1/sales/spring/status?v=", "").await;
    assert_eq!(status.header("cache-control"), Some("public, max-age=1"));
    // Made-up queries must not fill the cache, so the server marks the answers to them `no-store`.
    for n in 0..100 {
        for path in ["status?v=", "status?x=", "?"] {
            let made_up = get(
                &mut connection,
                &format!("/v1/sales/spring/{path}{n:013x}").replace("/?", "?"),
                "",
            )
            .await;
            assert_eq!(
                (made_up.status, made_up.header("cache-control")),
                (200, Some("no-store")),
                "{path}{n}"
            );
        }
    }
    let kept =
        std::fs::read_dir(fixture.temp_dir.join("cdn/cache")).expect("nginx's cache").count();
    assert!((1..=2).contains(&kept), "the cache has {kept} copies");
    // One exported file is the page of every sale that is created after the export. Another
    // exported file is the page of every order.
    for path in ["/sale/later", "/order/ord_1"] {
        assert_eq!(get(&mut connection, path, "").await.status, 200, "{path}");
    }
}

async fn announced(fixture: &ServerFixture) -> Cdn {
    let body = serde_json::json!({"id": "spring", "title": "Spring", "starts_at": "2099-01-01T00:00:00.000Z", "items": [
        {"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 10}]});
    assert_eq!(fixture.admin("POST", "/v1/admin/sales", Some(&body)).await.status, 201);
    fixture.step("spring", "schedule").await;
    Cdn::start(fixture, &export(fixture, &[]))
}

/// A page sets its clock from the server's answer to a request for the sale's status. So if no
/// request arrived for some time, the cache must not return an answer from before this time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_quiet_period_a_reader_gets_the_current_state() {
    const STATUS: &str = "/v1/sales/spring/status?v=";
    let fixture = ServerFixture::start();
    let cdn = announced(&fixture).await;
    let mut connection = cdn.connect().await;
    assert_eq!(get(&mut connection, STATUS, "").await.json()["phase"], "scheduled");
    fixture.step("spring", "open").await;
    // The cache may keep the first answer for one second. nginx counts in whole seconds, so the
    // test waits longer.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(get(&mut connection, STATUS, "").await.json()["phase"], "open");
}

/// When the sale opens, the page requests the status with a new version in the address. So the page
/// gets no cached copy from before the opening.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_has_a_new_version_when_the_sale_opens() {
    let fixture = ServerFixture::start();
    let cdn = announced(&fixture).await;
    let mut connection = cdn.connect().await;
    let before = get(&mut connection, "/v1/sales/spring/status?v=", "").await.json();
    fixture.step("spring", "open").await;
    let version = before["version"].as_str().expect("a version");
    let after =
        get(&mut connection, &format!("/v1/sales/spring/status?v={version}-open"), "").await.json();
    assert_eq!((&after["phase"], &after["started"]), (&"open".into(), &true.into()));
    assert_ne!(after["version"], before["version"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_named_sale_has_its_title_and_no_state_that_may_be_old() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 100, 9, 900)]).await;
    let folder = export(&fixture, &["--sale", "spring"]);
    let page = std::fs::read_to_string(folder.join("sale/spring/index.html")).expect("the page");
    let price = "<meta property=\"product:price:amount\" content=\"0.10\">";
    for part in ["<meta property=\"og:title\"", price, "application/ld+json", "\"price\":\"0.10\""]
    {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("Open now") && !page.contains("availability\""), "{page}");

    // An older server may have a sale with the id `..`. No directory can have this name, so
    // `export` must refuse it.
    let sales = fixture.ask(&request("GET", "/v1/sales", "", None)).await.json();
    let sales = sales.to_string().replace("\"id\":\"spring\"", "\"id\":\"..\"");
    let url = stand_in(move |_| sales.clone());
    let before = std::fs::read(folder.join("index.html")).expect("the list of sales");
    let mut command = program(&fixture.temp_dir);
    command.arg("export").arg(&folder).args(["--url", &url]);
    let refused = command.output().expect("the program starts");
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(std::fs::read(folder.join("index.html")).expect("the list of sales"), before);
}

#[test]
fn a_folder_for_another_origin_names_the_server_and_invalid_sale_ids_write_nothing() {
    let temp_dir = crate::test_server::TempDir::new();
    let run = |arguments: &[&str]| {
        let mut command = program(&temp_dir);
        command
            .args(["export", &temp_dir.join("www").display().to_string(), "--data-dir"])
            .arg(temp_dir.join("data"));
        command.args(arguments).output().expect("the program starts")
    };
    for wrong in [
        ["--sale", ".."],
        ["--sale", "a/b"],
        ["--api", "https://api.example/v1"],
        ["--api", "data:x"],
    ] {
        let output = run(&wrong);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert!(!temp_dir.join("www").exists());
    let made = run(&["--sale", "spring", "--api", "https://api.example"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = std::fs::read_to_string(temp_dir.join("www/sale/spring/index.html"))
        .expect("the page exists");
    assert!(page.contains("connect-src 'self' https://api.example wss://api.example;"));
}
