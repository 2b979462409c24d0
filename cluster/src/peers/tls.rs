//! Mutual TLS between nodes: files into settings for handshakes. The listener and the dialers ask for the current ones.
//!
//! # Invariants
//! - **T1 both sides**: a handshake succeeds only between two certificates of the cluster's authority; the dialer's side
//!   insists on the very node it wants.
//! - **T2 renewed alone**: files that changed take effect with the next handshake; files that are broken change nothing.
//! - **T3 always asked**: no session is resumed, so every connection shows its certificate.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::identity::{self, IdentityError};
use crate::clock::Clock;
use crate::ids::NodeId;

const ALPN: &[u8] = b"h2";

/// The files of one node, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificates of the cluster's authority.
    pub authority: PathBuf,
    /// This node's certificate, then those between it and the authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Why files are no basis for handshakes.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not there, or not PEM of the right kind.
    #[error("could not read {path}")]
    File { path: PathBuf, source: rustls::pki_types::pem::Error },
    /// They do not belong together, or the library does not know their kind.
    #[error("could not use certificate {path}")]
    Unusable { path: PathBuf, source: rustls::Error },
    /// Certificates of the authority that no chain can end in.
    #[error("could not trust the authority in {path}")]
    Authority { path: PathBuf, source: rustls::client::VerifierBuilderError },
    /// It names no node of this cluster.
    #[error("certificate {path} is not a node's")]
    Identity { path: PathBuf, source: IdentityError },
    /// Somebody else's files.
    #[error("certificate {path} is {found}'s, this is {node}")]
    OtherNode { path: PathBuf, found: NodeId, node: NodeId },
}

/// The settings for handshakes from now on.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

/// Keeps the settings, and looks for changed files whenever it is asked for them.
pub(super) struct Tls {
    files: TlsFiles,
    cluster: String,
    node: NodeId,
    clock: Arc<dyn Clock>,
    loaded: Mutex<(Look, Settings)>,
}

/// What would be different if a file were another one: time of change, size and place of each.
type Look = [Option<(i64, i64, u64, u64)>; 3];

impl Tls {
    pub(super) fn load(files: TlsFiles, cluster: &str, node: NodeId, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let look = look(&files);
        let settings = read(&files, cluster, node, &clock)?;
        Ok(Self { files, cluster: cluster.to_owned(), node, clock, loaded: Mutex::new((look, settings)) })
    }

    /// The settings for the next handshake.
    pub(super) fn current(&self) -> Settings {
        let mut loaded = self.loaded.lock();
        let now = look(&self.files);
        if loaded.0 != now {
            // Noted even when it fails: a broken file is warned about once, not at every handshake.
            loaded.0 = now;
            match read(&self.files, &self.cluster, self.node, &self.clock) {
                Ok(settings) => {
                    tracing::info!("certificates renewed");
                    loaded.1 = settings;
                }
                Err(error) => {
                    let cause: &dyn std::error::Error = &error;
                    tracing::warn!(error = cause, "changed certificates are not usable, the old ones stay");
                }
            }
        }
        loaded.1.clone()
    }
}

fn look(files: &TlsFiles) -> Look {
    [&files.authority, &files.certificate, &files.key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
    })
}

fn read(files: &TlsFiles, cluster: &str, node: NodeId, clock: &Arc<dyn Clock>) -> Result<Settings, TlsError> {
    let path = files.certificate.clone();
    let chain = certificates(&path)?;
    match identity::node_of(cluster, &chain[0]) {
        Ok(found) if found == node => {}
        Ok(found) => return Err(TlsError::OtherNode { path, found, node }),
        Err(source) => return Err(TlsError::Identity { path, source }),
    }
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|source| TlsError::File { path: files.key.clone(), source })?;
    let mut roots = RootCertStore::empty();
    let fault = |source| TlsError::Unusable { path: files.authority.clone(), source };
    for certificate in certificates(&files.authority)? {
        roots.add(certificate).map_err(fault)?;
    }
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let time = Arc::new(WallTime(Arc::clone(clock)));
    let server = server_settings(&provider, &time, &roots, &chain, &key, files)?;
    let client = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider knows TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key);
    let mut client = client.map_err(|source| TlsError::Unusable { path, source })?;
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Settings { server: Arc::new(server), client: Arc::new(client) })
}

fn server_settings(
    provider: &Arc<CryptoProvider>,
    time: &Arc<WallTime>,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    files: &TlsFiles,
) -> Result<ServerConfig, TlsError> {
    let dialers = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
    let dialers = dialers.map_err(|source| TlsError::Authority { path: files.authority.clone(), source })?;
    let time: Arc<dyn TimeProvider> = Arc::<WallTime>::clone(time);
    let server = ServerConfig::builder_with_details(Arc::clone(provider), time)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider knows TLS 1.3")
        .with_client_cert_verifier(dialers)
        .with_single_cert(chain.to_vec(), key.clone_key());
    let mut server = server.map_err(|source| TlsError::Unusable { path: files.certificate.clone(), source })?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}

/// The certificates in a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |source| TlsError::File { path: path.to_owned(), source };
    let all = CertificateDer::pem_file_iter(path).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    if all.is_empty() {
        return Err(fault(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(all)
}

/// The clock, for the library's question whether a certificate is valid now.
struct WallTime(Arc<dyn Clock>);

impl std::fmt::Debug for WallTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallTime")
    }
}

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().0)))
    }
}
