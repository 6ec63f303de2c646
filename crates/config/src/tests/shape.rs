//! Tests the settings that a shape requires, and the settings that it does not allow.

use super::*;

#[test]
fn a_shape_requires_its_settings_and_rejects_those_of_other_shapes() {
    const STORE: (&str, &str) = ("DOORBUSTER_STORE__URL", "postgres://shop:hush@db/doorbuster");
    const SLOTS: (&str, &str) = ("DOORBUSTER_SLOTS__URLS", "redis://:hush@a:6379, redis://b:6379");
    let with = |shape, more: &[(&str, &str)]| {
        let vars = environment(&[&[("DOORBUSTER_SHAPE", shape)], more].concat());
        load(&Flags::default(), vars)
    };
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
