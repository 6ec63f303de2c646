//! Parses an address of PostgreSQL.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::connect::{Tls, TlsError};
use crate::verify::CertCheck;

/// The address of a database, and how its connections are encrypted.
#[derive(Clone, Debug)]
pub struct Address {
    /// The settings for the PostgreSQL driver. The trusted certificates are in `tls`.
    pub config: Config,
    /// The TLS settings. They are used only if `config` requests TLS.
    pub tls: Tls,
}

/// The error for an address that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The text is not an address.
    #[error("not a PostgreSQL address: {0}")]
    Address(#[from] tokio_postgres::Error),
    /// The requested `sslmode` is not supported.
    #[error(
        "sslmode={0} is not supported; write disable, prefer, require, verify-ca or verify-full"
    )]
    Mode(String),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Address {
    /// Parses a URL `postgres://…`, or a list such as `host=… user=…`. Only a URL can have
    /// `sslrootcert`, `sslmode=verify-ca` or `sslmode=verify-full`.
    ///
    /// # Errors
    /// Fails if the text is not an address, if its `sslmode` is not supported, or if its
    /// certificates cannot be read.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (text, params) = TlsParams::split_from(text)?;
        let mut config: Config = text.parse()?;
        if let Some(mode) = params.mode {
            config.ssl_mode(mode);
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable | SslMode::Prefer => Tls::new(CertCheck::Nothing, None)?,
            _ => Tls::new(params.check, params.roots)?,
        };
        Ok(Self { config, tls })
    }
}

/// The TLS parameters of a URL. They are removed from the URL, because the driver does not know all
/// of them.
struct TlsParams {
    mode: Option<SslMode>,
    check: CertCheck,
    roots: Option<PathBuf>,
}

impl TlsParams {
    fn split_from(text: &str) -> Result<(String, Self), AddressError> {
        let mut params = Self { mode: None, check: CertCheck::Nothing, roots: None };
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        let Some((base, query)) = text.split_once('?').filter(|_| is_url) else {
            return Ok((text.to_owned(), params));
        };
        let mut kept = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => (params.mode, params.check) = parse_mode(mode)?,
                // `system` selects the operating system's certificates, which are also the default.
                Some(("sslrootcert", "system")) => params.roots = None,
                Some(("sslrootcert", path)) => {
                    params.roots = Some(PathBuf::from(percent_decode(path)))
                }
                _ => kept.push(pair),
            }
        }
        if params.roots.is_some() && params.check == CertCheck::Nothing {
            params.check = CertCheck::Authority;
        }
        let question = if kept.is_empty() { "" } else { "?" };
        Ok((format!("{base}{question}{}", kept.join("&")), params))
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
        let (left, params) = TlsParams::split_from(text).expect("an address");
        assert_eq!(left, rest, "{text}");
        assert_eq!(params.mode, mode, "{text}");
        assert_eq!(params.check, check, "{text}");
        assert_eq!(params.roots, roots.map(PathBuf::from), "{text}");
    }

    #[test]
    fn tls_parameters_are_removed_from_an_address_and_the_others_stay() {
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
        let error =
            |text: &str| Address::parse(text).expect_err("the address is invalid").to_string();
        assert!(
            error("postgres://a@b/c?sslmode=allow")
                .contains("sslmode=allow is not supported; write")
        );
        assert!(
            error("postgres://a@b/c?sslmode=verify-full&sslrootcert=/nowhere.pem")
                .contains("/nowhere.pem")
        );
        assert!(error("postgres://a@b/c?sslcert=/mine.pem").contains("not a PostgreSQL address"));
        assert!(
            Address::parse("postgres://a@b/c?sslmode=prefer&sslrootcert=/nowhere.pem").is_ok(),
            "sslmode=prefer must not read the file"
        );
    }
}
