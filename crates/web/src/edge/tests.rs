//! Tests the requests that an edge answers itself, and the requests that it remembers.
use doorbuster_api::problem::Problem;
use doorbuster_auth::{NewToken, token};
use doorbuster_config::{Flags, NamedNodes, load};
use doorbuster_core::gate::pass::{Membership, PassTerms};
use doorbuster_engine::edge::keys::NodeSettings;
use doorbuster_testkit::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::purchase_headers::PurchaseHeader;

const SECRET: &str = "a secret of the shop, long enough for anyone";

async fn app(dir: &TempDir) -> Arc<App> {
    let flags = Flags { data_dir: Some(dir.path().to_owned()), ..Flags::default() };
    let environment = [("DOORBUSTER_AUTH__BUYER_SECRET".into(), SECRET.into())];
    let settings = load(&flags, environment).expect("valid settings");
    super::super::tests::app(dir, &settings, 1).await
}

#[test]
fn a_request_may_hold_an_order_unless_a_node_answered_that_it_holds_none() {
    let holders = RequestsWithOrders::default();
    let [lost, refused] = [RequestHash(1), RequestHash(2)];
    drop(MayHold { holders: &holders, request: Some(lost) });
    let mut may_hold = MayHold { holders: &holders, request: Some(refused) };
    may_hold.request = None;
    drop(may_hold);
    assert_eq!([lost, refused].map(|request| holders.holds(request)), [true, false]);
}

#[test]
fn pages_sales_and_their_status_are_served_here_and_everything_else_by_nodes() {
    let at = |path| served_by(&Method::GET, path);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(at(path), ServedBy::ThisProcess, "{path}");
    }
    for path in [
        "/",
        "/sale/spring",
        "/order/ord_x",
        "/assets/page.css",
        "/v1/sales",
        "/v1/sales/spring",
        "/v1/sales/spring/status",
    ] {
        assert_eq!(at(path), ServedBy::EdgeWhileFresh, "{path}");
        assert_eq!(served_by(&Method::POST, path), ServedBy::Node, "{path}");
    }
    for path in ["/v1/events", "/v1/ws"] {
        assert_eq!(at(path), ServedBy::EdgeWhileRelayed, "{path}");
        assert_eq!(served_by(&Method::POST, path), ServedBy::Node, "{path}");
    }
    for path in [
        "/console",
        "/v1/orders",
        "/v1/sales/spring/passes",
        "/v1/sales/spring/items/phone/waitlist",
        "/v1/sales//status",
        "/v1/admin/sales",
        "/payments/sandbox/x",
    ] {
        assert_eq!(at(path), ServedBy::Node, "{path}");
    }
}

#[tokio::test]
async fn a_passed_request_is_remembered_by_the_buyer_of_its_token_or_of_its_pass() {
    let dir = TempDir::new();
    let app = app(&dir).await;
    let (now, forever) = (app.node.now(), Millis(i64::MAX));
    let terms = PassTerms {
        buyer: "anna",
        membership: Membership { member: false, level: 0 },
        issued_without_room: false,
        valid_from: now,
        expires_at: forever,
    };
    let pass = app.gate.passes.issue(now, terms, "spring", "phone").text;
    let claims = NewToken { exp: 4_000_000_000, ..NewToken::new("anna", 0, <_>::default()) };
    let bearer = format!("Bearer {}", token(SECRET.as_bytes(), &claims));
    let hash_of = |authorization: Option<&str>, pass: Option<&str>, body: &str| {
        let values = |header: PurchaseHeader| {
            let value = match header {
                PurchaseHeader::Authorization => authorization,
                PurchaseHeader::Pass => pass,
                PurchaseHeader::Key => Some("k"),
                _ => None,
            };
            value.map(str::as_bytes).into_iter()
        };
        let peer = std::net::IpAddr::from([127, 0, 0, 1]);
        let headers = PurchaseHeaders::new(values, peer, &[]);
        let facts = LearnedFacts::default();
        request_hash(&app, &headers, body.as_bytes(), now, &facts).ok().flatten()
    };
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let expected = Some(app.node.id_key().request_hash("anna", "k"));
    assert_eq!(hash_of(Some(&bearer), None, body), expected);
    assert_eq!(hash_of(None, Some(&pass), body), expected);
    assert_eq!(
        hash_of(None, Some(&pass), &body.replace("phone", "case")),
        None,
        "a pass for another item must not identify the buyer"
    );
    assert_eq!(hash_of(None, None, body), None);
}

#[tokio::test]
async fn after_the_answer_overloaded_the_client_pauses_and_its_request_may_have_an_order() {
    let dir = TempDir::new();
    let app = app(&dir).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let serving = tokio::spawn(async move {
        for problem in [Problem::overloaded(1), Problem::unavailable("later", 1)] {
            let (mut client, _) = listener.accept().await.expect("the edge connects");
            let read = client.read(&mut [0; 4_096]).await.expect("a request");
            assert!(read > 0);
            let body = String::from_utf8(problem.to_json()).expect("JSON");
            let (status, len) = (problem.status(), body.len());
            let head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {len}");
            let answer = format!("{head}\r\n\r\n{body}");
            client.write_all(answer.as_bytes()).await.expect("the edge reads");
        }
    });
    let nodes = [NamedNodes::look_up(address).expect("an address")];
    let node = EdgeNode::new(&nodes, &[], app.node.id_key(), NodeSettings::default());
    let node = node.expect("valid addresses");
    let peer = std::net::IpAddr::from([127, 0, 0, 1]);
    let mut found = Vec::new();
    for own in [RequestHash(1), RequestHash(2)] {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/v1/orders");
        let client = ClientAddress { address: peer, disagreeing: None };
        let reply = buy(&app, &node, (request, client), Some(own)).await;
        assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
        let pause = app.overload_pause(peer, Some(&PurchaseReply::Rendered(reply)));
        found.push((pause.is_some(), app.node.holders().holds(own)));
    }
    // The edge still remembers both requests after the nodes' refusals, because an earlier attempt
    // of the same request may have got an order.
    assert_eq!(found, [(true, true), (false, true)]);
    serving.await.expect("the node answers both requests");
}
