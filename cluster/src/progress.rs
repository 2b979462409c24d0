//! Parts of a node that must not stand still while they have work: threads and loops note when a piece of it begins and
//! ends, and whoever watches names a part that is at the same piece for long. The composition root acts on it.
//!
//! # Invariants
//! - **G1 no clock**: noting is a store of a number. How long a piece takes is counted in looks, so a process that was
//!   stopped as a whole, its watcher with it, has not stood still.
//! - **G2 rest is no standstill**: a part that waits for work is never named, unless it does not take what was given to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ids::ShardId;

/// More parts than a node has.
const PARTS_MAX: usize = 64;
/// Beyond every shard's number.
const NO_SHARD: u32 = u32::MAX;

/// One part. Only one thread or loop at a time may note for it.
#[derive(Debug)]
pub struct Part {
    name: &'static str,
    /// Odd while a piece of work is under way; another number for each, and for each time it looks for one.
    turn: AtomicU64,
    shard: AtomicU32,
    /// Pieces that were handed to it and that it has not taken.
    waiting: AtomicI64,
}

impl Part {
    fn new(name: &'static str) -> Self {
        Self { name, turn: AtomicU64::new(0), shard: AtomicU32::new(NO_SHARD), waiting: AtomicI64::new(0) }
    }

    /// A piece of work begins, for this shard or for all. The one before has ended with it.
    pub fn begins(&self, shard: Option<ShardId>) {
        self.shard.store(shard.map_or(NO_SHARD, |shard| shard.0.into()), Ordering::Relaxed);
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + 1 + (turn & 1), Ordering::Relaxed);
    }

    /// Somebody else is about to hand it a piece of work.
    pub fn given(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// It took one that was handed to it, or whoever was about to could not.
    pub fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// It looks for something to do.
    pub fn rests(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + 2 - (turn & 1), Ordering::Relaxed);
    }
}

/// The parts of a node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Vec<Arc<Part>>>>);

impl Progress {
    /// One more part.
    ///
    /// # Panics
    /// With more parts than any node has.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Arc<Part> {
        let mut parts = self.0.lock();
        assert!(parts.len() < PARTS_MAX, "parts are made at the start, a few of them");
        let part = Arc::new(Part::new(name));
        parts.push(Arc::clone(&part));
        part
    }
}

/// A part at the same piece of work for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standstill {
    pub part: &'static str,
    /// What the piece of work is for, when that is one shard.
    pub shard: Option<ShardId>,
    /// Looks in a row at which it was under way, after the first.
    pub looks: u32,
}

/// What was seen at earlier looks.
#[derive(Debug, Default)]
pub struct Watch(HashMap<usize, (u64, u32)>);

impl Watch {
    /// How every part stands now; parts that rest or have moved on since the last look have no looks.
    pub fn look(&mut self, progress: &Progress) -> Vec<Standstill> {
        let parts = progress.0.lock().clone();
        parts.iter().enumerate().map(|(at, part)| self.judge(at, part)).collect()
    }

    fn judge(&mut self, at: usize, part: &Part) -> Standstill {
        let turn = part.turn.load(Ordering::Relaxed);
        let (seen, looks) = self.0.entry(at).or_insert((u64::MAX, 0));
        let has_work = turn % 2 == 1 || part.waiting.load(Ordering::Relaxed) > 0;
        *looks = if *seen == turn && has_work { *looks + 1 } else { 0 };
        *seen = turn;
        let shard = u16::try_from(part.shard.load(Ordering::Relaxed)).ok().map(ShardId);
        Standstill { part: part.name, shard, looks: *looks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_piece_of_work_counts() {
        let progress = Progress::default();
        let (part, other) = (progress.part("applier"), progress.part("log"));
        let mut watch = Watch::default();
        let mut looks = || watch.look(&progress).iter().map(|seen| seen.looks).collect::<Vec<_>>();
        assert_eq!(looks(), [0, 0]);
        part.begins(Some(ShardId(7)));
        assert_eq!([looks(), looks(), looks()], [[0, 0], [1, 0], [2, 0]]);
        part.begins(None); // The next piece, without a rest.
        other.begins(None);
        assert_eq!([looks(), looks()], [[0, 0], [1, 1]]);
        part.rests();
        assert_eq!([looks(), looks()], [[0, 2], [0, 3]], "a part that rests stands never still");
        part.rests();
        other.rests();
        other.begins(None);
        assert_eq!([looks(), looks()], [[0, 0], [0, 1]]);
    }

    #[test]
    fn a_part_that_takes_nothing_of_what_it_is_given_stands_still() {
        let progress = Progress::default();
        let part = progress.part("log");
        let mut watch = Watch::default();
        let mut looks = || watch.look(&progress)[0].looks;
        part.given();
        assert_eq!([looks(), looks(), looks()], [0, 1, 2]);
        part.taken();
        part.begins(None);
        assert_eq!([looks(), looks()], [0, 1]);
        part.rests();
        assert_eq!([looks(), looks()], [0, 0]);
    }

    #[test]
    fn it_says_which_part_and_for_which_shard() {
        let progress = Progress::default();
        progress.part("applier").begins(Some(ShardId(7)));
        let mut watch = Watch::default();
        watch.look(&progress);
        let want = Standstill { part: "applier", shard: Some(ShardId(7)), looks: 1 };
        assert_eq!(watch.look(&progress), [want]);
    }
}
