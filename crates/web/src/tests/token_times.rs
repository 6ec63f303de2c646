//! Tests that the server compares the times in tokens with the wall clock.
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use http::{Request, StatusCode};

use super::*;
use crate::purchase_handler::purchase;

async fn purchase_status(app: &Arc<App>, token: &str) -> StatusCode {
    let request = Request::post("/v1/orders")
        .header("authorization", format!("Bearer {token}"))
        .header("idempotency-key", "k")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"sale":"spring","item":"phone","units":1}"#));
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    purchase(app, peer, request.expect("a valid request")).await.status()
}

#[tokio::test]
async fn a_tokens_times_are_compared_with_the_wall_clock_after_a_step() {
    let (dir, start) = (TempDir::new(), Clock::default().wall().0);
    let wall = Arc::new(AtomicI64::new(start));
    let read = wall.clone();
    let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
    let flags = Flags { data_dir: Some(dir.path().to_owned()), ..Flags::default() };
    let environment = [("DOORBUSTER_AUTH__BUYER_SECRET".into(), SECRET.into())];
    let settings = load(&flags, environment.into_iter()).expect("valid settings");
    let app = app_with_clock(&dir, &settings, 1, clock).await;
    // The test moves the wall clock forward and then back. The store's clock follows neither step.
    for step_ms in [600_000, -600_000] {
        wall.store(start + step_ms, Ordering::Relaxed);
        let ends_in = |secs: i64| {
            let exp = (start + step_ms) / 1_000 + secs;
            token(SECRET.as_bytes(), &NewToken { exp, ..NewToken::new("anna", 0, TIMEOUT) })
        };
        let (valid, expired) = (ends_in(60), ends_in(-500));
        assert!(app.buyer_of_token(&valid).await.is_ok(), "{step_ms}");
        assert!(app.buyer_of_token(&expired).await.is_err(), "{step_ms}");
        assert_ne!(purchase_status(&app, &valid).await, StatusCode::UNAUTHORIZED, "{step_ms}");
        assert_eq!(purchase_status(&app, &expired).await, StatusCode::UNAUTHORIZED, "{step_ms}");
    }
}
