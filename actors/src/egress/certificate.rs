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

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::HeaderMap;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::egress::{Egress, EgressError, EgressPolicy, Response};

    /// An authority, and what it signed for a name.
    pub(crate) struct Authority {
        pub(crate) pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        pub(crate) fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = params.self_signed(&key).unwrap().pem();
            Self { pem, issuer: Issuer::new(params, key) }
        }

        pub(crate) fn sign(&self, name: &str) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let signed = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
            (signed.pem(), key.serialize_pem())
        }
    }

    /// A receiver of a name that answers whoever shows a certificate of `clients`.
    pub(crate) fn receiver(name: &str, server: &Authority, clients: &Authority) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificates("it", &clients.pem).unwrap().remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let (chain, key) = server.sign(name);
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(verifier.unwrap()).with_single_cert(
            certificates("it", &chain).unwrap(),
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        );
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// Answers one connection with 204, if it is let in.
    pub(crate) async fn answer_once(listener: &TcpListener, acceptor: TlsAcceptor) {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let mut request = [0; 1024];
        if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
            stream.shutdown().await.ok(); // The other side may be gone.
        }
    }

    async fn post(acceptor: TlsAcceptor, client: Egress) -> Result<Response, EgressError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}/in", listener.local_addr().unwrap().port());
        let answering = answer_once(&listener, acceptor);
        let posting = client.post(&url, HeaderMap::new(), Bytes::new(), Duration::from_secs(10), 1);
        tokio::join!(posting, answering).0
    }

    #[tokio::test]
    async fn a_receiver_that_asks_for_a_certificate_is_shown_it() {
        let policy = EgressPolicy { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..EgressPolicy::default() };
        let plain = Egress::new(policy);
        let (ours, theirs, strangers) = (Authority::new(), Authority::new(), Authority::new());
        let (chain, key) = ours.sign("steward");
        let with = |chain: &str, key: &str, ca: &Authority| plain.with_certificate(chain, key, &ca.pem).unwrap();
        let answer = post(receiver("127.0.0.1", &theirs, &ours), with(&chain, &key, &theirs)).await.unwrap();
        assert_eq!(answer.status, 204);
        let unknown = post(receiver("127.0.0.1", &theirs, &ours), with(&chain, &key, &strangers)).await;
        assert!(unknown.is_err(), "the receiver's authority is not the one that was named");
        let (chain, key) = strangers.sign("steward");
        let refused = post(receiver("127.0.0.1", &theirs, &ours), with(&chain, &key, &theirs)).await;
        assert!(refused.is_err(), "the receiver does not know who signed it");
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let (chain, key) = Authority::new().sign("steward");
        let error = |chain: &str, key: &str, ca: &str| config(chain, key, ca).unwrap_err().to_string();
        assert_eq!(error("x", &key, ""), "the certificate is no PEM of the kind");
        assert_eq!(error(&chain, "x", ""), "the private key is no PEM of the kind");
        assert_eq!(error(&chain, &key, "x"), "the authority is no PEM of the kind");
        let (_, other) = Authority::new().sign("steward");
        assert!(config(&chain, &other, "").is_err(), "the key of another certificate");
        assert!(config(&chain, &key, "").is_ok());
    }
}
