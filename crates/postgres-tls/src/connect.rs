//! Opens TLS connections over the sockets of the PostgreSQL driver.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::{TlsConnector, client};

use crate::verify::{CertCheck, Verifier};

/// The reason why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of trusted certificates cannot be read.
    #[error("sslrootcert: cannot read certificates from {}: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The system has no trusted certificates.
    #[error(
        "this system trusts no certificates; install ca-certificates, or set sslrootcert to a \
         file that contains the database's certificates"
    )]
    System,
    /// TLS cannot be set up, for a reason that the other variants do not cover.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Opens TLS connections. A clone is cheap, and uses the same certificates as the original.
#[derive(Clone, Debug)]
pub struct Tls(Arc<TlsSettings>);

#[derive(Debug)]
struct TlsSettings {
    check: CertCheck,
    /// The file of trusted certificates. `None` means the system's certificates.
    roots: Option<PathBuf>,
    config: RwLock<Arc<ClientConfig>>,
}

impl Tls {
    pub(crate) fn new(check: CertCheck, roots: Option<PathBuf>) -> Result<Self, TlsError> {
        let config = RwLock::new(Arc::new(client_config(check, roots.as_deref())?));
        Ok(Self(Arc::new(TlsSettings { check, roots, config })))
    }

    /// Reads the trusted certificates again, for connections that are opened later.
    ///
    /// # Errors
    /// Fails if the new certificates cannot be used. The previous certificates then stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = client_config(self.0.check, self.0.roots.as_deref())?;
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }
}

/// Trusts the certificates in the file `roots`, or the system's certificates if `roots` is `None`.
fn client_config(check: CertCheck, roots: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = match (check, roots) {
        (CertCheck::Nothing, _) => Vec::new(),
        (_, Some(path)) => from_file(path)?,
        (_, None) => rustls_native_certs::load_native_certs().certs,
    };
    let authorities =
        (check != CertCheck::Nothing).then(|| authorities(&own, &provider)).transpose()?;
    let verifier = Arc::new(Verifier::new(Arc::clone(&provider), check, authorities, own));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |reason: String| TlsError::Roots { path: path.to_owned(), reason };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?.collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        Err(wrong("the file contains no certificate".to_owned()))
    } else {
        Ok(certificates)
    }
}

fn authorities(
    certificates: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    let built =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(|error| match error {
        VerifierBuilderError::NoRootAnchors => TlsError::System,
        error => TlsError::Setup(error.to_string()),
    })
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Connect;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, Self::Error> {
        // For a Unix socket, the driver passes an empty host, which is not a valid name. Such a
        // connection does not use TLS, so the name only has to be valid.
        let host = if host.is_empty() { "localhost" } else { host };
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Connect { config, host: ServerName::try_from(host.to_owned())? })
    }
}

/// A TLS connection that is being opened.
pub struct Connect {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl<S> TlsConnect<S> for Connect
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = TlsConnector::from(self.config).connect(self.host, stream);
        Box::pin(async move { Ok(Stream(Box::new(connecting.await?))) })
    }
}

/// A TLS connection.
pub struct Stream<S>(Box<client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    /// Uses no channel binding. With `verify-full`, the certificate already proves the server's
    /// identity.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
