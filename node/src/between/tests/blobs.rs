//! Blobs that are brought from other nodes and copied to them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde_json::json;
use steward_actors::blob::{Backfill, BlobHash, Copies as _, CopyError, Missing};
use steward_actors::domain::account::{Command, TaskRef};
use steward_actors::domain::ids::AccountId;
use steward_actors::domain::task::TaskKind;
use steward_actors::shard::shard_of;
use steward_cluster::ids::{LogIndex, NodeId};
use steward_cluster::placement::BlobCount as _;
use steward_cluster::raft::Members;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::super::{MissingBlobs, OtherFolders};
use super::world::{Node, SHARDS, Wires, asked, channel};

/// Longer than a chunk.
const BLOB: &[u8] = &[7; 200_000];

/// The way of node 1 to these others.
fn folders(this: &Node, channels: BTreeMap<NodeId, Channel>, members: Option<Members>) -> OtherFolders {
    let wires = Wires { channels, members, ..Wires::default() };
    OtherFolders::new(NodeId(1), Arc::new(wires), this.blobs.clone(), SHARDS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_blob_is_brought_from_whoever_has_it_and_checked() {
    let (this, without, with) = (Node::start().await, Node::start().await, Node::start().await);
    let hash = with.keep(BLOB);
    let channels = BTreeMap::from([(NodeId(2), without.channel()), (NodeId(3), with.channel())]);
    let copies = Arc::new(folders(&this, channels, None));
    let blobs = this.blobs.with_copies(copies.clone());
    let (path, account) = (with.blobs.path(&hash), AccountId::parse("acme").unwrap());
    fs::write(&path, b"something else").unwrap();
    let refused = blobs.bring(&account, &hash).await;
    assert!(matches!(refused, Err(CopyError::Absent(_))), "{refused:?}");
    assert!(!blobs.has(&hash), "what does not match its name is not kept");
    fs::write(&path, BLOB).unwrap();
    blobs.bring(&account, &hash).await.unwrap();
    assert_eq!(fs::read(blobs.path(&hash)).unwrap(), BLOB);
    fs::remove_file(&path).unwrap();
    blobs.bring(&account, &hash).await.expect("it is here now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_copied_to_a_majority_or_nothing_may_name_it() {
    let (this, other) = (Node::start().await, Node::start().await);
    let account = AccountId::parse("acme").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let channels = || BTreeMap::from([(NodeId(2), other.channel()), (NodeId(3), channel(closed))]);
    let hash = this.keep(BLOB);
    let voters = |ids: &[u64]| Members::of_voters(&ids.iter().copied().map(NodeId).collect::<Vec<_>>());
    let three = folders(&this, channels(), Some(voters(&[1, 2, 3])));
    three.spread(&account, &hash).await.unwrap();
    assert_eq!(fs::read(other.blobs.path(&hash)).unwrap(), BLOB);
    three.spread(&account, &hash).await.expect("a second copy is none");

    let five = folders(&this, channels(), Some(voters(&[1, 2, 3, 4, 5])));
    let few = five.spread(&account, &hash).await;
    assert!(matches!(few, Err(CopyError::TooFew { copies: 2, voters: 5, .. })), "{few:?}");
    let mut joint = voters(&[1, 2]);
    joint.outgoing = vec![NodeId(3)];
    let few = folders(&this, channels(), Some(joint)).spread(&account, &hash).await;
    assert!(matches!(few, Err(CopyError::TooFew { .. })), "both sets of voters count: {few:?}");
    let unknown = folders(&this, channels(), None).spread(&account, &hash).await;
    assert!(matches!(unknown, Err(CopyError::Replicas)), "{unknown:?}");
}

/// Lets a job of a node name a blob.
async fn name(node: &Node, hash: &BlobHash) -> AccountId {
    let (account, job) = node.job().await;
    let (task, worker) = (TaskKind::Summarize.whole(), "node-2/b".to_owned());
    node.shards.execute(&account, asked(Command::StartTask { job: job.clone(), task, worker })).await.unwrap();
    let (task, result) = (TaskRef { job, task, attempt: 1 }, json!({"blob": hash.as_str()}));
    node.shards.execute(&account, asked(Command::ReportSuccess { task, result })).await.unwrap();
    account
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_how_many_blobs_of_a_shard_it_lacks() {
    let (this, other) = (Node::start().await, Node::start().await);
    let hash = BlobHash::parse(blake3::hash(BLOB).to_hex().as_str()).unwrap();
    let shard = shard_of(&name(&this, &hash).await, SHARDS);
    name(&other, &hash).await;
    let wires = Wires { channels: BTreeMap::from([(NodeId(2), other.channel())]), ..Wires::default() };
    let here = Missing::new(this.shards.clone(), this.blobs.clone(), Arc::new(Backfill::new()));
    let counts = MissingBlobs { node: NodeId(1), neighbours: Arc::new(wires), here };
    let applied = this.shards.driver().status(shard).unwrap().applied;
    for (node, folder) in [(NodeId(1), &this), (NodeId(2), &other)] {
        assert_eq!(counts.missing(node, shard, applied).await, Some(1), "{node}");
        assert_eq!(counts.missing(node, shard, LogIndex(applied.0 + 1)).await, None, "{node} is not that far");
        folder.keep(BLOB);
        assert_eq!(counts.missing(node, shard, applied).await, Some(0), "{node}");
    }
    assert_eq!(counts.missing(NodeId(3), shard, applied).await, None, "nobody is there");
}
