//! Parses the `Authorization` header.

use super::Denied;

/// Longest token or key that is read, in bytes; a longer one is invalid.
pub(super) const TOKEN_BYTES_MAX: usize = 4096;

/// The token after `Bearer` in the only `Authorization` header; `values` are the header's values.
///
/// # Errors
/// When the header is missing, repeated, or has another form.
pub fn bearer<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a str, Denied> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(Denied::Missing)?;
    if values.next().is_some() {
        return Err(Denied::Bad("Authorization is sent more than once"));
    }
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(Denied::Bad("Authorization is not ASCII"))?;
    let token = match text.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_ascii(),
        _ => return Err(Denied::Bad("Authorization is not of the form: Bearer TOKEN")),
    };
    match token.len() {
        0 => Err(Denied::Missing),
        1..=TOKEN_BYTES_MAX => Ok(token),
        _ => Err(Denied::Bad("the token or key is too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bearer_token_is_accepted() {
        let check = |values: &[&str], expected: Result<&str, bool>| {
            let found = bearer(values.iter().map(|value| value.as_bytes()))
                .map_err(|denied| denied == Denied::Missing);
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
