//! Who a certificate speaks for: names of nodes and clusters in it. The handshakes call it, and `steward ca`.
//!
//! # Invariants
//! - **I1 one node**: a certificate that names no node, two nodes or a node of another cluster is nobody's.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::ids::NodeId;

/// A cluster's name is part of a DNS name; with the node's part that stays below the limit of 253.
pub const CLUSTER_NAME_BYTES_MAX: usize = 40;

const DOMAIN: &str = "steward.internal";

/// Why a certificate is refused, or a name is no cluster's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It could not be part of a certificate.
    #[error(
        "cluster name {name:?} is not 1 to {CLUSTER_NAME_BYTES_MAX} of a-z, 0-9 and -, beginning and ending with no -"
    )]
    ClusterName { name: String },
    /// There is none, or it cannot be read.
    #[error("there is no certificate to read a node's name from")]
    Unreadable,
    /// Invariant I1.
    #[error("the certificate names {names:?}, not exactly one node of cluster {cluster}")]
    NotOneNode { cluster: String, names: Vec<String> },
    /// An authority's certificate names its cluster.
    #[error("the certificate names {names:?}, not exactly one cluster")]
    NotOneCluster { names: Vec<String> },
}

/// Refuses what cannot stand in a certificate.
pub fn check_cluster_name(name: &str) -> Result<(), IdentityError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = name.starts_with('-') || name.ends_with('-');
    if name.is_empty() || name.len() > CLUSTER_NAME_BYTES_MAX || edges || !name.bytes().all(allowed) {
        return Err(IdentityError::ClusterName { name: name.to_owned() });
    }
    Ok(())
}

/// The DNS name in a node's certificate.
#[must_use]
pub fn node_name(cluster: &str, node: NodeId) -> String {
    format!("node-{}.{}", node.0, cluster_name(cluster))
}

/// The DNS name in the certificate of a cluster's authority.
#[must_use]
pub fn cluster_name(cluster: &str) -> String {
    format!("{cluster}.{DOMAIN}")
}

/// The cluster whose authority a certificate (PEM) is.
pub fn cluster_of(authority: &[u8]) -> Result<String, IdentityError> {
    let names = names(&CertificateDer::from_pem_slice(authority).map_err(|_| IdentityError::Unreadable)?)?;
    let cluster = match names.as_slice() {
        [only] => only.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.')).map(str::to_owned),
        [] | [_, _, ..] => None,
    };
    let cluster = cluster.filter(|cluster| check_cluster_name(cluster).is_ok());
    cluster.ok_or(IdentityError::NotOneCluster { names })
}

/// The node of this cluster that a certificate was issued to.
pub(crate) fn node_of(cluster: &str, certificate: &CertificateDer<'_>) -> Result<NodeId, IdentityError> {
    let names = names(certificate)?;
    let node = match names.as_slice() {
        [only] => parse(cluster, only),
        [] | [_, _, ..] => None,
    };
    node.ok_or_else(|| IdentityError::NotOneNode { cluster: cluster.to_owned(), names })
}

fn parse(cluster: &str, name: &str) -> Option<NodeId> {
    let node = NodeId(name.strip_prefix("node-")?.split_once('.')?.0.parse().ok()?);
    // Built again and compared: "007" is not another way to write 7.
    (node_name(cluster, node) == name).then_some(node)
}

fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, IdentityError> {
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| IdentityError::Unreadable)?;
    Ok(parsed.valid_dns_names().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> rcgen::Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        rcgen::generate_simple_self_signed(names).unwrap().cert
    }

    #[test]
    fn a_certificate_is_exactly_one_nodes() {
        let node = |names: &[&str]| node_of("prod", certificate(names).der()).ok();
        assert_eq!(node(&["node-7.prod.steward.internal"]), Some(NodeId(7)));
        assert_eq!(node(&["node-007.prod.steward.internal"]), None);
        assert_eq!(node(&["node-7.test.steward.internal"]), None);
        assert_eq!(node(&["node-7.prod.steward.internal", "node-8.prod.steward.internal"]), None);
        assert_eq!(node(&["prod.steward.internal"]), None);
        assert_eq!(node(&[]), None);
        assert_eq!(node_of("prod", &CertificateDer::from(vec![1, 2, 3])), Err(IdentityError::Unreadable));
    }

    #[test]
    fn an_authority_is_exactly_one_clusters() {
        let cluster = |names: &[&str]| cluster_of(certificate(names).pem().as_bytes()).ok();
        assert_eq!(cluster(&["prod.steward.internal"]).as_deref(), Some("prod"));
        assert_eq!(cluster(&["node-7.prod.steward.internal"]), None);
        assert_eq!(cluster(&["a.steward.internal", "b.steward.internal"]), None);
        assert_eq!(cluster_of(b"no certificate"), Err(IdentityError::Unreadable));
    }

    #[test]
    fn names_that_would_break_a_certificate_are_refused() {
        for good in ["a", "prod-1", &"x".repeat(CLUSTER_NAME_BYTES_MAX)] {
            assert_eq!(check_cluster_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", &"x".repeat(CLUSTER_NAME_BYTES_MAX + 1)] {
            assert!(check_cluster_name(bad).is_err(), "{bad}");
        }
    }
}
