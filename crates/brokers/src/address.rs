//! The address of a message broker: a URL that contains all settings of the connection.
use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

const REDACTED: &str = "***";
/// The default exchange (AMQP), or the default prefix of subjects (NATS).
const DEFAULT_NAME: &str = "doorbuster";
/// The maximum length of an exchange's name, and of a prefix of subjects, in bytes.
const NAME_MAX: usize = 127;

/// A kind of broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// RabbitMQ and other AMQP 0-9-1 brokers.
    Amqp,
    /// NATS JetStream.
    Nats,
}

impl BrokerKind {
    /// Returns the kind of broker, and whether the scheme uses TLS.
    fn from_scheme(scheme: &str) -> Option<(Self, bool)> {
        match scheme {
            "amqp" => Some((Self::Amqp, false)),
            "amqps" => Some((Self::Amqp, true)),
            "nats" => Some((Self::Nats, false)),
            "tls" => Some((Self::Nats, true)),
            _ => None,
        }
    }

    /// Returns whether this program was built with support for this kind of broker.
    #[must_use]
    pub fn is_built(self) -> bool {
        match self {
            Self::Amqp => cfg!(feature = "amqp"),
            Self::Nats => cfg!(feature = "nats"),
        }
    }

    /// Returns the error message for a program that was built without this kind of broker.
    #[must_use]
    pub fn not_built_message(self) -> &'static str {
        match self {
            Self::Amqp => "this program was built without AMQP: build it with --features amqp",
            Self::Nats => "this program was built without NATS: build it with --features nats",
        }
    }

    fn port(self, is_tls: bool) -> u16 {
        match (self, is_tls) {
            (Self::Amqp, false) => 5672,
            (Self::Amqp, true) => 5671,
            (Self::Nats, _) => 4222,
        }
    }

    /// The query parameter that names the exchange (AMQP) or the prefix of subjects (NATS).
    fn parameter(self) -> &'static str {
        match self {
            Self::Amqp => "exchange",
            Self::Nats => "prefix",
        }
    }
}

/// The address of a broker. `Display` and `Debug` write `***` in place of the password or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    kind: BrokerKind,
    is_tls: bool,
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    virtual_host: String,
    name: String,
    redacted: String,
}

impl Address {
    /// Returns whether a text begins with a broker's URL scheme, for example `nats://`.
    #[must_use]
    pub fn is_broker_url(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| {
            BrokerKind::from_scheme(&scheme.to_ascii_lowercase()).is_some()
        })
    }

    /// Parses an address, even if the program was built without this kind of broker.
    ///
    /// # Errors
    /// Returns a text that says what is wrong. The text contains no part of the address, because
    /// the address may contain a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "it is not an address")?;
        let (kind, is_tls) = BrokerKind::from_scheme(url.scheme())
            .ok_or("it must begin with amqp://, amqps://, nats:// or tls://")?;
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("it must name a host");
        }
        if url.port() == Some(0) {
            return Err("port 0 is not a valid port");
        }
        if url.fragment().is_some() {
            return Err("it must not have a fragment");
        }
        let user = Some(percent_decode(url.username())?).filter(|user| !user.is_empty());
        let password =
            url.password().map(percent_decode).transpose()?.filter(|password| !password.is_empty());
        if [&user, &password].into_iter().flatten().any(|word| word == REDACTED) {
            return Err("it contains *** in place of a password; write the password itself");
        }
        let virtual_host = percent_decode(url.path().trim_start_matches('/'))?;
        match kind {
            BrokerKind::Amqp if user.is_none() || password.is_none() => {
                return Err(
                    "it needs a user name and a password: amqp://USER:PASSWORD@HOST/VIRTUAL-HOST",
                );
            }
            BrokerKind::Nats if user.is_none() && password.is_some() => {
                return Err("it has a password but no user name");
            }
            BrokerKind::Nats if !virtual_host.is_empty() => return Err("it must not have a path"),
            BrokerKind::Amqp | BrokerKind::Nats => {}
        }
        Ok(Self {
            kind,
            is_tls,
            host: host.to_owned(),
            port: url.port().unwrap_or_else(|| kind.port(is_tls)),
            virtual_host: if virtual_host.is_empty() { "/".to_owned() } else { virtual_host },
            name: parse_name(kind, &url)?,
            redacted: redacted(url.clone(), kind, password.is_some()),
            user,
            password,
        })
    }

    /// Returns the kind of broker.
    #[must_use]
    pub fn kind(&self) -> BrokerKind {
        self.kind
    }

    /// Returns the host: a name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

#[cfg_attr(
    not(any(feature = "amqp", feature = "nats")),
    allow(dead_code, reason = "no kind of broker is built in")
)]
impl Address {
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    pub(crate) fn virtual_host(&self) -> &str {
        &self.virtual_host
    }

    /// The name of the exchange, or the prefix of subjects.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.redacted)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

fn percent_decode(text: &str) -> Result<String, &'static str> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "its percent-encoded characters are not valid UTF-8")
}

