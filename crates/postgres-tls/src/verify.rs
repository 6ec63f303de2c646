//! Verifies a server's certificate, as strictly as the address requires.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// How strictly a server's certificate is verified. With every variant, the server must also prove
/// that it has the certificate's private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertCheck {
    /// The certificate is not verified.
    Nothing,
    /// A trusted authority must have signed the certificate.
    Authority,
    /// A trusted authority must have signed the certificate, and the certificate must be valid for
    /// the host in the address.
    AuthorityAndHost,
}

#[derive(Debug)]
pub(crate) struct Verifier {
    provider: Arc<CryptoProvider>,
    check: CertCheck,
    /// The trusted authorities. `None` if the certificate is not verified.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that are trusted without the signature of an authority.
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        check: CertCheck,
        authorities: Option<Arc<WebPkiServerVerifier>>,
        pinned: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { provider, check, authorities, pinned }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) =
            self.authorities.as_ref().filter(|_| self.check != CertCheck::Nothing)
        else {
            return Ok(ServerCertVerified::assertion());
        };
        if self.pinned.iter().any(|pinned| pinned == certificate) {
            if self.check == CertCheck::AuthorityAndHost {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match authorities.verify_server_cert(certificate, intermediates, host, ocsp, now) {
            // The verifier checks the host name last. So with this error, all other checks have
            // passed.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == CertCheck::Authority => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
