//! How the shards held here stand beside what is wanted, for operators. The executor writes it, the node reads it.

use std::borrow::Cow;
use std::fmt;

use super::step::{NOTHING, lag, placement};
use crate::ids::{NodeId, ShardId};
use crate::membership::View;
use crate::raft::{Members, Role, ShardDetail};

/// What a replica waits for that does not lead.
const ITS_LEADER: &str = "its leader, who decides";

/// One shard held here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStanding {
    /// The shard.
    pub shard: ShardId,
    /// The nodes that should hold it; empty while nobody has said so.
    pub wanted: Vec<NodeId>,
    /// The nodes that do, as far as this one knows.
    pub members: Members,
    /// Who leads it, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Entries the slowest of the others lacks; known to the leader.
    pub lag: u64,
    /// What the shard waits for until it is where it should be.
    pub waits_for: Cow<'static, str>,
}

impl ShardStanding {
    pub(super) fn new(this: NodeId, detail: &ShardDetail, view: &View, waits_for: Option<Cow<'static, str>>) -> Self {
        let wanted = placement(view, detail.shard).map_or(vec![], |placement| placement.replicas.clone());
        let is_level = wanted == detail.members.voters && detail.members.learners.is_empty();
        let leader = match detail.status.role {
            Role::Leader { .. } => Some(this),
            Role::Follower { leader } => leader,
        };
        Self {
            shard: detail.shard,
            wanted,
            members: detail.members.clone(),
            leader,
            lag: lag(detail),
            waits_for: waits_for.unwrap_or(if is_level { NOTHING } else { ITS_LEADER }.into()),
        }
    }
}

impl fmt::Display for ShardStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Members { voters, learners, outgoing, .. } = &self.members;
        write!(f, "{}: wanted on {}; voters {}", self.shard, Nodes(&self.wanted), Nodes(voters))?;
        for (nodes, are) in [(learners, "learners"), (outgoing, "voters until the change is complete")] {
            if !nodes.is_empty() {
                write!(f, "; {are} {}", Nodes(nodes))?;
            }
        }
        match self.leader {
            Some(leader) => write!(f, "; led by {leader}")?,
            None => write!(f, "; led by nobody known here")?,
        }
        write!(f, "; lag {}; waits for {}", self.lag, self.waits_for)
    }
}

/// Ids in a row.
struct Nodes<'a>(&'a [NodeId]);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.0.iter().map(|node| node.0.to_string()).collect();
        f.write_str(if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_reads_as_a_sentence() {
        let [one, two, three] = [1, 2, 3].map(NodeId);
        let members = Members { learners: vec![two, three], ..Members::of_voters(&[one]) };
        let standing = ShardStanding {
            shard: ShardId(7),
            wanted: vec![one, two, three],
            members,
            leader: Some(one),
            lag: 40,
            waits_for: "new replicas to catch up".into(),
        };
        let said = "shard 7: wanted on 1, 2, 3; voters 1; learners 2, 3; led by node 1; lag 40; waits for new replicas to \
                    catch up";
        assert_eq!(standing.to_string(), said);
    }
}
