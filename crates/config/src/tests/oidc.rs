//! Tests the settings for the sign-in of operators by OpenID Connect.

use super::*;

#[test]
fn an_empty_claim_or_an_empty_value_of_the_claim_is_refused() {
    let read = |more: &str| {
        let (_dir, flags) = file(&format!(
            "[page]\nurl = \"https://sale.example\"\n[console.oidc]\n\
             issuer = \"https://id.example\"\nclient_id = \"doorbuster\"\n\
             client_secret = \"hush\"\n{more}\n"
        ));
        load(&flags, environment(&[]))
    };
    let settings = read("admins = [\"admins\"]").expect("valid").oidc.expect("a sign-in");
    assert_eq!((settings.role_claim.as_str(), settings.roles.len()), ("groups", 1));
    for (more, setting) in [
        ("admins = [\"admins\"]\nrole_claim = \"\"", "console.oidc.role_claim"),
        ("admins = [\"admins\", \"\"]", "console.oidc.admins"),
        ("operators = [\"\"]", "console.oidc.operators"),
        ("viewers = [\" \"]", "console.oidc.viewers"),
    ] {
        let error = read(more).expect_err(more);
        let message = error.to_string();
        assert_eq!(error.0.len(), 1, "{message}");
        assert!(message.starts_with(setting) && message.contains("empty"), "{more}: {message}");
    }
}
