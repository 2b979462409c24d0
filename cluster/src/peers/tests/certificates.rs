//! Mutual TLS: who is let in, who is not, and files that change while nodes run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::Request;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::{CLUSTER, Node, Setup, in_time, introduce, introduction, linked, message, until, write};
use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::ids::NodeId;
use crate::peers::connection::dial;
use crate::peers::tls::Tls;
use crate::peers::{Caller, Lane, Peers, PeersConfig, PeersError, Security, TlsError, TlsFiles, node_name};

const OPEN_ENDED: (i32, u8, u8) = (4000, 1, 1);

/// An authority, and a folder of what it issued.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key.
    fn issue(&self, names: &[String], until: (i32, u8, u8)) -> (String, String) {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Files of a node, trusting this authority.
    fn files(&self, node: u64) -> TlsFiles {
        let (certificate, key) = self.issue(&[node_name(CLUSTER, NodeId(node))], OPEN_ENDED);
        self.files_of(node, &certificate, &key)
    }

    fn files_of(&self, node: u64, certificate: &str, key: &str) -> TlsFiles {
        let folder = self.folder.path();
        TlsFiles {
            authority: write(folder, &format!("ca-{node}.crt"), &self.pem),
            certificate: write(folder, &format!("{node}.crt"), certificate),
            key: write(folder, &format!("{node}.key"), key),
        }
    }

    async fn start(&self, node: u64) -> Node {
        Setup { security: Security::Tls(self.files(node)), ..Setup::of(node) }.start().await
    }
}

#[tokio::test]
async fn nodes_with_certificates_exchange_messages_and_calls() {
    let authority = Authority::new();
    let a = authority.start(1).await;
    let caller = |request: axum::extract::Request| async move {
        format!("{}", request.extensions().get::<Caller>().unwrap().node.unwrap())
    };
    let extra = Routes::from(Router::new().route("/who", post(caller)));
    let b = Setup { security: Security::Tls(authority.files(2)), extra, ..Setup::of(2) }.start().await;
    introduce(&[(1, &a), (2, &b)]);
    a.peers.send(NodeId(2), vec![message(1, 2, 1, 10)]);
    b.peers.send(NodeId(1), vec![message(2, 1, 2, 10)]);
    until("messages", || b.frames.indexes(1) == [1] && a.frames.indexes(2) == [2]).await;
    let channel = a.peers.channel(NodeId(2), Lane::Forward).unwrap();
    let request = Request::post("/who").body(Body::empty()).unwrap();
    let answer = in_time("an answer", channel.oneshot(request)).await.unwrap();
    let answer = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 100).await.unwrap();
    assert_eq!(answer, "node 1");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_certificate_opens_nothing_to_a_node_that_is_no_member() {
    let authority = Authority::new();
    let wait = || async { std::future::pending::<()>().await };
    let extra = Routes::from(Router::new().route("/hello", post(|| async { "hello" })).route("/wait", post(wait)));
    let callee = Setup { security: Security::Tls(authority.files(1)), extra, ..Setup::of(1) }.start().await;
    let removed = authority.start(2).await;
    removed.knows(&[(1, &callee.address)]);
    let channel = removed.peers.channel(NodeId(1), Lane::Bulk).unwrap();
    let call = async |path| {
        let request = Request::post(path).body(Body::empty()).unwrap();
        in_time("an end", channel.clone().oneshot(request)).await.map(|answer| answer.status())
    };
    assert!(call("/hello").await.is_err(), "it is no member yet");
    callee.knows(&[(2, &removed.address)]);
    assert_eq!(call("/hello").await.unwrap(), 200);
    let (cut, ()) = tokio::join!(call("/wait"), async { callee.knows(&[]) });
    assert!(cut.is_err(), "its connection ended with its membership");
    assert!(call("/hello").await.is_err(), "it is no member any more");
    callee.stop().await;
    removed.stop().await;
}

/// Starts a stranger at 1 or 3 beside an honest node 2 and an honest node that shows when there was time enough.
async fn nobody_hears(authority: &Authority, stranger: Node, id: u64) {
    let honest = authority.start(2).await;
    let witness = authority.start(4).await;
    let all = [(2, &honest), (4, &witness), (id, &stranger)];
    introduce(&all);
    until("frames of the witness", || honest.frames.from(4).len() > 10).await;
    assert!(honest.frames.from(id).is_empty(), "the stranger was heard");
    assert!(stranger.frames.from(2).is_empty(), "the stranger hears");
    for node in [honest, witness, stranger] {
        node.stop().await;
    }
}

