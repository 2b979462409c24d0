//! Who is away, and for how long. The controller asks; it starts to count when it takes office.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::{Member, Presence};
use crate::ids::NodeId;
use crate::membership::View;

/// A node that is away for so long loses its replicas to others.
pub const GONE_AFTER: Duration = Duration::from_secs(5 * 60);

/// The nodes that hold replicas or could, with how long they have been away.
#[derive(Default)]
pub(super) struct Absences {
    /// Since when, in monotonic time.
    away_since: BTreeMap<NodeId, Duration>,
    /// Zone and cores when last seen.
    seen: BTreeMap<NodeId, (String, u32)>,
}

impl Absences {
    /// The members for a plan over this view. Time in which etcd was not reached does not count as absence.
    pub(super) fn members(&mut self, view: &View, now: Duration) -> Vec<Member> {
        if !view.etcd_reachable() {
            self.away_since.clear();
        }
        let holders = view.placement.iter().flatten().flat_map(|placement| placement.replicas.iter());
        let reported = view.members.iter().flatten().flat_map(|members| members.voters.iter());
        let away: Vec<NodeId> =
            holders.chain(reported).filter(|node| !view.nodes.contains_key(node)).copied().collect();
        self.away_since.retain(|node, _| away.contains(node));
        let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
        for (node, info) in &view.nodes {
            self.seen.insert(*node, (info.zone.clone(), info.cores));
            let (zone, cores) = (info.zone.clone(), info.cores);
            let (draining, disk_low) = (view.is_draining(*node), info.disk_low);
            members.insert(*node, Member { id: *node, zone, draining, disk_low, cores, presence: Presence::Here });
        }
        for node in away {
            let since = *self.away_since.entry(node).or_insert(now);
            let presence = if now.saturating_sub(since) >= GONE_AFTER { Presence::Gone } else { Presence::Away };
            // A zone nobody knows is taken for one of its own: better a move too few than one too many.
            let unseen = || (format!("unknown, of {node}"), 0);
            let (zone, cores) = self.seen.get(&node).cloned().unwrap_or_else(unseen);
            let draining = view.is_draining(node);
            members.insert(node, Member { id: node, zone, draining, disk_low: false, cores, presence });
        }
        members.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::ids::ShardId;
    use crate::membership::{NodeInfo, Placement};

    fn info() -> NodeInfo {
        NodeInfo {
            address: "10.0.0.1:7000".to_owned(),
            zone: "a".to_owned(),
            version: "1".to_owned(),
            format: Format::FIRST,
            cores: 4,
            data: uuid::Uuid::nil(),
            disk_low: false,
        }
    }

    fn view(here: &[u64]) -> View {
        let mut view = View::empty(1);
        view.nodes = here.iter().map(|id| (NodeId(*id), info())).collect();
        let replicas = vec![NodeId(1), NodeId(2)];
        view.placement[usize::from(ShardId(0).0)] = Some(Placement { replicas, preferred_leader: None, generation: 1 });
        view
    }

    fn presence(absences: &mut Absences, view: &View, minutes: u64) -> Presence {
        let members = absences.members(view, Duration::from_secs(minutes * 60));
        members.into_iter().find(|member| member.id == NodeId(2)).unwrap().presence
    }

    #[test]
    fn a_node_is_away_for_a_while_and_then_gone() {
        let mut absences = Absences::default();
        assert_eq!(presence(&mut absences, &view(&[1, 2]), 0), Presence::Here);
        assert_eq!(presence(&mut absences, &view(&[1]), 10), Presence::Away);
        assert_eq!(presence(&mut absences, &view(&[1]), 14), Presence::Away);
        assert_eq!(presence(&mut absences, &view(&[1]), 15), Presence::Gone);
        assert_eq!(presence(&mut absences, &view(&[1, 2]), 16), Presence::Here);
        assert_eq!(presence(&mut absences, &view(&[1]), 17), Presence::Away, "coming back starts it anew");
    }

    #[test]
    fn an_outage_of_etcd_is_no_absence() {
        let mut absences = Absences::default();
        assert_eq!(presence(&mut absences, &view(&[1]), 0), Presence::Away);
        let unreachable = View { etcd_unreachable_since: Some(Duration::ZERO), ..view(&[1]) };
        assert_eq!(presence(&mut absences, &unreachable, 60), Presence::Away);
        assert_eq!(presence(&mut absences, &view(&[1]), 61), Presence::Away);
    }

    #[test]
    fn the_zone_of_a_node_is_remembered() {
        let mut absences = Absences::default();
        absences.members(&view(&[1, 2]), Duration::ZERO);
        let members = absences.members(&view(&[1]), Duration::ZERO);
        assert_eq!(members[1].zone, "a");
        let members = Absences::default().members(&view(&[1]), Duration::ZERO);
        assert_ne!(members[1].zone, "a");
    }
}
