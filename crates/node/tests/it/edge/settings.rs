//! Tests the settings of an edge, and the settings that it gets from the nodes.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_auth::{NewToken, token};
use doorbuster_config::{Flags, load};
use doorbuster_node::boot::serve;
use doorbuster_testkit::TempDir;
use serde_json::json;

use super::{ONE_PHONE, Tier};
use crate::app::{FAR_FUTURE, SECRET, WAIT_FOR_ORDER};
use crate::http::Reply;

const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn fault(settings: &[(&str, &str)]) -> String {
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    load(&Flags::default(), settings).err().map_or_else(String::new, |error| error.to_string())
}

#[test]
fn an_edge_needs_redis_and_nodes_and_has_neither_a_store_nor_other_roles() {
    const EDGE: (&str, &str) = ("DOORBUSTER_ROLES", "edge");
    const SLOTS: (&str, &str) = ("DOORBUSTER_SLOTS__URLS", "redis://127.0.0.1:6379");
    const NODES: (&str, &str) =
        ("DOORBUSTER_EDGE__UPSTREAMS", "http://127.0.0.1:8080,http://localhost:8081");
    const STORE: (&str, &str) = ("DOORBUSTER_STORE__URL", "postgres://shop@db/doorbuster");
    assert_eq!(fault(&[EDGE, SLOTS, NODES]), "");
    assert_eq!(fault(&[EDGE, SLOTS, NODES, ("DOORBUSTER_SHAPE", "cluster")]), "");
    let refused = |settings: &[(&str, &str)], words: &str| {
        let found = fault(settings);
        assert!(found.contains(words), "{settings:?}: {found}");
    };
    refused(&[EDGE, SLOTS], "edge.upstreams: must name 1 to 64 nodes");
    refused(&[EDGE, NODES], "slots.urls: must name 1 to 64 servers");
    refused(&[EDGE, SLOTS, NODES, STORE], "contradicts the role edge");
    refused(&[EDGE, SLOTS, NODES, ("DOORBUSTER_SHAPE", "postgres")], "shape");
    refused(&[SLOTS, NODES, ("DOORBUSTER_ROLES", "edge,api")], "combines edge with other roles");
    refused(&[NODES], "is only for the role edge");
    for wrong in ["https://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080/v1", "http://"]
    {
        let nodes = ("DOORBUSTER_EDGE__UPSTREAMS", wrong);
        refused(&[EDGE, SLOTS, nodes], "is not the address of a node");
    }
}

#[tokio::test]
async fn an_edge_without_the_deployments_keys_does_not_start() {
    let dir = std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
    std::fs::write(&dir, JWKS).expect("a file");
    let jwks = dir.display().to_string();
    let settings = [
        ("DOORBUSTER_ROLES", "edge"),
        ("DOORBUSTER_LISTEN", "127.0.0.1:0"),
        ("DOORBUSTER_SLOTS__URLS", "redis://127.0.0.1:1"),
        ("DOORBUSTER_EDGE__UPSTREAMS", "http://127.0.0.1:1"),
        ("DOORBUSTER_AUTH__BUYER_JWKS", jwks.as_str()),
    ];
    let settings = settings.map(|(name, value)| (name.into(), value.into()));
    let settings = load(&Flags::default(), settings).expect("valid settings");
    let serving = serve(
        settings,
        None,
        |_| panic!("the edge started with invalid settings"),
        std::future::pending(),
    );
    let error = serving.await.expect_err("the edge has no keys");
    assert!(error.is_caused_by_settings(), "the error must count as an error of the settings");
    assert!(error.to_string().contains("auth.id_key"), "{error}");
    std::fs::remove_file(dir).expect("the file exists");
}

async fn buy_with_token(tier: &Tier, key: &str, token: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Idempotency-Key", key),
        ("Content-Type", "application/json"),
        WAIT_FOR_ORDER,
    ];
    tier.edge.call("POST", "/v1/orders", &headers, ONE_PHONE.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_has_the_pages_of_its_nodes_and_refuses_the_tokens_that_they_refuse() {
    const PAGE: (&str, &str) = ("DOORBUSTER_PAGE__URL", "https://sale.example");
    let of_node = [
        PAGE,
        ("DOORBUSTER_AUTH__ISSUER", "shop"),
        ("DOORBUSTER_AUTH__AUDIENCE", "door"),
        ("DOORBUSTER_AUTH__SIGN_IN_URL", "https://shop.example/sign-in"),
        ("DOORBUSTER_PAYMENT__PROVIDER", "stripe"),
        ("DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY", "sk_test_a_key_of_the_account"),
        ("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", "whsec_of_the_endpoint"),
        ("DOORBUSTER_PAYMENT__STRIPE__API_URL", "http://127.0.0.1:9"),
    ];
    let tier = Tier::start_with(&of_node, &[PAGE]).await;
    // The page contains a hash of its script, and the script contains the settings. So equal pages
    // mean equal settings.
    assert_eq!(tier.edge.get("/").await.text(), tier.node.get("/").await.text());
    tier.node.open_sale("spring", 5.into(), 5).await;
    tier.wait_for_state("on_sale").await;
    let token_of = |iss, aud| {
        let claims =
            NewToken { iss, aud, exp: FAR_FUTURE, ..NewToken::new("anna", 0, Duration::ZERO) };
        token(SECRET.as_bytes(), &claims)
    };
    let before = tier.proxy.purchases();
    for (iss, aud) in [(None, Some("door")), (Some("shop"), None)] {
        let refused = buy_with_token(&tier, "k", &token_of(iss, aud)).await;
        assert_eq!(refused.verdict(), "401 unauthenticated", "{iss:?} {aud:?}");
    }
    assert_eq!(tier.proxy.purchases(), before, "the edge itself must refuse the tokens");
    let bought = buy_with_token(&tier, "k", &token_of(Some("shop"), Some("door"))).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    tier.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_passes_a_purchase_on_if_it_does_not_know_the_tokens_public_key() {
    const KEYS: &str = "DOORBUSTER_AUTH__BUYER_JWKS";
    let (dir, pair) = (TempDir::new(), Ed25519KeyPair::generate().expect("a key"));
    let (known, other) = (dir.path().join("known.json"), dir.path().join("other.json"));
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "new", "x": x}]});
    std::fs::write(&known, set.to_string()).expect("a file");
    std::fs::write(&other, JWKS).expect("a file");
    let [known, other] = [known, other].map(|path| path.display().to_string());
    let tier = Tier::start_with(&[(KEYS, &known)], &[(KEYS, &other)]).await;
    tier.node.open_sale("spring", 5.into(), 5).await;
    tier.wait_for_state("on_sale").await;
    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA", "kid": "new"}).to_string());
    let claims = URL_SAFE_NO_PAD.encode(json!({"sub": "anna", "exp": FAR_FUTURE}).to_string());
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    let bought = buy_with_token(&tier, "k", &format!("{message}.{signature}")).await;
    assert_eq!(bought.verdict(), "201", "{}", bought.text());
    tier.stop().await;
}