#[tokio::test]
async fn another_authority_is_refused_in_both_directions() {
    for id in [1, 3] {
        let (authority, other) = (Authority::new(), Authority::new());
        // The stranger trusts everybody, so that it is refused by nobody but the others.
        let files = other.files(id);
        std::fs::write(&files.authority, format!("{}{}", other.pem, authority.pem)).unwrap();
        let stranger = Setup { security: Security::Tls(files), ..Setup::of(id) }.start().await;
        nobody_hears(&authority, stranger, id).await;
    }
}

#[tokio::test]
async fn a_dialer_insists_on_the_node_it_wants() {
    let authority = Authority::new();
    let node = authority.start(2).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let tls = Arc::new(Tls::load(authority.files(1), CLUSTER, NodeId(1), clock).unwrap());
    for (wanted, answers) in [(2, true), (3, false)] {
        let name = node_name(CLUSTER, NodeId(wanted));
        let dialed = in_time("a handshake", dial(node.address.clone(), name, Some(Arc::clone(&tls)))).await;
        assert_eq!(dialed.is_ok(), answers, "node {wanted}");
    }
    node.stop().await;
}

#[tokio::test]
async fn no_certificate_is_refused_in_both_directions() {
    for id in [1, 3] {
        let authority = Authority::new();
        let stranger = Setup::of(id).start().await;
        nobody_hears(&authority, stranger, id).await;
    }
}

#[tokio::test]
async fn another_nodes_certificate_is_refused_in_both_directions() {
    for id in [1, 3] {
        let authority = Authority::new();
        // Node 7 has a proper certificate of its own, and claims to be another node.
        let seven = authority.start(7).await;
        let config = PeersConfig {
            node: NodeId(id),
            cluster: CLUSTER.to_owned(),
            boot: 1,
            security: Security::Tls(authority.files(7)),
        };
        let liar = Peers::new(config, Arc::new(SystemClock::new()));
        assert!(matches!(liar.err(), Some(PeersError::Tls(TlsError::OtherNode { found: NodeId(7), .. }))));
        // A member at the address of another: the dialer wants the very node.
        let honest = authority.start(2).await;
        let witness = authority.start(9).await;
        seven.knows(&[(2, &honest.address)]);
        honest.knows(&[(id, &seven.address), (9, &witness.address)]);
        witness.knows(&[(2, &honest.address)]);
        until("frames of the witness", || honest.frames.from(9).len() > 10).await;
        assert!(honest.frames.from(7).is_empty() && honest.frames.from(id).is_empty());
        assert!(seven.frames.all().is_empty());
        for node in [seven, honest, witness] {
            node.stop().await;
        }
    }
}

#[tokio::test]
async fn a_node_cannot_introduce_itself_as_another() {
    let authority = Authority::new();
    let honest = authority.start(5).await;
    honest.knows(&[(1, "127.0.0.1:1"), (3, "127.0.0.1:1")]);
    let third = authority.start(3).await;
    third.knows(&[(5, &honest.address)]);
    // Over a connection that proves node 3, a frame says node 1.
    let channel = third.peers.channel(NodeId(5), Lane::Forward).unwrap();
    let mut client = steward_proto::peer::v1::peer_service_client::PeerServiceClient::new(channel);
    let lie = tokio_stream::once(introduction(CLUSTER, 1));
    let status = in_time("a refusal", client.exchange(lie)).await.unwrap_err();
    assert!(status.message().contains("it says it is node 1, its certificate says node 3"), "{status}");
    assert!(honest.frames.from(1).is_empty());
    honest.stop().await;
    third.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&[node_name("other", NodeId(1))], OPEN_ENDED);
    let files = authority.files_of(1, &certificate, &key);
    let stranger = Setup { cluster: "other".to_owned(), security: Security::Tls(files), ..Setup::of(1) };
    let stranger = stranger.start().await;
    nobody_hears(&authority, stranger, 1).await;
}

#[tokio::test]
async fn renewed_files_take_effect_and_broken_ones_do_not() {
    let authority = Authority::new();
    let files = authority.files(2);
    let a = authority.start(1).await;
    let b = Setup { security: Security::Tls(files.clone()), ..Setup::of(2) }.start().await;
    introduce(&[(1, &a), (2, &b)]);
    linked([(1, &a), (2, &b)]).await;

    // Broken: the link is made anew with the old files.
    std::fs::write(&files.certificate, "no certificate").unwrap();
    relink(&a, &b).await;

    // Another authority for both: old and new do not understand each other, so the new ones must be in use.
    let renewed = Authority::new();
    for (node, file) in [(1, authority.files_paths(1)), (2, files)] {
        let new = renewed.files(node);
        for (from, to) in [(new.key, file.key), (new.certificate, file.certificate), (new.authority, file.authority)] {
            std::fs::rename(from, to).unwrap();
        }
    }
    let third = renewed.start(3).await;
    introduce(&[(1, &a), (2, &b), (3, &third)]);
    linked([(1, &a), (3, &third)]).await;
    linked([(2, &b), (3, &third)]).await;
    relink(&a, &b).await;
    for node in [a, b, third] {
        node.stop().await;
    }
}

