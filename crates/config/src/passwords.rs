//! Hides the passwords of addresses in texts that the program shows.

use reqwest::Url;

/// Replaces the password of each address `SCHEME://USER:PASSWORD@HOST` in the text with `***`. An
/// address ends at white space or at a quotation mark, because the message of a fault puts an
/// address in quotation marks.
pub(super) fn hide_passwords(text: &str) -> String {
    let is_separator = |char: char| char.is_whitespace() || char == '"';
    let hide = |word: &str| {
        let address = word.trim_end_matches(is_separator);
        format!("{}{}", hide_password(address), &word[address.len()..])
    };
    text.split_inclusive(is_separator).map(hide).collect()
}

/// Replaces the password of one address with `***`. The address need not be a valid URL, because a
/// fault may be about an invalid URL.
fn hide_password(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return hide_in_invalid(address) };
    let Some(password) = url.password().filter(|password| !password.is_empty()) else {
        return address.to_owned();
    };
    let shown = address.replacen(&format!(":{password}@"), ":***@", 1);
    // The parser escapes some characters of the password. Then the escaped password does not occur
    // in the text, so the result is the parsed URL instead of the text.
    if shown != address || url.set_password(Some("***")).is_err() { shown } else { url.into() }
}

/// Hides everything up to the last `@` of an invalid URL, because nothing shows where its password
/// ends.
fn hide_in_invalid(address: &str) -> String {
    let secret = || {
        let (scheme, rest) = address.split_once("://")?;
        let (user, host) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://{}:***@{host}", user.split_once(':')?.0))
    };
    secret().unwrap_or_else(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passwords_of_addresses_are_hidden() {
        for (text, shown) in [
            ("https://user:hush@shop.example/jwks", "https://user:***@shop.example/jwks"),
            ("https:/user:hush@shop.example/jwks", "https:/user:***@shop.example/jwks"),
            ("https://u:h%C3%BCsh@a/@b", "https://u:***@a/@b"),
            ("https://u:h\u{fc}sh@a/@b", "https://u:***@a/@b"),
            ("https://:hush@[::1]:8080", "https://:***@[::1]:8080"),
            ("htps://user:hu@sh@shop.example:x", "htps://user:***@shop.example:x"),
            ("https://user:hu/sh@shop.example", "https://user:***@shop.example"),
            (
                "\"http://a:hush@b\" is wrong; write http://HOST:PORT",
                "\"http://a:***@b\" is wrong; write http://HOST:PORT",
            ),
            ("\"http:/a:hush@b\" is wrong", "\"http:/a:***@b\" is wrong"),
            ("postgres://user@host:5432/database", "postgres://user@host:5432/database"),
            ("postgres://u:hush@a:1,b:2/database", "postgres://u:***@a:1,b:2/database"),
            ("https://shop.example:8443/@brand", "https://shop.example:8443/@brand"),
            (
                "Track it at https://shop.example/orders: write to help@shop.example",
                "Track it at https://shop.example/orders: write to help@shop.example",
            ),
            ("mailto:shop@example.com", "mailto:shop@example.com"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("", ""),
        ] {
            assert_eq!(hide_passwords(text), shown);
        }
    }
}
