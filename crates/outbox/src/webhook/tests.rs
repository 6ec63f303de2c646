//! Tests the pauses that a receiver's response can request. Also tests the address guard: a
//! listener at a private address must get no connection.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use bytes::Bytes;
use doorbuster_core::event::EventType;
use doorbuster_core::outbox::EventFilter;
use doorbuster_store::{EndpointKind, EndpointSecret};
use http::HeaderValue;

use super::super::address_guard::PRIVATE_ADDRESS;
use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);
const BODY: &[u8] = br#"{"id":"evt_1"}"#;

#[test]
fn only_a_status_that_refuses_the_message_is_final() {
    let of = |code: u16| is_final(StatusCode::from_u16(code).expect("a status"));
    assert!([400, 401, 404, 409, 410, 422, 499].into_iter().all(of));
    assert!(![200, 302, 408, 425, 429, 500, 502, 503].into_iter().any(of));
}

#[test]
fn a_response_requests_a_pause_in_seconds_or_until_a_date() {
    // Fri, 20 Nov 2026 10:00:00 GMT
    let now = Millis(1_795_168_800_000);
    let of = |status: StatusCode, text: &str| {
        let value: HeaderValue = text.parse().expect("a header's value");
        pause_ms(status, &HeaderMap::from_iter([(RETRY_AFTER, value)]), now)
    };
    let cases = [
        ("0", 0),
        ("2", 2_000),
        (" 120 ", 120_000),
        ("3600", 3_600_000),
        ("86400", 3_600_000),
        ("99999999999999999999", 3_600_000),
        ("Fri, 20 Nov 2026 10:10:00 GMT", 600_000),
        ("Fri, 20 Nov 2026 23:00:00 GMT", 3_600_000),
        ("Fri, 20 Nov 2026 09:00:00 GMT", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
    ];
    for (text, wanted) in cases {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            assert_eq!(of(status, text), wanted, "{text:?}");
        }
        for status in
            [StatusCode::OK, StatusCode::FOUND, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY]
        {
            assert_eq!(of(status, text), 0, "{status} {text:?}");
        }
    }
    assert_eq!(pause_ms(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new(), now), 0);
}

/// Returns a guard whose resolver maps a shop's public name to this machine.
fn guard(allow_private: bool) -> AddressGuard {
    AddressGuard::with_names(allow_private, |name| match name {
        "shop.example" => Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))]),
        _ => Err(io::Error::other("unknown name")),
    })
}

async fn send(guard: AddressGuard, url: &str) -> Result<(), DeliveryError> {
    send_at(guard, url, None, Millis(0), Millis(0)).await
}

/// Sends a message. The store's time is `now`, and the time of the machine's clock is `wall`. The
/// endpoint's only secret expires at `until`.
async fn send_at(
    guard: AddressGuard,
    url: &str,
    until: Option<Millis>,
    now: Millis,
    wall: Millis,
) -> Result<(), DeliveryError> {
    let endpoint = Endpoint {
        id: "end_1".to_owned(),
        kind: EndpointKind::Webhook,
        url: url.to_owned(),
        wanted: EventFilter::All,
        secrets: vec![EndpointSecret { secret: signing::format_secret(&[7; 32]), until }],
        position: 0,
        enabled: true,
        created_at: Millis(0),
    };
    let message = Message {
        id: "evt_1".to_owned(),
        what: EventType::SaleOpened,
        key: "sale:spring".to_owned(),
        at: Millis(0),
        body: Bytes::from_static(BODY),
    };
    Webhooks::new(guard, TIMEOUT).send(&endpoint, &message, now, wall).await
}

#[tokio::test]
async fn a_secret_signs_until_its_end_by_the_stores_time() {
    let until = Millis(60_000);
    let error = async |now: Millis, wall: Millis| {
        let sent = send_at(guard(true), "http://127.0.0.1:1/", Some(until), now, wall).await;
        sent.expect_err("no server listens at this port").error
    };
    let ended = "the endpoint has no secret that can sign its messages";
    assert_ne!(error(until.plus(-1), until.plus(1)).await, ended);
    assert_eq!(error(until, until.plus(-1)).await, ended);
}

fn got_no_connection(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).expect("a listener's setting");
    listener.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn no_request_reaches_a_public_name_that_resolves_to_a_private_address() {
    let shop = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = shop.local_addr().expect("bound").port();
    let error = send(guard(false), &format!("https://shop.example:{port}/"))
        .await
        .expect_err("the name resolves to a private address")
        .error;
    assert_eq!(error, format!("no connection: {PRIVATE_ADDRESS}"));
    let error = send(guard(false), &format!("https://127.0.0.1:{port}/"))
        .await
        .expect_err("the address is private")
        .error;
    assert_eq!(error, PRIVATE_ADDRESS);
    assert!(got_no_connection(&shop));
    shop.set_nonblocking(false).expect("a listener's setting");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = shop.accept().expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(BODY) {
            let mut more = [0; 4_096];
            let count = stream.read(&mut more).expect("a request");
            assert!(count > 0, "the request ended early");
            request.extend_from_slice(&more[..count]);
        }
        stream.write_all(b"HTTP/1.1 204 Taken\r\n\r\n").expect("the client reads");
    });
    assert_eq!(send(guard(true), &format!("http://shop.example:{port}/")).await, Ok(()));
    answering.join().expect("the task did not panic");
}

#[test]
fn a_proxy_from_the_environment_gets_no_connection() {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", proxy.local_addr().expect("bound"));
    let (_, module) = module_path!().split_once("::").expect("a module of this crate");
    // The client reads the settings of proxies from the environment, so the test needs its own
    // process.
    let mut inner = Command::new(std::env::current_exe().expect("this program"));
    inner.args([
        "--exact",
        &format!("{module}::sends_with_a_proxy_in_the_environment"),
        "--ignored",
        "--nocapture",
    ]);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        inner.env(name, &address);
    }
    for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
        inner.env_remove(name);
    }
    let ran = inner.output().expect("this program");
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(
        output.contains(&format!("the delivery failed: no connection: {PRIVATE_ADDRESS}")),
        "{output}"
    );
    assert!(
        got_no_connection(&proxy),
        "the client must not use a proxy, because a proxy connects to unchecked addresses"
    );
}

#[tokio::test]
#[ignore = "a_proxy_from_the_environment_gets_no_connection runs this test in its own process"]
async fn sends_with_a_proxy_in_the_environment() {
    let error =
        send(guard(false), "https://shop.example/").await.expect_err("a private address").error;
    println!("the delivery failed: {error}");
}
