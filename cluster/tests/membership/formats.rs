//! An operator who finalizes: refused while a node is behind or away, heard by all nodes, and for good.

use steward_cluster::format::{Format, due};
use steward_cluster::ids::{NodeId, ShardId, Term};
use steward_cluster::membership::{JoinConfig, JoinError, Members};

use crate::etcd::Etcd;
use crate::{after, enter, member, node, until};

const SHARD: ShardId = ShardId(0);

#[tokio::test]
async fn a_format_is_finalized_when_all_nodes_know_it_and_shuts_older_binaries_out() {
    let etcd = Etcd::start(1);
    let at = |format| JoinConfig { format, ..node(&etcd) };
    let old = at(Format::FIRST);
    let joined = enter(&old).await.unwrap();
    let old = after(&old, &joined);
    let first = joined.register().await.unwrap();
    let second = member(&at(Format::CHECKS)).await;
    let members = Members::level(vec![NodeId(1), NodeId(2)], NodeId(1), Term(1));
    first.report_members(vec![(SHARD, members)]);
    let view = until(&second, "both nodes", |view| view.nodes.len() == 2 && view.members[0].is_some()).await;
    assert_eq!(view.finalized(), Format::FIRST, "the founder knew no more");
    let refused = second.finalize().await.unwrap_err().to_string();
    assert_eq!(refused, "node 1 runs version 0.1.0, which knows up to format 1: upgrade it first");
    first.leave().await;
    until(&second, "a node alone", |view| view.nodes.len() == 1).await;
    let refused = second.finalize().await.unwrap_err().to_string();
    assert!(refused.starts_with("node 1 holds shard 0 and is not registered"), "{refused}");

    let upgraded = JoinConfig { format: Format::CHECKS, ..old.clone() };
    let first = member(&upgraded).await;
    let view = until(&second, "the node again", |view| view.nodes.len() == 2).await;
    assert_eq!(due(&view, SHARD, Format::FIRST), None, "nobody has finalized");
    assert_eq!(second.finalize().await.unwrap(), Format::CHECKS);
    let view = until(&first, "the wish", |view| view.finalized() == Format::CHECKS).await;
    assert_eq!(due(&view, SHARD, Format::FIRST), Some(Format::CHECKS));
    for too_old in [&old, &at(Format::FIRST)] {
        let refused = enter(too_old).await.err();
        let (ours, theirs) = (Format::FIRST, Format::CHECKS);
        assert!(matches!(refused, Some(JoinError::Format { ours: o, theirs: t, .. }) if (o, t) == (ours, theirs)));
    }
}

#[tokio::test]
async fn a_cluster_begins_with_what_its_founder_knows_and_leaders_remember_it() {
    let etcd = Etcd::start(1);
    let first = member(&JoinConfig { format: Format::CHECKS, ..node(&etcd) }).await;
    let view = until(&first, "itself", |view| view.nodes.len() == 1).await;
    assert_eq!(view.finalized(), Format::CHECKS);
    let old = JoinConfig { format: Format::FIRST, ..node(&etcd) };
    assert!(matches!(enter(&old).await.err(), Some(JoinError::Format { .. })));

    // Etcd has lost the wish: what a leader has in force still counts.
    let mut client = etcd_client::Client::connect(etcd.endpoints(), None).await.unwrap();
    client.delete("/steward/test/format", None).await.unwrap();
    until(&first, "no wish", |view| view.finalized() == Format::FIRST).await;
    let members = Members { format: Format::CHECKS, ..Members::level(vec![NodeId(1)], NodeId(1), Term(1)) };
    first.report_members(vec![(SHARD, members)]);
    until(&first, "the leader's word", |view| view.finalized() == Format::CHECKS).await;
    assert!(matches!(enter(&old).await.err(), Some(JoinError::Format { .. })));
}
