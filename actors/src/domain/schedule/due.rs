//! Which ticks are due after a gap, however long it was.

use steward_cluster::clock::Timestamp;

use super::rhythm::Rhythm;
use crate::domain::account::limits::SKIPPED_COUNTED_MAX;

/// Due ticks: the newest of them one by one, and what is before those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DueTicks {
    /// Oldest first.
    pub(crate) newest: Vec<Timestamp>,
    /// How many are before them, as far as they are counted, with the first and the last.
    pub(crate) before: Option<(u64, Timestamp, Timestamp)>,
}

/// The ticks from one that is due on, through a time. Takes a bounded number of searches, also when years are between.
pub(crate) fn due_ticks(rhythm: &Rhythm, first: Timestamp, through: Timestamp, newest_max: usize) -> DueTicks {
    let following = |tick: &Timestamp| rhythm.next_after(*tick).filter(|next| *next <= through);
    let counted: Vec<Timestamp> =
        std::iter::successors(Some(first), following).take(SKIPPED_COUNTED_MAX.saturating_add(newest_max)).collect();
    let last = counted.last().copied().unwrap_or(first);
    let newest = if following(&last).is_none() {
        counted[counted.len().saturating_sub(newest_max)..].to_vec()
    } else {
        newest_through(rhythm, first, through, newest_max)
    };
    let oldest = newest.first().copied().unwrap_or(first);
    let earlier = counted.iter().take_while(|tick| **tick < oldest).take(SKIPPED_COUNTED_MAX);
    let count = u64::try_from(earlier.count()).expect("counted ticks are few");
    let before = (count > 0).then(|| (count, first, last_through(rhythm, first, Timestamp(oldest.0 - 1))));
    DueTicks { newest, before }
}

/// The newest ticks up to a time, oldest first.
fn newest_through(rhythm: &Rhythm, first: Timestamp, through: Timestamp, max: usize) -> Vec<Timestamp> {
    let mut newest = vec![];
    let mut through = through;
    while newest.len() < max && through >= first {
        let tick = last_through(rhythm, first, through);
        newest.push(tick);
        through = Timestamp(tick.0.saturating_sub(1));
    }
    newest.reverse();
    newest
}

/// The last tick up to a time; `first` is one. Halves the time between: the tick after a time never goes back.
fn last_through(rhythm: &Rhythm, first: Timestamp, through: Timestamp) -> Timestamp {
    let (mut last, mut beyond) = (first, through.0.saturating_add(1));
    while last.0 + 1 < beyond {
        let middle = Timestamp(last.0 + (beyond - last.0) / 2);
        match rhythm.next_after(Timestamp(middle.0 - 1)) {
            Some(tick) if tick <= through => last = tick,
            Some(_) | None => beyond = middle.0,
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn the_newest_are_found_without_walking_through_all() {
        let rhythm = Rhythm::parse("*/5 * * * *", "").unwrap();
        let at = |n: u64| Timestamp(n * 5 * MINUTE);
        let some = due_ticks(&rhythm, at(10), at(14), 3);
        assert_eq!(some, DueTicks { newest: vec![at(12), at(13), at(14)], before: Some((2, at(10), at(11))) });
        let one = due_ticks(&rhythm, at(10), Timestamp(at(11).0 - 1), 3);
        assert_eq!(one, DueTicks { newest: vec![at(10)], before: None });
        // Thirty years of them.
        let many = due_ticks(&rhythm, at(10), Timestamp(at(3_155_760).0 + 7), 2);
        let counted = u64::try_from(SKIPPED_COUNTED_MAX).unwrap();
        let before = Some((counted, at(10), at(3_155_758)));
        assert_eq!(many, DueTicks { newest: vec![at(3_155_759), at(3_155_760)], before });
    }
}
