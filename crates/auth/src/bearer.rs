//! Parses the `Authorization` header.

use super::AuthenticationError;

/// The maximum length of a token or key, in bytes. A longer token or key is invalid.
pub(super) const TOKEN_BYTES_MAX: usize = 4096;
pub(super) const TOKEN_TOO_LONG: AuthenticationError =
    AuthenticationError::Bad("the token is longer than 4096 bytes");

/// Returns the token after `Bearer`. `values` has all `Authorization` headers of the request.
///
/// # Errors
/// When the header is missing or repeated, or does not have the form `Bearer TOKEN`.
pub fn bearer<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<&'a str, AuthenticationError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(AuthenticationError::Missing)?;
    if values.next().is_some() {
        return Err(AuthenticationError::Bad("send the Authorization header only once"));
    }
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(AuthenticationError::Bad("the Authorization header is not ASCII"))?;
    let token = match text.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_ascii(),
        _ => {
            return Err(AuthenticationError::Bad(
                "the Authorization header must have the form: Bearer TOKEN",
            ));
        }
    };
    match token.len() {
        0 => Err(AuthenticationError::Missing),
        1..=TOKEN_BYTES_MAX => Ok(token),
        _ => Err(AuthenticationError::Bad("the token or key is longer than 4096 bytes")),
    }
}

/// The cookie in which the pages keep the token that the shop gave to the buyer.
pub const BUYER_COOKIE: &str = "doorbuster_buyer";
/// A request that changes data and authenticates with the cookie must have this header. Another
/// site can make a browser send the cookie, but not this header.
pub const PAGE_HEADER: &str = "x-doorbuster-page";

/// Returns a buyer's token from the `Authorization` header or, if this header is missing, from the
/// cookie [`BUYER_COOKIE`]. `may_change` is true if the cookie may authenticate this request,
/// because the request changes no data or has the header [`PAGE_HEADER`].
///
/// # Errors
///
/// Like [`bearer`]. Also fails if the token is in the cookie and `may_change` is false.
pub fn buyer_token<'a>(
    authorization: impl IntoIterator<Item = &'a [u8]>,
    cookies: impl IntoIterator<Item = &'a [u8]>,
    may_change: bool,
) -> Result<&'a str, AuthenticationError> {
    let denied = match bearer(authorization) {
        Err(AuthenticationError::Missing) => AuthenticationError::Missing,
        other => return other,
    };
    let Some(token) = cookie(cookies, BUYER_COOKIE) else { return Err(denied) };
    match (may_change, token.len()) {
        (_, 0) => Err(denied),
        (false, _) => Err(AuthenticationError::Bad(
            "a request that changes data and authenticates with a page's cookie must have the \
             header X-Doorbuster-Page: 1",
        )),
        (true, 1..=TOKEN_BYTES_MAX) => Ok(token),
        (true, _) => Err(TOKEN_TOO_LONG),
    }
}

/// Returns the value of the first cookie with this name. The other cookies are not decoded, because
/// another program on the same host may set cookies that are not UTF-8.
pub fn cookie<'a>(headers: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Option<&'a str> {
    let pairs = headers.into_iter().flat_map(|header| header.split(|byte| *byte == b';'));
    let mut cookies = pairs.filter_map(|pair| {
        let mut parts = pair.trim_ascii().splitn(2, |byte| *byte == b'=');
        Some((parts.next()?, parts.next()?))
    });
    let (_, value) = cookies.find(|(found, _)| *found == name.as_bytes())?;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_counts_without_authorization_and_a_change_needs_the_header() {
        let check = |headers: &[&str], cookies: &[&str], may_change: bool| {
            let bytes = |values: &[&str]| -> Vec<Vec<u8>> {
                values.iter().map(|value| value.as_bytes().to_vec()).collect()
            };
            let (headers, cookies) = (bytes(headers), bytes(cookies));
            buyer_token(
                headers.iter().map(Vec::as_slice),
                cookies.iter().map(Vec::as_slice),
                may_change,
            )
            .map(str::to_owned)
            .map_err(|denied| matches!(denied, AuthenticationError::Missing))
        };
        let cookie = ["a=1; doorbuster_buyer=a.b.c; b=2"];
        assert_eq!(check(&[], &cookie, true), Ok("a.b.c".to_owned()));
        assert_eq!(check(&[], &cookie, false), Err(false));
        assert_eq!(check(&["Bearer x"], &cookie, false), Ok("x".to_owned()));
        assert_eq!(check(&["Basic x"], &cookie, true), Err(false));
        assert_eq!(check(&[], &["doorbuster_buyer="], true), Err(true));
        assert_eq!(check(&[], &["other=a.b.c"], true), Err(true));
    }

    #[test]
    fn a_cookie_is_found_beside_a_cookie_that_is_not_utf8() {
        let cookies = [b"name=Zo\xeb; doorbuster_buyer=a.b.c".as_slice()];
        assert_eq!(buyer_token(std::iter::empty(), cookies, true), Ok("a.b.c"));
        assert_eq!(cookie([b"doorbuster_buyer=Zo\xeb".as_slice()], BUYER_COOKIE), None);
    }

    #[test]
    fn exactly_one_bearer_token_is_accepted() {
        let check = |values: &[&str], expected: Result<&str, bool>| {
            let found = bearer(values.iter().map(|value| value.as_bytes()))
                .map_err(|denied| denied == AuthenticationError::Missing);
            assert_eq!(found, expected, "{values:?}");
        };
        check(&["Bearer abc"], Ok("abc"));
        check(&["bEARER   abc "], Ok("abc"));
        check(&[], Err(true));
        check(&["Bearer "], Err(true));
        check(&[""], Err(false));
        check(&["Bearer"], Err(false));
        check(&["Basic abc"], Err(false));
        check(&["Bearer é"], Err(false));
        check(&["Bearer a", "Bearer a"], Err(false));
        check(&[&format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1))], Err(false));
    }
}
