//! Tests the pictures of challenges.

use serde_json::{Value, json};

use super::{answer, challenge, open};
use crate::app::TestApp;
use crate::sealed::solve_sealed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn picture_files_reveal_no_solution_and_a_wrong_answer_spends_them() {
    let key = "5a".repeat(32);
    let app = TestApp::with(&[("DOORBUSTER_PASS__KEYS", &key)]).await;
    let solve = |challenge: &Value| solve_sealed([0x5a; 32], challenge, "spring", "anna");
    open(&app, "spring", "slider").await;
    let puzzle = challenge(&app, "anna", "spring", json!({})).await;
    let members: Vec<&str> =
        puzzle.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        members,
        ["background", "challenge", "expires_at", "height", "kind", "piece", "piece_y", "width"]
    );
    assert_eq!(
        (&puzzle["kind"], &puzzle["width"], &puzzle["height"]),
        (&json!("slider"), &json!(340), &json!(170))
    );
    let image = challenge(&app, "anna", "spring", json!({"kind": "image"})).await;
    for url in [&puzzle["background"], &puzzle["piece"], &image["image"]] {
        assert!(
            url.as_str().is_some_and(|url| url.starts_with("data:image/png;base64,iVBORw0KGgo"))
        );
    }
    for (wrong, kind) in [
        (json!({"x": 0}), "slider"),
        (json!({"text": "k7q2m"}), "slider"),
        (json!({"x": 1}), "image"),
    ] {
        let issued = challenge(&app, "anna", "spring", json!({"kind": kind})).await;
        for sent in [wrong, solve(&issued)] {
            assert_eq!(
                answer(&app, "anna", "spring", &issued, &sent).await,
                "403 challenge_failed",
                "{kind} {sent}"
            );
        }
    }
    for unspent in [&puzzle, &image] {
        assert_eq!(answer(&app, "anna", "spring", unspent, &solve(unspent)).await, "201");
    }
    let twice = challenge(&app, "anna", "spring", json!({})).await;
    assert_ne!(twice["challenge"], puzzle["challenge"]);
    assert_ne!(twice["background"], puzzle["background"], "a picture must not be issued twice");
}
