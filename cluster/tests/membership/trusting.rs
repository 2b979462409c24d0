//! Etcd behind TLS: who proves what to whom, and files that are renewed while a node runs.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use steward_cluster::membership::{EtcdTls, JoinConfig, JoinError};
use tempfile::TempDir;

use crate::etcd::{Etcd, TlsFiles};
use crate::{enter, member, node, until};

/// An authority, and a folder of what it issued.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), file }
    }

    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let [certificate, secret] = ["crt", "key"].map(|kind| self.folder.path().join(format!("{name}.{kind}")));
        fs::write(&certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&secret, key.serialize_pem()).unwrap();
        (certificate, secret)
    }

    fn etcd(&self) -> Etcd {
        let (certificate, key) = self.issue("etcd");
        Etcd::start_with_tls(&TlsFiles { ca: self.file.clone(), certificate, key })
    }
}

fn trusting(etcd: &Etcd, tls: EtcdTls) -> JoinConfig {
    JoinConfig { etcd_tls: Some(tls), ..node(etcd) }
}

#[tokio::test]
async fn a_node_joins_an_etcd_that_knows_its_authority() {
    let authority = Authority::new();
    let mut etcd = authority.etcd();
    let tls = EtcdTls { ca_file: authority.file.clone(), client: Some(authority.issue("node")) };
    let first = member(&trusting(&etcd, tls.clone())).await;
    // What is renewed counts from the next dial on.
    authority.issue("node");
    etcd.kill(0);
    etcd.restart(0);
    let second = member(&trusting(&etcd, tls)).await;
    until(&first, "both are seen", |view| view.nodes.len() == 2).await;
    drop(second);
}

#[tokio::test]
async fn strangers_are_refused_at_both_ends() {
    let (authority, other) = (Authority::new(), Authority::new());
    let etcd = authority.etcd();
    let refused = async |tls: EtcdTls| enter(&trusting(&etcd, tls)).await.err().expect("it is refused");
    let ours = Some(authority.issue("node"));
    let lied_to = refused(EtcdTls { ca_file: other.file.clone(), client: ours.clone() }).await;
    assert!(matches!(lied_to, JoinError::Etcd { .. }), "etcd is of another authority: {lied_to:?}");
    let anonymous = refused(EtcdTls { ca_file: authority.file.clone(), client: None }).await;
    assert!(matches!(anonymous, JoinError::Etcd { .. }), "etcd wants a certificate: {anonymous:?}");
    let stranger = refused(EtcdTls { ca_file: authority.file.clone(), client: Some(other.issue("node")) }).await;
    assert!(matches!(stranger, JoinError::Etcd { .. }), "etcd wants one of its authority: {stranger:?}");
    let missing = refused(EtcdTls { ca_file: authority.folder.path().join("gone.crt"), client: ours }).await;
    let JoinError::EtcdTls(cause) = missing else { panic!("a file is missing: {missing:?}") };
    assert!(cause.to_string().ends_with("gone.crt"), "{cause}");
}
