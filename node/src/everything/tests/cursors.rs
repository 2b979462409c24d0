//! A cursor means the same when it comes back, and nothing else is taken for one.

use proptest::prelude::*;
use steward_cluster::ids::{LogIndex, ShardId};

use super::super::cursor::{ClusterMark, CursorError, Places};

fn places(indices: &[u64]) -> Places {
    let mut places = Places::beginning(u16::try_from(indices.len()).unwrap());
    (0..).zip(indices).for_each(|(shard, index)| places.set(ShardId(shard), LogIndex(*index)));
    places
}

fn ours() -> ClusterMark {
    ClusterMark::of(&[7; 32])
}

proptest! {
    #[test]
    fn a_cursor_comes_back_as_it_was(indices in prop::collection::vec(any::<u64>(), 1..70)) {
        let (places, shards) = (places(&indices), u16::try_from(indices.len()).unwrap());
        let text = places.encode(ours());
        prop_assert_eq!(Places::decode(&text, ours(), shards), Ok(places));
        let foreign = ClusterMark::of(&[8; 32]);
        prop_assert_eq!(Places::decode(&text, foreign, shards), Err(CursorError::OtherCluster));
        prop_assert_eq!(Places::decode(&text, ours(), shards - 1), Err(CursorError::Form));
        prop_assert_eq!(Places::decode(&text, ours(), shards + 1), Err(CursorError::Form));
    }

    #[test]
    fn a_changed_cursor_is_refused(
        indices in prop::collection::vec(any::<u64>(), 1..20),
        at in any::<prop::sample::Index>(),
        put in "[A-Za-z0-9_-]",
    ) {
        let shards = u16::try_from(indices.len()).unwrap();
        let text = places(&indices).encode(ours());
        let at = at.index(text.len());
        let changed = format!("{}{put}{}", &text[..at], &text[at + 1..]);
        if changed != text {
            prop_assert_eq!(Places::decode(&changed, ours(), shards), Err(CursorError::Form));
        }
    }

    #[test]
    fn no_other_text_is_a_cursor(text in "\\PC{0,60}") {
        prop_assert_eq!(Places::decode(&text, ours(), 4), Err(CursorError::Form));
    }
}

/// Clients keep cursors for as long as they like.
#[test]
fn what_was_given_is_taken_for_ever() {
    let text = "AYZcG7zZwE24AAGAAv___________wG9ASQBiA0";
    let given = places(&[0, 1, 256, u64::MAX, 189]);
    assert_eq!(given.encode(ours()), text);
    assert_eq!(Places::decode(text, ours(), 5), Ok(given));
}

#[test]
fn a_cursor_of_many_shards_fits_into_a_request() {
    let text = places(&[1_000_000_000_000; 1_024]).encode(ours());
    assert!(text.len() < 10_000, "{}", text.len());
}
