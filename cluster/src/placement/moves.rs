//! Which of the planned changes go out now: few shards are on their way at a time. Pure; the controller calls it.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Member, plan};
use crate::ids::{NodeId, ShardId};
use crate::membership::{Members, Placement, View};

/// Shards that may be on their way between nodes at a time. Each move copies a whole shard.
pub const MOVES_MAX: usize = 8;

/// What to write now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// The new placements.
    pub(super) writes: BTreeMap<ShardId, Placement>,
    /// Shards on their way, those of `writes` included.
    pub(super) moving: BTreeSet<ShardId>,
}

/// The next changes for the shards that have reported where they are.
pub(super) fn next(view: &View, members: &[Member], replicas: u8) -> Moves {
    let shards = || (0u16..).map(ShardId).zip(view.placement.iter().zip(&view.members));
    let as_is = |(placement, reported): (&Option<Placement>, &Option<Members>)| {
        placement.clone().or_else(|| reported.as_ref().map(as_reported))
    };
    let current: Vec<Option<Placement>> = shards().map(|(_, shard)| as_is(shard)).collect();
    let mut planned: BTreeMap<ShardId, Placement> = plan(members, &current, replicas).into_iter().collect();
    let mut moves = Moves::default();
    for (shard, (placement, reported)) in shards() {
        if let (Some(placement), Some(reported)) = (placement, reported)
            && !is_at(reported, &placement.replicas)
        {
            moves.moving.insert(shard);
        }
    }
    for (shard, (placement, reported)) in shards() {
        let Some(reported) = reported else { continue };
        // A shard that is where it should be gets that in writing, too.
        let first = || placement.is_none().then(|| Placement { generation: 1, ..as_reported(reported) });
        let Some(wanted) = planned.remove(&shard).or_else(first) else { continue };
        let stays = is_at(reported, &wanted.replicas);
        if stays || moves.moving.contains(&shard) || moves.moving.len() < MOVES_MAX {
            if !stays {
                moves.moving.insert(shard);
            }
            moves.writes.insert(shard, wanted);
        }
    }
    moves
}

/// Where a shard is, as if that had been wanted.
fn as_reported(reported: &Members) -> Placement {
    let replicas = sorted(&reported.voters);
    let preferred_leader = replicas.contains(&reported.leader).then_some(reported.leader);
    Placement { replicas, preferred_leader, generation: 0 }
}

fn is_at(reported: &Members, replicas: &[NodeId]) -> bool {
    reported.learners.is_empty() && sorted(&reported.voters) == replicas
}

fn sorted(nodes: &[NodeId]) -> Vec<NodeId> {
    nodes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::placement::plan::Presence;

    fn members(count: u64) -> Vec<Member> {
        let member = |id| Member {
            id: NodeId(id),
            zone: format!("zone-{id}"),
            draining: false,
            disk_low: false,
            cores: 4,
            presence: Presence::Here,
        };
        (1..=count).map(member).collect()
    }

    fn at(voters: &[u64]) -> Members {
        let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
        let leader = voters[0];
        Members::level(voters, leader, Term(1))
    }

    fn write(view: &mut View, moves: &Moves) {
        for (shard, placement) in &moves.writes {
            view.placement[usize::from(shard.0)] = Some(placement.clone());
        }
    }

    #[test]
    fn a_few_shards_move_at_a_time_and_the_next_when_those_have_arrived() {
        let mut view = View::empty(20);
        view.members = vec![Some(at(&[1])); 20];
        let first = next(&view, &members(3), 3);
        assert_eq!((first.writes.len(), first.moving.len()), (MOVES_MAX, MOVES_MAX));
        write(&mut view, &first);
        let waiting = next(&view, &members(3), 3);
        assert_eq!(waiting.moving, first.moving);
        for (shard, placement) in &waiting.writes {
            assert_eq!(placement.replicas, first.writes[shard].replicas, "only who should lead may change");
        }
        for shard in first.moving.iter().take(3) {
            view.members[usize::from(shard.0)] = Some(at(&[1, 2, 3]));
        }
        let second = next(&view, &members(3), 3);
        assert_eq!(second.moving.len(), MOVES_MAX);
        assert_eq!(second.moving.difference(&first.moving).count(), 3);
    }

    #[test]
    fn a_learner_is_still_on_its_way() {
        let mut view = View::empty(1);
        view.members = vec![Some(at(&[1]))];
        let moves = next(&view, &members(3), 3);
        write(&mut view, &moves);
        view.members = vec![Some(Members { learners: vec![NodeId(4)], ..at(&[1, 2, 3]) })];
        assert_eq!(next(&view, &members(3), 3).moving.len(), 1);
    }

    #[test]
    fn a_shard_that_nobody_reported_is_not_placed() {
        let mut view = View::empty(2);
        view.members[1] = Some(at(&[1]));
        let moves = next(&view, &members(1), 3);
        assert_eq!(moves.writes.keys().copied().collect::<Vec<_>>(), [ShardId(1)]);
        let placement = &moves.writes[&ShardId(1)];
        assert_eq!((placement.replicas.as_slice(), placement.generation), ([NodeId(1)].as_slice(), 1));
        assert!(moves.moving.is_empty());
    }
}
