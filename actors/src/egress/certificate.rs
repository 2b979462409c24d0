//! What a client with a certificate shows, and whom it believes.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{what} is no PEM of the kind")]
    Pem { what: &'static str },
    #[error(transparent)]
    Tls(#[from] rustls::Error), // It says what does not fit.
}

/// The settings of a connection that shows this certificate. An empty `ca_pem` stands for the public authorities.
pub(crate) fn config(chain_pem: &str, key_pem: &str, ca_pem: &str) -> Result<ClientConfig, CertificateError> {
    let chain = certificates("the certificate", chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| CertificateError::Pem { what: "the private key" })?;
    let mut roots = RootCertStore::empty();
    if ca_pem.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    } else {
        certificates("the authority", ca_pem)?.into_iter().try_for_each(|certificate| roots.add(certificate))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_client_auth_cert(chain, key)?)
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(CertificateError::Pem { what })
}
