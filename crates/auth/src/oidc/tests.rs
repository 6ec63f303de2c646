//! Tests the client of an issuer.

use super::*;

#[tokio::test]
async fn while_the_issuer_is_down_it_gets_few_requests() {
    // The issuer closes each connection without an answer.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let issuer = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, requests) = std::sync::mpsc::sync_channel(16);
    std::thread::spawn(move || {
        listener.incoming().all(|stream| sender.send(stream.is_ok()).is_ok())
    });
    let settings = OidcSettings {
        issuer,
        client_id: "doorbuster".into(),
        client_secret: "secret".into(),
        scopes: Vec::new(),
        role_claim: "groups".into(),
        roles: Vec::new(),
    };
    let oidc = Oidc::new(&settings, "https://shop.example");
    let (begun, moment) = (Instant::now(), Duration::from_millis(1));
    for (after, sent) in [(Duration::ZERO, 1), (FAILURE_FOR - moment, 0), (FAILURE_FOR, 1)] {
        assert!(matches!(oidc.issuer_at(begun + after).await, Err(OidcError::Issuer(_))));
        assert_eq!(requests.try_iter().count(), sent, "{after:?}");
    }
}

#[test]
fn the_secret_is_sent_as_the_issuer_supports_it() {
    let is_basic = |methods: serde_json::Value| {
        let mut configuration = serde_json::json!({"issuer": "", "authorization_endpoint": "",
            "token_endpoint": "", "jwks_uri": ""});
        configuration["token_endpoint_auth_methods_supported"] = methods;
        let configuration: Configuration =
            serde_json::from_value(configuration).expect("a configuration");
        matches!(configuration.auth_type(), AuthType::BasicAuth)
    };
    assert!(is_basic(serde_json::Value::Null));
    assert!(is_basic(serde_json::json!(["client_secret_post", "client_secret_basic"])));
    assert!(!is_basic(serde_json::json!(["client_secret_post"])));
}

#[test]
fn addresses_without_tls_are_refused_except_on_this_machine() {
    assert!(url("https://id.example/token").is_ok() && url("http://127.0.0.1:9/x").is_ok());
    assert!(url("http://id.example/token").is_err() && url("token").is_err());
}
