//! The query string with which an issuer sends a browser back.

use reqwest::Url;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Callback {
    pub(super) state: String,
    pub(super) code: String,
    pub(super) iss: String,
}

impl Callback {
    pub(super) fn parse(query: &str) -> Self {
        let mut found = Self::default();
        let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else { return found };
        for (name, value) in url.query_pairs() {
            let place = match &*name {
                "state" => &mut found.state,
                "code" => &mut found.code,
                "iss" => &mut found.iss,
                _ => continue,
            };
            // A repeated parameter has no clear meaning, so the whole query string is treated as
            // empty. The caller then rejects the empty query string.
            *place = if place.is_empty() { value.into_owned() } else { return Self::default() };
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_with_a_repeated_parameter_is_empty() {
        let callback = Callback::parse("code=a%20b&state=s&iss=https%3A%2F%2Fid&x=1");
        assert_eq!((&*callback.code, &*callback.state, &*callback.iss), ("a b", "s", "https://id"));
        assert_eq!(Callback::parse("code=a&code=b&state=s"), Callback::default());
        assert_eq!(Callback::parse(""), Callback::default());
    }
}
