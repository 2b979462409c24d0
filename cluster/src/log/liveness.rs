//! Which segments still hold something that recovery needs. [`super::Log`] keeps it while it appends and recovers.

use std::collections::{BTreeMap, VecDeque};

use super::record::{Head, Position, RecordKind};
use crate::ids::{LogIndex, ShardId};

/// What every segment from the oldest on holds, and where each shard's latest state stands.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    segments: VecDeque<SegmentUse>,
    hard_states: BTreeMap<ShardId, Position>,
    marks: BTreeMap<ShardId, (LogIndex, Position)>,
    members: BTreeMap<ShardId, Position>,
}

#[derive(Debug)]
struct SegmentUse {
    number: u64,
    /// The highest entry of each shard. An entry voided by a conflict may still count: too careful is safe.
    highest: BTreeMap<ShardId, LogIndex>,
}

impl Liveness {
    /// A segment follows the newest one.
    pub(crate) fn open_segment(&mut self, number: u64) {
        self.segments.push_back(SegmentUse { number, highest: BTreeMap::new() });
    }

    /// Takes note of a record in the newest segment.
    pub(crate) fn note(&mut self, head: Head, position: Position) {
        match head.kind {
            RecordKind::Entry | RecordKind::Change => {
                let newest = self.segments.back_mut().expect("a record is in a segment");
                let highest = newest.highest.entry(head.shard).or_default();
                *highest = head.index.max(*highest);
            }
            RecordKind::HardState => {
                self.hard_states.insert(head.shard, position);
            }
            RecordKind::SnapshotMark => {
                let known = self.marks.get(&head.shard).map_or(LogIndex(0), |(index, _)| *index);
                if head.index >= known {
                    self.marks.insert(head.shard, (head.index, position));
                }
            }
            RecordKind::Members => {
                self.members.insert(head.shard, position);
            }
            RecordKind::Purge => {
                self.marks.remove(&head.shard);
                self.members.remove(&head.shard);
                for segment in &mut self.segments {
                    segment.highest.remove(&head.shard);
                }
            }
        }
    }

    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The oldest segment, if snapshots cover all its entries and it is older than `newest`.
    pub(crate) fn oldest_dead(&self, newest: u64) -> Option<u64> {
        let oldest = self.segments.front().filter(|oldest| oldest.number < newest)?;
        let covered = |(shard, highest): (&ShardId, &LogIndex)| {
            self.marks.get(shard).is_some_and(|(covered, _)| highest <= covered)
        };
        oldest.highest.iter().all(covered).then_some(oldest.number)
    }

    /// The latest hard states, marks and members that stand in `segment` and would be lost with it.
    pub(crate) fn state_in(&self, segment: u64) -> Vec<Position> {
        let marks = self.marks.values().map(|(_, position)| *position);
        let all = self.hard_states.values().copied().chain(marks).chain(self.members.values().copied());
        all.filter(|position| position.segment == segment).collect()
    }

    pub(crate) fn forget_oldest(&mut self) {
        self.segments.pop_front();
    }
}