impl Authority {
    /// Where the files of a node are.
    fn files_paths(&self, node: u64) -> TlsFiles {
        let path = |name: String| self.folder.path().join(name);
        TlsFiles {
            authority: path(format!("ca-{node}.crt")),
            certificate: path(format!("{node}.crt")),
            key: path(format!("{node}.key")),
        }
    }
}

/// Ends the link between two nodes and waits for the next.
async fn relink(a: &Node, b: &Node) {
    a.peers.set_addresses(BTreeMap::new());
    let before = b.frames.from(1).len();
    a.knows(&[(2, &b.address)]);
    until("frames over a new link", || b.frames.from(1).len() > before + 2).await;
}

#[test]
fn a_broken_renewal_keeps_the_old_settings_until_it_is_mended() {
    let authority = Authority::new();
    let files = authority.files(1);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let tls = Tls::load(files.clone(), CLUSTER, NodeId(1), clock).unwrap();
    let first = tls.current().client;
    assert!(Arc::ptr_eq(&first, &tls.current().client));
    // A new certificate whose key is not there yet.
    let (certificate, key) = authority.issue(&[node_name(CLUSTER, NodeId(1))], OPEN_ENDED);
    std::fs::write(&files.certificate, certificate).unwrap();
    assert!(Arc::ptr_eq(&first, &tls.current().client));
    std::fs::write(&files.key, key).unwrap();
    let second = tls.current().client;
    assert!(!Arc::ptr_eq(&first, &second));
    // Another node's, and none.
    let (certificate, key) = authority.issue(&[node_name(CLUSTER, NodeId(2))], OPEN_ENDED);
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key).unwrap();
    assert!(Arc::ptr_eq(&second, &tls.current().client));
    std::fs::remove_file(&files.key).unwrap();
    assert!(Arc::ptr_eq(&second, &tls.current().client));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_the_clock_of_its_reader() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&[node_name(CLUSTER, NodeId(1))], (2030, 1, 1));
    let old = authority.files_of(1, &certificate, &key);
    let at = |seconds: u64| -> Arc<dyn Clock> {
        Arc::new(ManualClock::new(Timestamp(Duration::from_secs(seconds).as_millis().try_into().unwrap())))
    };
    for (seconds, accepted) in [(1_893_000_000, true), (1_894_000_000, false)] {
        let dialer = Tls::load(old.clone(), CLUSTER, NodeId(1), at(seconds)).unwrap();
        let server = Tls::load(authority.files(2), CLUSTER, NodeId(2), at(seconds)).unwrap();
        assert_eq!(handshake(&dialer, &server).await, accepted, "at {seconds}");
    }
}

/// Whether the server takes the dialer in.
async fn handshake(dialer: &Tls, server: &Tls) -> bool {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = rustls::pki_types::ServerName::try_from(node_name(CLUSTER, NodeId(2))).unwrap();
    let dialing = tokio_rustls::TlsConnector::from(dialer.current().client).connect(name, near);
    let accepting = tokio_rustls::TlsAcceptor::from(server.current().server).accept(far);
    let (_dialed, accepted) = tokio::join!(dialing, accepting);
    accepted.is_ok()
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let files = authority.files(1);
    let load = |files: &TlsFiles, node| {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Tls::load(files.clone(), CLUSTER, NodeId(node), clock).err()
    };
    assert!(load(&files, 1).is_none());
    assert!(matches!(load(&files, 2), Some(TlsError::OtherNode { .. })));
    let missing = TlsFiles { key: Path::new("/nowhere").to_owned(), ..files.clone() };
    assert!(matches!(load(&missing, 1), Some(TlsError::File { path, .. }) if path == Path::new("/nowhere")));
    let foreign = TlsFiles { key: authority.files(2).key, ..files.clone() };
    assert!(matches!(load(&foreign, 1), Some(TlsError::Unusable { .. })));
    let config =
        PeersConfig { node: NodeId(1), cluster: "No Name".to_owned(), boot: 1, security: Security::Tls(files) };
    let unnamed = Peers::new(config, Arc::new(SystemClock::new()));
    assert!(matches!(unnamed.err(), Some(PeersError::Name(_))));
}
