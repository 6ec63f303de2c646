//! Hides the passwords of addresses in texts that the program shows.

/// Replaces the password of each address `SCHEME://USER:PASSWORD@HOST` in the text with `***`. The
/// address need not be a valid URL, because the message of a fault may quote an invalid one.
pub(super) fn hide_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        let address = part.rsplit_once('@');
        let secret = address.and_then(|(user, host)| Some((user.split_once(':')?.0, host)));
        match secret {
            Some((user, host)) => shown.extend([user, ":***@", host]),
            None => shown.push_str(part),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passwords_of_addresses_are_hidden() {
        for (text, shown) in [
            ("https://user:hush@shop.example/jwks", "https://user:***@shop.example/jwks"),
            ("https://:hush@[::1]:8080", "https://:***@[::1]:8080"),
            ("htps://user:hu@sh@shop.example:x", "htps://user:***@shop.example:x"),
            (
                "\"http://a:hush@b\" is wrong; write http://HOST:PORT",
                "\"http://a:***@b\" is wrong; write http://HOST:PORT",
            ),
            ("postgres://user@host:5432/database", "postgres://user@host:5432/database"),
            ("mailto:shop@example.com", "mailto:shop@example.com"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("", ""),
        ] {
            assert_eq!(hide_passwords(text), shown);
        }
    }
}
