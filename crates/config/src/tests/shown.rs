//! Tests how `config show` renders the settings.

use super::*;

#[test]
fn the_shown_settings_hide_secrets_and_name_the_origin_of_each_value() {
    let vars = environment(&[
        ("DOORBUSTER_AUTH__ADMIN_KEY", "dontshowdontshowdontshowdontshow"),
        ("DOORBUSTER_LISTEN", "127.0.0.1:9"),
        ("DOORBUSTER_WORKERS", "3"),
        ("DOORBUSTER_TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1"),
        ("DOORBUSTER_AUTH__BUYER_JWKS", "https://user:dontshow@shop.example/jwks"),
        ("DOORBUSTER_PAGE__THEME__FOOTER", "Imprint=https://user:dontshow@shop.example/imprint"),
    ]);
    let (text, finish) = show(&Flags::default(), vars);
    assert!(finish.is_ok() && !text.contains("dontshow"), "{text}");
    assert!(text.contains("listen = \"127.0.0.1:9\"  # DOORBUSTER_LISTEN"), "{text}");
    assert!(text.contains("admin_key = \"***\"  # DOORBUSTER_AUTH__ADMIN_KEY"), "{text}");
    assert!(text.contains("workers = 3  # DOORBUSTER_WORKERS"), "{text}");
    assert!(
        text.contains("trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1\"]  # DOORBUSTER_"),
        "{text}"
    );
    assert!(text.contains("buyer_jwks = \"https://user:***@shop.example/jwks\""), "{text}");
    assert!(
        text.contains("data_dir = \"/home/someone/.local/share/doorbuster\"  # default"),
        "{text}"
    );
    assert!(text.parse::<toml::Table>().is_ok(), "{text}");
}
