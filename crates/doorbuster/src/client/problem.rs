//! A server's refusal, read leniently (a newer server may know more codes) and told in one
//! sentence.

use serde::Deserialize;

/// A problem as the contract writes it; only what is told.
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// A short name for a person.
    pub title: String,
    /// The stable name.
    pub code: String,
    /// What happened this time.
    #[serde(default)]
    pub detail: String,
    /// Whether the same may be sent again.
    #[serde(default)]
    pub retryable: bool,
    /// What is wrong with the request.
    #[serde(default)]
    pub errors: Vec<Fault>,
    /// The problem, byte for byte.
    #[serde(skip)]
    pub text: String,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    /// Where in the body; empty for the body as a whole, and where a header or a parameter is at
    /// fault.
    pub pointer: Option<String>,
    /// Which header.
    pub header: Option<String>,
    /// Which parameter of the address.
    pub parameter: Option<String>,
    /// What.
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

impl Problem {
    /// The problem in a body, if there is one.
    pub fn read(text: &str) -> Option<Self> {
        let problem: Self = serde_json::from_str(text).ok()?;
        Some(Self { text: text.to_owned(), ..problem })
    }

    /// One sentence, with the code at its end.
    pub fn sentence(&self) -> String {
        let mut sentence = self.title.clone();
        let faults: Vec<String> = self.errors.iter().map(Fault::describe).collect();
        let why = if faults.is_empty() { self.detail.clone() } else { faults.join("; ") };
        if !why.is_empty() {
            sentence = format!("{sentence}: {}", why.trim_end_matches('.'));
        }
        let hint = match self.code.as_str() {
            "unauthenticated" => "; check --key or DOORBUSTER_ADMIN_KEY",
            // Not where the server says so itself.
            _ if self.retryable && !why.contains("again") => "; try again in a moment",
            _ => "",
        };
        format!("{sentence}{hint} ({}).", self.code)
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
        let text = r#"{"type":"/docs#wrong_state","title":"Wrong state","status":409,"code":"wrong_state",
            "detail":"the sale is closed","retryable":false,"state":"closed"}"#;
        assert_eq!(sentence(text), "Wrong state: the sale is closed (wrong_state).");
        let text = r#"{"title":"Invalid request","status":422,"code":"invalid_request","detail":"2 faults",
            "errors":[{"pointer":"/id","detail":"is missing"},{"pointer":"/items/0/stock","detail":"must not be negative"}]}"#;
        assert_eq!(
            sentence(text),
            "Invalid request: /id is missing; /items/0/stock must not be negative \
             (invalid_request)."
        );
        let text = r#"{"title":"Unavailable","code":"unavailable","detail":"the store is away.","retryable":true}"#;
        assert_eq!(
            sentence(text),
            "Unavailable: the store is away; try again in a moment (unavailable)."
        );
    }

    #[test]
    fn a_wrong_parameter_or_header_is_named_and_nothing_is_said_twice() {
        let text = r#"{"title":"Invalid request","code":"invalid_request","detail":"1 fault",
            "errors":[{"pointer":"","parameter":"limit","detail":"must be a whole number from 1 to 200"},
                      {"pointer":"","header":"Idempotency-Key","detail":"is missing"},
                      {"pointer":"","detail":"is too long"}]}"#;
        assert_eq!(
            sentence(text),
            "Invalid request: parameter limit must be a whole number from 1 to 200; header Idempotency-Key is missing; \
             is too long (invalid_request)."
        );
        let text = r#"{"title":"Unavailable","code":"unavailable","retryable":true,
            "detail":"the store is away; send the same request again"}"#;
        assert_eq!(
            sentence(text),
            "Unavailable: the store is away; send the same request again (unavailable)."
        );
        let text = r#"{"title":"Forbidden","code":"forbidden","detail":"this key's role is viewer; operator is needed"}"#;
        assert_eq!(
            sentence(text),
            "Forbidden: this key's role is viewer; operator is needed (forbidden)."
        );
    }

    #[test]
    fn a_code_of_tomorrow_is_told_too_and_another_servers_page_is_none() {
        assert_eq!(sentence(r#"{"title":"Too windy","code":"windy"}"#), "Too windy (windy).");
        assert!(Problem::read("<html>").is_none());
        assert!(Problem::read(r#"{"error":"no"}"#).is_none());
    }
}