/// Returns the name of the exchange or the prefix of subjects from the URL's query, or the default.
/// The query must have no other parameter.
fn parse_name(kind: BrokerKind, url: &Url) -> Result<String, &'static str> {
    let mut found = None;
    for (key, value) in url.query_pairs() {
        if key != kind.parameter() || found.is_some() {
            return Err(match kind {
                BrokerKind::Amqp => "the part after ? may contain only exchange=NAME, once",
                BrokerKind::Nats => "the part after ? may contain only prefix=NAME, once",
            });
        }
        found = Some(value.into_owned());
    }
    let name = found.unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if name.len() > NAME_MAX || !name.split('.').all(is_word) {
        return Err(match kind {
            BrokerKind::Amqp => {
                "the exchange must consist of words with dots between them, at most 127 characters \
                 in total; a word may contain only A-Z, a-z, 0-9, _ and -"
            }
            BrokerKind::Nats => {
                "the prefix must consist of words with dots between them, at most 127 characters \
                 in total; a word may contain only A-Z, a-z, 0-9, _ and -"
            }
        });
    }
    Ok(name)
}

/// Returns the address with `***` in place of its secret. The secret is the password. In a NATS
/// address without a password, the user name is a token, so the user name is the secret.
fn redacted(mut url: Url, kind: BrokerKind, has_password: bool) -> String {
    // Setting the password and the user name cannot fail, because the URL has a host.
    if has_password {
        let _ = url.set_password(Some(REDACTED));
    } else if kind == BrokerKind::Nats && !url.username().is_empty() {
        let _ = url.set_username(REDACTED);
        let _ = url.set_password(None);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Address {
        Address::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn an_address_has_all_settings() {
        let plain = read("amqp://shop:p%40ss@rabbit.internal");
        assert_eq!(
            (plain.kind(), plain.is_tls(), plain.host(), plain.port()),
            (BrokerKind::Amqp, false, "rabbit.internal", 5672)
        );
        assert_eq!((plain.user(), plain.password()), (Some("shop"), Some("p@ss")));
        assert_eq!((plain.virtual_host(), plain.name()), ("/", "doorbuster"));
        let whole = read("amqps://shop:x@[fd00::1]:99/my%2Fhost?exchange=shop.events");
        assert_eq!((whole.is_tls(), whole.host(), whole.port()), (true, "fd00::1", 99));
        assert_eq!((whole.virtual_host(), whole.name()), ("my/host", "shop.events"));
        let token = read("tls://s3cr3t@nats.internal:4333?prefix=a-b.c_d");
        assert_eq!(
            (token.kind(), token.is_tls(), token.user(), token.password()),
            (BrokerKind::Nats, true, Some("s3cr3t"), None)
        );
        assert_eq!((token.port(), token.name()), (4333, "a-b.c_d"));
        assert_eq!(read("nats://10.0.0.7").user(), None);
    }

    #[test]
    fn a_printed_address_contains_no_secret() {
        let check = |text: &str, redacted: &str| {
            let address = read(text);
            assert_eq!(address.to_string(), redacted);
            assert_eq!(format!("{address:?}"), format!("Address({redacted})"));
        };
        check("amqp://shop:s3cr3t@h:1/v?exchange=e", "amqp://shop:***@h:1/v?exchange=e");
        check("nats://shop:s3cr3t@h", "nats://shop:***@h");
        check("nats://s3cr3t@h?prefix=p", "nats://***@h?prefix=p");
        check("nats://s3cr3t:@h", "nats://***@h");
        check("nats://h", "nats://h");
    }

    #[test]
    fn an_invalid_address_is_refused_without_being_quoted() {
        let check = |text: &str, word: &str| {
            let why = Address::parse(text).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
        };
        check("rabbit", "not an address");
        check("kafka://h", "must begin with");
        check("amqp:///v", "host");
        check("nats://", "host");
        check("amqp://h", "user name and a password");
        check("amqp://shop@h", "user name and a password");
        check("amqp://shop:***@h", "write the password");
        check("nats://***@h", "write the password");
        check("nats://:x@h", "no user name");
        check("nats://h/path", "path");
        check("nats://h:0", "port");
        check("nats://h#x", "fragment");
        check("nats://h?exchange=x", "prefix=NAME");
        check("amqp://a:b@h?exchange=x&exchange=y", "once");
        check("amqp://a:b@h?heartbeat=0", "exchange=NAME");
        for name in ["", "a..b", ".a", "a.", "a*", "a>", "a%20b", "%C3%A9", &"x".repeat(128)] {
            check(&format!("nats://h?prefix={name}"), "words");
            check(&format!("amqp://a:b@h?exchange={name}"), "words");
        }
        check("amqp://a:%FF@h", "UTF-8");
    }

    #[test]
    fn a_brokers_address_is_recognised_by_its_scheme() {
        assert!(
            ["amqp://", "AMQPS://x", "nats://x", "tls://x"].into_iter().all(Address::is_broker_url)
        );
        assert!(
            !["https://x", "amqp", "x", "", "mqtt://x"].into_iter().any(Address::is_broker_url)
        );
    }
}
