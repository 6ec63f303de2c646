//! An address of PostgreSQL, as a person writes it.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::connect::{Tls, TlsError};
use crate::verify::CertCheck;

/// Where the database is, and how its connections are protected.
#[derive(Clone, Debug)]
pub struct Address {
    /// Everything but the certificates.
    pub config: Config,
    /// What connections are made with; used as far as the configuration asks for TLS.
    pub tls: Tls,
}

/// An address that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is not written as one.
    #[error("it is not an address for PostgreSQL: {0}")]
    Address(#[from] tokio_postgres::Error),
    /// It asks for a protection that there is not.
    #[error(
        "sslmode={0} is not supported; write disable, prefer, require, verify-ca or verify-full"
    )]
    Mode(String),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Address {
    /// Reads `postgres://…`, or words such as `host=… user=…`; only the former knows `sslrootcert`
    /// and the modes that verify.
    ///
    /// # Errors
    /// If it is no such address, or when its certificates cannot be read.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (text, asked) = TlsParams::split_from(text)?;
        let mut config: Config = text.parse()?;
        if let Some(mode) = asked.mode {
            config.ssl_mode(mode);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable | SslMode::Prefer => Tls::new(CertCheck::Nothing, None)?,
            _ => Tls::new(asked.check, asked.roots)?,
        };
        Ok(Self { config, tls })
    }
}

/// What the address says about TLS that its reader does not know.
struct TlsParams {
    mode: Option<SslMode>,
    check: CertCheck,
    roots: Option<PathBuf>,
}

impl TlsParams {
    /// Takes the words out of a URL's query; the rest, and they.
    fn split_from(text: &str) -> Result<(String, Self), AddressError> {
        let mut asked = Self { mode: None, check: CertCheck::Nothing, roots: None };
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        let Some((place, query)) = text.split_once('?').filter(|_| is_url) else {
            return Ok((text.to_owned(), asked));
        };
        let mut kept = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => (asked.mode, asked.check) = parse_mode(mode)?,
                // The system's certificates are trusted if no file is named.
                Some(("sslrootcert", "system")) => asked.roots = None,
                Some(("sslrootcert", path)) => {
                    asked.roots = Some(PathBuf::from(percent_decode(path)))
                }
                _ => kept.push(pair),
            }
        }
        if asked.roots.is_some() && asked.check == CertCheck::Nothing {
            asked.check = CertCheck::Authority;
        }
        let question = if kept.is_empty() { "" } else { "?" };
        Ok((format!("{place}{question}{}", kept.join("&")), asked))
    }
}

fn parse_mode(mode: &str) -> Result<(Option<SslMode>, CertCheck), AddressError> {
    let (mode, check) = match mode {
        "disable" => (SslMode::Disable, CertCheck::Nothing),
        "prefer" => (SslMode::Prefer, CertCheck::Nothing),
        "require" => (SslMode::Require, CertCheck::Nothing),
        "verify-ca" => (SslMode::Require, CertCheck::Authority),
        "verify-full" => (SslMode::Require, CertCheck::AuthorityAndHost),
        other => return Err(AddressError::Mode(other.to_owned())),
    };
    Ok((Some(mode), check))
}

/// Decodes `%2F` and the like into bytes; other text stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, rest: &str, mode: Option<SslMode>, check: CertCheck, roots: Option<&str>) {
        let (left, asked) = TlsParams::split_from(text).expect("an address");
        assert_eq!(left, rest, "{text}");
        assert_eq!(asked.mode, mode, "{text}");
        assert_eq!(asked.check, check, "{text}");
        assert_eq!(asked.roots, roots.map(PathBuf::from), "{text}");
    }

    #[test]
    fn the_words_about_tls_are_taken_out_of_an_address_and_the_others_stay() {
        check("postgres://a@b/c", "postgres://a@b/c", None, CertCheck::Nothing, None);
        let (with, without) = ("postgres://a@b/c?sslmode=require", "postgres://a@b/c");
        check(with, without, Some(SslMode::Require), CertCheck::Nothing, None);
        check(
            "postgres://a@b/c?connect_timeout=3&sslmode=verify-full&sslrootcert=%2Fetc%2Fca%20one.pem&application_name=x",
            "postgres://a@b/c?connect_timeout=3&application_name=x",
            Some(SslMode::Require),
            CertCheck::AuthorityAndHost,
            Some("/etc/ca one.pem"),
        );
        check(
            "postgresql://b/c?sslrootcert=/ca.pem&sslmode=require",
            "postgresql://b/c",
            Some(SslMode::Require),
            CertCheck::Authority,
            Some("/ca.pem"),
        );
        let system = "postgres://b/c?sslmode=verify-ca&sslrootcert=system";
        check(system, "postgres://b/c", Some(SslMode::Require), CertCheck::Authority, None);
        check("host=/tmp dbname=x?y", "host=/tmp dbname=x?y", None, CertCheck::Nothing, None);
    }

    #[test]
    fn an_unsupported_mode_and_missing_certificates_are_reported() {
        let error = |text: &str| Address::parse(text).expect_err("it cannot be used").to_string();
        assert!(
            error("postgres://a@b/c?sslmode=allow")
                .contains("sslmode=allow is not supported; write")
        );
        assert!(
            error("postgres://a@b/c?sslmode=verify-full&sslrootcert=/nowhere.pem")
                .contains("/nowhere.pem")
        );
        assert!(error("postgres://a@b/c?sslcert=/mine.pem").contains("not an address"));
        assert!(
            Address::parse("postgres://a@b/c?sslmode=prefer&sslrootcert=/nowhere.pem").is_ok(),
            "it is not used"
        );
    }
}
