//! A server's problem document, and the sentence that describes it. The parser accepts unknown
//! codes, because a newer server may send them.

use std::borrow::Cow;

use serde::Deserialize;

/// A problem document from the server, with the members that this program uses.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// The short title.
    pub title: String,
    /// The stable code.
    pub code: String,
    /// The description of this occurrence of the problem.
    #[serde(default)]
    pub detail: String,
    /// True if the client may repeat the same request.
    #[serde(default)]
    pub retryable: bool,
    /// The faults of the request.
    #[serde(default)]
    pub errors: Vec<Fault>,
    /// The text of the document, unchanged.
    #[serde(skip)]
    pub text: String,
    /// True if the command has `--json`. The command then prints the document instead of the
    /// sentence.
    #[serde(skip)]
    pub wants_json: bool,
}

/// One fault of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    /// JSON Pointer to the faulty member of the body. Empty if the whole body is faulty, or if the
    /// fault is in a header or a parameter.
    pub pointer: Option<String>,
    /// Name of the header.
    pub header: Option<String>,
    /// Name of the query parameter.
    pub parameter: Option<String>,
    /// The description of the fault.
    pub detail: String,
}

impl Fault {
    fn describe(&self) -> String {
        let place = match (&self.header, &self.parameter, &self.pointer) {
            (Some(header), ..) => format!("header {header} "),
            (_, Some(parameter), _) => format!("parameter {parameter} "),
            (.., Some(pointer)) if !pointer.is_empty() => format!("{pointer} "),
            _ => String::new(),
        };
        format!("{place}{}", self.detail)
    }
}

/// The members of a problem of `/readyz`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ReadinessMembers {
    reasons: Vec<String>,
    warnings: Vec<Cow<'static, str>>,
}

/// Why a server is not ready.
#[derive(Debug, PartialEq, Eq)]
pub struct NotReady {
    /// The reasons as one text.
    pub reason: String,
    /// What is degraded.
    pub warnings: Vec<Cow<'static, str>>,
}

impl Problem {
    /// Parses a problem document. Returns `None` if the text is not a problem document.
    pub fn read(text: &str) -> Option<Self> {
        let problem: Self = serde_json::from_str(text).ok()?;
        Some(Self { text: text.to_owned(), ..problem })
    }

    /// Returns one sentence that describes the problem and ends with its code.
    pub fn sentence(&self) -> String {
        let mut sentence = self.title.clone();
        let faults: Vec<String> = self.errors.iter().map(Fault::describe).collect();
        let why = if faults.is_empty() { self.detail.clone() } else { faults.join("; ") };
        if !why.is_empty() {
            sentence = format!("{sentence}: {}", why.trim_end_matches('.'));
        }
        let hint = match self.code.as_str() {
            "unauthenticated" => "; check --key or DOORBUSTER_ADMIN_KEY",
            // No hint is needed if the server's text already says to try again.
            _ if self.retryable && !why.contains("again") => "; try again in a moment",
            _ => "",
        };
        format!("{sentence}{hint} ({}).", self.code)
    }

    /// Returns the reasons and the warnings in the problem document with which `/readyz` reports
    /// that the server is not ready. If the document has no reasons, the reason is
    /// [`Self::sentence`].
    pub fn not_ready(&self) -> NotReady {
        let members: ReadinessMembers = serde_json::from_str(&self.text).unwrap_or_default();
        let reason = match members.reasons.is_empty() {
            true => self.sentence(),
            false => members.reasons.join("; "),
        };
        NotReady { reason, warnings: members.warnings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(text: &str) -> String {
        Problem::read(text).expect("a problem").sentence()
    }

    #[test]
    fn a_problem_is_one_sentence_with_its_code() {
        let text = r#"{"type":"/docs#wrong_state","title":"Wrong state","status":409,
            "code":"wrong_state","detail":"the sale is closed","retryable":false,"state":"closed"}"#;
        assert_eq!(sentence(text), "Wrong state: the sale is closed (wrong_state).");
        let text = r#"{"title":"Invalid request","status":422,"code":"invalid_request",
            "detail":"2 faults","errors":[{"pointer":"/id","detail":"is missing"},
            {"pointer":"/items/0/stock","detail":"must not be negative"}]}"#;
        assert_eq!(
            sentence(text),
            "Invalid request: /id is missing; /items/0/stock must not be negative \
             (invalid_request)."
        );
        let text = r#"{"title":"Unavailable","code":"unavailable","detail":"the store is unavailable.",
            "retryable":true}"#;
        assert_eq!(
            sentence(text),
            "Unavailable: the store is unavailable; try again in a moment (unavailable)."
        );
    }

    #[test]
    fn a_fault_names_its_parameter_or_header_and_a_hint_is_not_repeated() {
        let text = r#"{"title":"Invalid request","code":"invalid_request","detail":"1 fault",
            "errors":[{"pointer":"","parameter":"limit",
                       "detail":"must be a whole number from 1 to 200"},
                      {"pointer":"","header":"Idempotency-Key","detail":"is missing"},
                      {"pointer":"","detail":"is too long"}]}"#;
        assert_eq!(
            sentence(text),
            "Invalid request: parameter limit must be a whole number from 1 to 200; header \
             Idempotency-Key is missing; \
             is too long (invalid_request)."
        );
        let text = r#"{"title":"Unavailable","code":"unavailable","retryable":true,
            "detail":"the store is unavailable; send the same request again"}"#;
        assert_eq!(
            sentence(text),
            "Unavailable: the store is unavailable; send the same request again (unavailable)."
        );
        let text = r#"{"title":"Forbidden","code":"forbidden",
            "detail":"this key's role is viewer; operator is needed"}"#;
        assert_eq!(
            sentence(text),
            "Forbidden: this key's role is viewer; operator is needed (forbidden)."
        );
    }

    #[test]
    fn a_server_that_is_not_ready_gives_its_reasons_and_warnings() {
        let not_ready = |text: &str| Problem::read(text).expect("a problem").not_ready();
        let text = r#"{"title":"Unavailable","code":"unavailable","retryable":true,
            "detail":"this node is not ready; see reasons",
            "reasons":["store_stalled","stopping"],"warnings":["synchronous_standby_missing"]}"#;
        let warnings = vec!["synchronous_standby_missing".into()];
        let reason = "store_stalled; stopping".to_owned();
        assert_eq!(not_ready(text), NotReady { reason, warnings });
        let text = r#"{"title":"Overloaded","code":"overloaded"}"#;
        let reason = "Overloaded (overloaded).".to_owned();
        assert_eq!(not_ready(text), NotReady { reason, warnings: Vec::new() });
    }

    #[test]
    fn an_unknown_code_is_described_and_another_servers_page_is_not_a_problem_document() {
        assert_eq!(sentence(r#"{"title":"Too windy","code":"windy"}"#), "Too windy (windy).");
        assert!(Problem::read("<html>").is_none());
        assert!(Problem::read(r#"{"error":"no"}"#).is_none());
    }
}
