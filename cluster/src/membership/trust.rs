//! How etcd and this node prove to each other who they are. Read by [`super::Etcd`] at every dial, so that renewed files
//! count from the next connection on.

use std::io;
use std::path::{Path, PathBuf};

use etcd_client::{Certificate, Identity, TlsOptions};

/// The files for TLS towards etcd, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// Who signed etcd's certificate.
    pub ca_file: PathBuf,
    /// This node's certificate and its key, when etcd asks its clients for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read {}", path.display())]
pub struct EtcdTlsError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl EtcdTls {
    pub(super) fn read(&self) -> Result<TlsOptions, EtcdTlsError> {
        let trusted = TlsOptions::new().ca_certificate(Certificate::from_pem(bytes(&self.ca_file)?));
        let Some((certificate, key)) = &self.client else { return Ok(trusted) };
        Ok(trusted.identity(Identity::from_pem(bytes(certificate)?, bytes(key)?)))
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, EtcdTlsError> {
    std::fs::read(path).map_err(|source| EtcdTlsError { path: path.to_owned(), source })
}
