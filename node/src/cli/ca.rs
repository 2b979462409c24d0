//! `steward ca`: the authority of a cluster, and certificates for its nodes. An operator runs it by hand; no node needs
//! the authority's key.
//!
//! # Invariants
//! - **C1 never replaced**: an authority is never overwritten; the certificates of a whole cluster hang on it.
//! - **C2 secret**: keys are readable by their owner only, from the first byte on.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_cluster::ids::NodeId;
use steward_cluster::peers;

use super::output::Out;

const CERTIFICATE_FILE: &str = "ca.crt";
const KEY_FILE: &str = "ca.key";
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const AUTHORITY_DAYS: u32 = 10 * 365;
const NODE_DAYS_MAX: u32 = 10 * 365;
/// Certificates are valid from a little before now, for nodes whose clocks are behind.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Creates the authority of a new cluster: ca.crt for every node, ca.key for a safe place
    Create {
        /// Folder of the authority, created when it is not there
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Name of the cluster: a-z, 0-9 and -
        #[arg(long, value_name = "NAME")]
        cluster: String,
    },
    /// Issues or renews the certificate and key of a node: node-ID.crt and node-ID.key
    Issue {
        /// Folder of the authority
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Number of the node
        #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        /// How long the certificate is valid
        #[arg(long, value_name = "N", default_value_t = 365,
            value_parser = clap::value_parser!(u32).range(1..=i64::from(NODE_DAYS_MAX)))]
        days: u32,
    },
}

pub(super) fn run(command: CaCommand) -> anyhow::Result<()> {
    let written = match command {
        CaCommand::Create { dir, cluster } => create(&dir, &cluster)?,
        CaCommand::Issue { dir, node, days } => issue(&dir, NodeId(node), days)?,
    };
    let mut out = Out::stdout();
    written.iter().try_for_each(|path| out.line(format!("wrote {}", path.display())))
}

fn create(dir: &Path, cluster: &str) -> anyhow::Result<[PathBuf; 2]> {
    peers::check_cluster_name(cluster)?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let paths = [dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE)];
    for path in &paths {
        ensure!(!path.exists(), "{} exists; an authority is never overwritten", path.display());
    }
    let [certificate, key] = &paths;
    let pair = KeyPair::generate()?;
    let params = valid_for(authority(cluster)?, AUTHORITY_DAYS);
    // The key first: a certificate without it would be taken for an authority and could issue nothing.
    write_new(key, &pair.serialize_pem(), KEY_MODE)?;
    write_new(certificate, &params.self_signed(&pair)?.pem(), CERTIFICATE_MODE)?;
    Ok(paths)
}

fn issue(dir: &Path, node: NodeId, days: u32) -> anyhow::Result<[PathBuf; 2]> {
    let read = |file: &str| {
        let path = dir.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}; was the authority created?", path.display()))
    };
    let cluster = peers::cluster_of(read(CERTIFICATE_FILE)?.as_bytes())?;
    let issuer = Issuer::new(authority(&cluster)?, KeyPair::from_pem(&read(KEY_FILE)?)?);
    let mut params = CertificateParams::new([peers::node_name(&cluster, node)])?;
    params.distinguished_name = name(&node.to_string());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let pair = KeyPair::generate()?;
    let signed = valid_for(params, days).signed_by(&pair, &issuer)?;
    let paths = [dir.join(format!("node-{}.crt", node.0)), dir.join(format!("node-{}.key", node.0))];
    let [certificate, key] = &paths;
    replace(key, &pair.serialize_pem(), KEY_MODE)?;
    replace(certificate, &signed.pem(), CERTIFICATE_MODE)?;
    Ok(paths)
}

