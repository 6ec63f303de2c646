//! Tests the settings of an edge.

use doorbuster_config::{Flags, load};
use doorbuster_node::boot::serve;

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
