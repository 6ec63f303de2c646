//! Tests the pictures of challenges.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{answer, challenge, open};
use crate::app::TestApp;
use crate::sealed::solve_sealed;

/// Returns the types of the chunks of a PNG file in a data URL. Another chunk than the required
/// ones could contain a text.
fn chunks(url: &Value) -> Vec<String> {
    let data = url.as_str().and_then(|url| url.strip_prefix("data:image/png;base64,"));
    let file = STANDARD.decode(data.expect("the URL of a PNG file")).expect("base64");
    assert!(file.starts_with(b"\x89PNG\r\n\x1a\n"), "this is not a PNG file");
    let mut names = Vec::new();
    let mut rest = &file[8..];
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        names.push(String::from_utf8_lossy(&rest[4..8]).into_owned());
        rest = &rest[12 + length..];
    }
    assert!(rest.is_empty(), "bytes follow the last chunk");
    names.dedup();
    names
}

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
        assert_eq!(chunks(url), ["IHDR", "IDAT", "IEND"]);
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