/// What an authority's certificate says, apart from its time. Follows from the cluster's name alone, so that issuing
/// need not parse the certificate.
fn authority(cluster: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new([peers::cluster_name(cluster)])?;
    params.distinguished_name = name(&format!("authority of {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Steward");
    name.push(DnType::CommonName, common);
    name
}

fn valid_for(mut params: CertificateParams, days: u32) -> CertificateParams {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(SystemClock::new().now().0);
    params.not_before = now - CLOCK_SKEW_MAX;
    params.not_after = now + DAY * days;
    params
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// A node that reads the file sees the old or the new one, never a part.
fn replace(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot remove {}", draft.display())),
    }
    write_new(&draft, text, mode)?;
    fs::rename(&draft, path).with_context(|| format!("cannot rename {}", draft.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;
    use std::sync::Arc;

    use steward_cluster::peers::{Peers, PeersConfig, PeersError, Security, TlsError, TlsFiles};

    use super::*;

    fn cluster() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), "prod").unwrap();
        dir
    }

    fn openssl(arguments: &[&str]) -> (bool, String) {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[test]
    fn openssl_accepts_the_chain_and_reads_what_it_says() {
        let dir = cluster();
        let [certificate, _] = issue(dir.path(), NodeId(7), 30).unwrap();
        let authority = dir.path().join(CERTIFICATE_FILE);
        let (authority, certificate) = (authority.to_str().unwrap(), certificate.to_str().unwrap());
        for purpose in ["sslserver", "sslclient"] {
            let (accepted, said) =
                openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", authority, certificate]);
            assert!(accepted, "{purpose}: {said}");
        }
        let host = ["verify", "-verify_hostname", "node-7.prod.steward.internal", "-CAfile", authority, certificate];
        assert!(openssl(&host).0);
        // Thirty days: still valid after 29, no longer after 31.
        let end_in = |days: u64| {
            openssl(&["x509", "-checkend", &(DAY.as_secs() * days).to_string(), "-noout", "-in", certificate]).0
        };
        assert!(end_in(29) && !end_in(31));
        let other = cluster();
        let stranger = other.path().join(CERTIFICATE_FILE);
        assert!(!openssl(&["verify", "-CAfile", stranger.to_str().unwrap(), certificate]).0);
    }

    #[test]
    fn a_node_takes_its_certificate_and_no_other() {
        let dir = cluster();
        let [certificate, key] = issue(dir.path(), NodeId(7), 30).unwrap();
        let start = |node: u64, cluster: &str| {
            let files = TlsFiles {
                authority: dir.path().join(CERTIFICATE_FILE),
                certificate: certificate.clone(),
                key: key.clone(),
            };
            let security = Security::Tls(files);
            let config = PeersConfig { node: NodeId(node), cluster: cluster.to_owned(), boot: 1, security };
            Peers::new(config, Arc::new(SystemClock::new())).err()
        };
        assert!(start(7, "prod").is_none());
        assert!(matches!(start(8, "prod"), Some(PeersError::Tls(TlsError::OtherNode { .. }))));
        assert!(matches!(start(7, "test"), Some(PeersError::Tls(TlsError::Identity { .. }))));
    }

    #[test]
    fn keys_are_secret_and_an_authority_is_never_overwritten() {
        let dir = cluster();
        issue(dir.path(), NodeId(1), 30).unwrap();
        let mode = |file: &str| fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode("ca.key"), mode("node-1.key")], [0o600; 2]);
        let before = fs::read(dir.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(create(dir.path(), "prod").unwrap_err().to_string().contains("never overwritten"));
        fs::remove_file(dir.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(create(dir.path(), "prod").is_err());
        fs::write(dir.path().join(CERTIFICATE_FILE), before).unwrap();
        // Issuing again renews, and leaves nothing else behind.
        let renew = || fs::read(&issue(dir.path(), NodeId(1), 30).unwrap()[0]).unwrap();
        assert_ne!(renew(), renew());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn what_cannot_be_issued_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(create(dir.path(), "Not A Name").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(issue(dir.path(), NodeId(1), 30).unwrap_err().to_string().contains("was the authority created?"));
    }
}
