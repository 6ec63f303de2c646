//! Tests of the table of endpoints.

use std::collections::BTreeSet;

use super::*;

#[test]
fn each_endpoint_is_listed_once_and_completely() {
    let mut seen = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for endpoint in all() {
        assert!(
            seen.insert((endpoint.path, endpoint.method)),
            "{} {}",
            endpoint.method.as_str(),
            endpoint.path
        );
        assert!(ids.insert(endpoint.id), "{}", endpoint.id);
        assert!(endpoint.path.starts_with('/') && !endpoint.summary.is_empty(), "{}", endpoint.id);
        assert!(!endpoint.responses.is_empty(), "{}", endpoint.id);
        assert_eq!(endpoint.path.matches('{').count(), endpoint.path_params().count());
        assert!(
            endpoint.params.iter().all(|param| param.location() != ParamLocation::Path),
            "{}",
            endpoint.id
        );
        // `create_session` needs no operator's key in its headers, because the request's body has
        // the key.
        let admin = endpoint.path.starts_with("/v1/admin/") && endpoint.id != "create_session";
        assert_eq!(admin, matches!(endpoint.auth, Auth::Operator(_)), "{}", endpoint.id);
    }
}

#[test]
fn an_endpoint_has_the_codes_that_follow_from_its_shape() {
    let check = |id: &str, expected: &str| {
        let endpoint = all().find(|endpoint| endpoint.id == id).expect(id);
        let codes: Vec<&str> = endpoint.problem_codes().into_iter().map(Code::as_str).collect();
        assert_eq!(codes.join(" "), expected, "{id}");
    };
    check(
        "purchase",
        "malformed_request unauthenticated forbidden not_eligible pass_required pass_invalid \
         pass_expired waiting_room not_found method_not_allowed not_acceptable sold_out \
         limit_reached not_started paused ended body_too_large unsupported_media_type \
         invalid_request idempotency_key_reused rate_limited overloaded unavailable",
    );
    check(
        "change_sale",
        "malformed_request unauthenticated forbidden not_found method_not_allowed not_acceptable \
         wrong_state precondition_failed body_too_large unsupported_media_type invalid_request \
         overloaded unavailable",
    );
    check("get_status", "not_found method_not_allowed not_acceptable overloaded unavailable");
    check(
        "delete_key",
        "unauthenticated forbidden not_found method_not_allowed overloaded unavailable",
    );
    check("readiness", "method_not_allowed unavailable");
    for id in ["take_sandbox_message", "take_stripe_message"] {
        let codes = "malformed_request unauthenticated not_found method_not_allowed \
                     body_too_large unavailable";
        check(id, codes);
        assert!(all().any(|endpoint| endpoint.id == id && endpoint.body.is_some()), "{id}");
    }
}

#[test]
fn every_code_belongs_to_an_endpoint_or_to_all_endpoints() {
    for code in Code::ALL {
        let answered = all().any(|endpoint| endpoint.problem_codes().contains(&code));
        let of_all = matches!(code, Code::Internal | Code::NotImplemented);
        assert_ne!(answered, of_all, "{}", code.as_str());
    }
}
