//! Tests the settings that a shape requires, and the settings that it does not allow.

use super::*;

const STORE: (&str, &str) = ("DOORBUSTER_STORE__URL", "postgres://shop:hush@db/doorbuster");
const SLOTS: (&str, &str) = ("DOORBUSTER_SLOTS__URLS", "redis://:hush@a:6379, redis://b:6379");

fn with(shape: &str, more: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let vars = environment(&[&[("DOORBUSTER_SHAPE", shape)], more].concat());
    load(&Flags::default(), vars)
}

#[test]
fn a_shape_requires_its_settings_and_rejects_those_of_other_shapes() {
    let refused = |shape, more: &[(&str, &str)], word: &str| {
        let message = with(shape, more).expect_err(word).to_string();
        assert!(message.contains(word) && !message.contains("hush"), "{shape} {more:?}: {message}");
    };
    refused("postgres", &[], "store.url: is missing");
    refused("postgres", &[("DOORBUSTER_STORE__URL", "mysql://x:hush@y/z")], "postgres://");
    refused(
        "postgres",
        &[("DOORBUSTER_STORE__URL", "postgres://shop:hush@db:port/z")],
        "store.url",
    );
    refused(
        "postgres",
        &[("DOORBUSTER_STORE__URL", "postgres://db/z?sslmode=perhaps")],
        "sslmode=perhaps",
    );
    refused("postgres", &[STORE, SLOTS], "slots.urls");
    let peers = ("DOORBUSTER_STORE__PEERS", "http://node-2:8080,node-3:8080");
    refused("postgres", &[STORE, peers], "store.peers (DOORBUSTER_STORE__PEERS): \"node-3:8080\"");
    refused("postgres", &[STORE, ("DOORBUSTER_ROLES", "api,control")], "api and settle together");
    refused("cluster", &[STORE], "slots.urls: must name");
    refused("postgres", &[STORE, ("DOORBUSTER_SLOTS__WAIT_REPLICAS", "1")], "slots.wait_replicas");
    refused("cluster", &[SLOTS], "store.url: is missing");
    refused(
        "cluster",
        &[STORE, SLOTS, ("DOORBUSTER_SLOTS__WAIT_REPLICAS", "11")],
        "slots.wait_replicas",
    );
    refused("cluster", &[STORE, ("DOORBUSTER_SLOTS__URLS", "http://x:hush@y")], "redis://");
    refused("cluster", &[STORE, SLOTS, ("DOORBUSTER_ROLES", "")], "is empty");
    let control =
        with("postgres", &[STORE, ("DOORBUSTER_ROLES", "control")]).expect("control alone");
    assert!(
        matches!(control.shape, Shape::Postgres { .. })
            && !control.roles.api
            && control.roles.control
    );
    let settle =
        with("cluster", &[STORE, SLOTS, ("DOORBUSTER_ROLES", "settle")]).expect("settle alone");
    match settle.shape {
        Shape::Cluster { store, slots, wait_replicas } => {
            assert_eq!((store.expose_secret(), slots.len(), wait_replicas), (STORE.1, 2, 0));
            assert_eq!(slots[1].expose_secret(), "redis://b:6379");
        }
        other => panic!("{other:?}"),
    }
    let (text, finish) =
        show(&Flags::default(), environment(&[("DOORBUSTER_SHAPE", "cluster"), STORE, SLOTS]));
    assert!(finish.is_ok() && !text.contains("hush") && text.contains("url = \"***\""), "{text}");
}

#[test]
fn a_node_may_be_named_by_every_spelling_of_its_address() {
    let peers = |peers: &str| with("postgres", &[STORE, ("DOORBUSTER_STORE__PEERS", peers)]);
    let edge = |upstreams: &str| {
        let upstreams = ("DOORBUSTER_EDGE__UPSTREAMS", upstreams);
        with("cluster", &[SLOTS, ("DOORBUSTER_ROLES", "edge"), upstreams])
    };
    for (address, expected) in [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://127.0.0.1:80", "127.0.0.1:80"),
        ("HTTP://127.0.0.1/", "127.0.0.1:80"),
        ("http://[::1]:80", "[::1]:80"),
    ] {
        assert_eq!(peers(address).expect(address).peers, [address]);
        let expected: SocketAddr = expected.parse().expect("an address");
        match edge(address).expect(address).shape {
            Shape::Edge { upstreams, .. } => assert_eq!(upstreams[0].addresses(), [expected]),
            other => panic!("{other:?}"),
        }
    }
    assert!(peers("http://Node-2:8080,https://node-3").is_ok());
    let refused = |read: Result<Settings, SettingsError>, address: &str| {
        let message = read.expect_err(address).to_string();
        assert!(message.contains("is not the address of a node"), "{address}: {message}");
        assert!(!message.contains("hush"), "{address}: {message}");
    };
    for wrong in [
        "http://127.0.0.1/x",
        "http://127.0.0.1?x",
        "http://127.0.0.1#x",
        "http://user@127.0.0.1",
        "http://user:hush@127.0.0.1",
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "http://",
    ] {
        refused(peers(wrong), wrong);
        refused(edge(wrong), wrong);
    }
    refused(edge("https://127.0.0.1"), "https://127.0.0.1");
}
