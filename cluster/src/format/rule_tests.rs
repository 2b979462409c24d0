//! When a format rises, as tables.

use uuid::Uuid;

use super::rule::{Obstacle, due, least_known, target};
use super::{Format, Format as F};
use crate::ids::{NodeId, ShardId, Term};
use crate::membership::{Members, NodeInfo, View};

const SHARD: ShardId = ShardId(0);
const ABOVE: Format = Format(F::NEWEST.0 + 1);

fn view(nodes: &[(u64, Format)], holders: &[u64], learners: &[u64], finalized: Format) -> View {
    let info = |format| NodeInfo {
        address: String::new(),
        zone: String::new(),
        version: "0.1.0".to_owned(),
        format,
        cores: 1,
        data: Uuid::nil(),
        disk_low: false,
    };
    let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let members = Members { learners: ids(learners), ..Members::level(ids(holders), NodeId(1), Term(1)) };
    View {
        nodes: nodes.iter().map(|(node, format)| (NodeId(*node), info(*format))).collect(),
        members: vec![Some(members)],
        wished_format: finalized,
        ..View::default()
    }
}

#[test]
fn a_leader_raises_only_what_is_wished_and_known_everywhere() {
    let all = |format| [(1, format), (2, format), (3, format)];
    let mixed = [(1, F::CHECKS), (2, F::FIRST), (3, F::CHECKS)];
    let table = [
        ("all know it", view(&all(F::CHECKS), &[1, 2, 3], &[], F::CHECKS), F::FIRST, Some(F::CHECKS)),
        ("it is in force", view(&all(F::CHECKS), &[1, 2, 3], &[], F::CHECKS), F::CHECKS, None),
        ("nobody wishes it", view(&all(F::CHECKS), &[1, 2, 3], &[], F::FIRST), F::FIRST, None),
        ("a holder does not know it", view(&mixed, &[1, 2, 3], &[], F::CHECKS), F::FIRST, None),
        ("another node does not know it", view(&mixed, &[1, 3], &[], F::CHECKS), F::FIRST, None),
        ("a voter is away", view(&all(F::CHECKS)[..2], &[1, 2, 3], &[], F::CHECKS), F::FIRST, None),
        ("a learner is away", view(&all(F::CHECKS)[..1], &[1], &[2], F::CHECKS), F::FIRST, None),
        ("this binary does not know it", view(&all(ABOVE), &[1, 2, 3], &[], ABOVE), F::FIRST, Some(F::NEWEST)),
        ("a wish is old", view(&all(F::CHECKS), &[1, 2, 3], &[], F::FIRST), F::CHECKS, None),
        ("nobody has said who holds it", View { members: vec![None], ..View::default() }, F::FIRST, None),
    ];
    for (what, view, in_force, want) in table {
        assert_eq!(due(&view, SHARD, in_force), want, "{what}");
    }
}

#[test]
fn what_was_raised_anywhere_is_wished_everywhere() {
    let mut view = view(&[(1, F::CHECKS)], &[1], &[], F::FIRST);
    assert_eq!(view.finalized(), F::FIRST);
    view.members.push(view.members[0].clone().map(|members| Members { format: F::CHECKS, ..members }));
    assert_eq!(view.finalized(), F::CHECKS);
    assert_eq!(due(&view, SHARD, F::FIRST), Some(F::CHECKS), "etcd may have lost the wish");
}

#[test]
fn finalizing_says_what_is_in_the_way() {
    let nodes = |third| [(1, F::CHECKS), (2, F::CHECKS), (3, third)];
    let wish = |view: &View| target(view).map_err(|obstacle| obstacle.to_string());
    let behind = view(&nodes(F::FIRST), &[1, 2], &[], F::FIRST);
    assert_eq!(wish(&behind).unwrap_err(), "node 3 runs version 0.1.0, which knows up to format 1: upgrade it first");
    assert_eq!(least_known(&behind), F::FIRST);
    let absent = view(&nodes(F::CHECKS)[..2], &[1, 2, 3], &[], F::FIRST);
    assert_eq!(target(&absent), Err(Obstacle::Absent { node: NodeId(3), shard: SHARD }));
    let ready = view(&nodes(F::CHECKS), &[1, 2, 3], &[], F::FIRST);
    assert_eq!((wish(&ready), least_known(&ready)), (Ok(F::CHECKS), F::CHECKS));
}
