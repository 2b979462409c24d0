//! What waits to be sent to one node. The Raft driver puts in without waiting, the link takes out whole frames.
//!
//! # Invariants
//! - **O1 bounded**: it never holds more than [`QUEUE_MESSAGES_MAX`] messages or [`QUEUE_BYTES_MAX`] bytes; what does
//!   not fit is dropped and counted. Raft sends again what matters.
//! - **O2 order**: what is not dropped leaves in the order it came in.
//!
//! # Decisions
//! - What waits while there is no link leaves with the next one. Raft bears old messages, and the first votes of a node
//!   that starts are not lost; throwing the queue away at each new link was refused for that.

use std::collections::VecDeque;

use parking_lot::Mutex;
use prost::Message as _;
use steward_proto::peer::v1 as pb;
use tokio::sync::Notify;

use super::metrics;
use crate::raft::PeerMessage;

/// Messages and bytes that wait for one node at most.
pub(super) const QUEUE_MESSAGES_MAX: usize = 16 * 1024;
pub(super) const QUEUE_BYTES_MAX: usize = 64 << 20;
/// A frame is closed before it grows beyond this; a single larger message goes alone.
pub(super) const FRAME_BYTES_MAX: usize = 4 << 20;
/// Tag and length before a message in its frame.
const MESSAGE_HEAD_BYTES: usize = 6;

/// Messages on their way to one node.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<(pb::RaftMessage, usize)>,
    bytes: usize,
    /// Whether a frame is to leave even without messages.
    is_beat_due: bool,
}

impl Outbox {
    /// Takes what fits. Never blocks for longer than another caller needs to put its messages in.
    pub(super) fn put(&self, messages: Vec<PeerMessage>) {
        let mut dropped = 0_usize;
        // Measured before the lock is taken, so that the link waits for no one's arithmetic.
        let sized = messages.into_iter().map(|message| {
            let wire = message.into_wire();
            let bytes = wire.encoded_len() + MESSAGE_HEAD_BYTES;
            (wire, bytes)
        });
        let sized: Vec<(pb::RaftMessage, usize)> = sized.collect();
        let mut waiting = self.waiting.lock();
        for (message, bytes) in sized {
            let full = waiting.messages.len() >= QUEUE_MESSAGES_MAX || waiting.bytes + bytes > QUEUE_BYTES_MAX;
            if full {
                dropped += 1;
                continue;
            }
            waiting.bytes += bytes;
            waiting.messages.push_back((message, bytes));
        }
        drop(waiting);
        metrics::dropped(dropped);
        self.filled.notify_one();
    }

    /// The next frame says that this node is alive, if nothing else.
    pub(super) fn beat(&self) {
        self.waiting.lock().is_beat_due = true;
        self.filled.notify_one();
    }

    /// The next frame's messages, as soon as some wait; none after a beat.
    pub(super) async fn next(&self) -> Vec<pb::RaftMessage> {
        loop {
            if let Some(messages) = self.take() {
                return messages;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Vec<pb::RaftMessage>> {
        let mut waiting = self.waiting.lock();
        if waiting.messages.is_empty() && !waiting.is_beat_due {
            return None;
        }
        waiting.is_beat_due = false;
        let (mut taken, mut bytes) = (vec![], 0);
        while let Some((_, size)) = waiting.messages.front() {
            if !taken.is_empty() && bytes + size > FRAME_BYTES_MAX {
                break;
            }
            let (message, size) = waiting.messages.pop_front().expect("the front was just seen");
            waiting.bytes -= size;
            bytes += size;
            taken.push(message);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    fn indexes(messages: &[pb::RaftMessage]) -> Vec<u64> {
        messages.iter().map(|message| message.index).collect()
    }

    #[tokio::test]
    async fn what_waits_leaves_in_one_frame_and_in_order() {
        let outbox = Outbox::default();
        for index in 0..5 {
            outbox.put(vec![message(1, 2, index, 10)]);
        }
        outbox.beat();
        assert_eq!(indexes(&outbox.next().await), [0, 1, 2, 3, 4]);
        outbox.beat();
        assert_eq!(indexes(&outbox.next().await), [0; 0]);
    }

    #[test]
    fn frames_are_closed_before_they_are_too_large_and_a_larger_message_goes_alone() {
        let outbox = Outbox::default();
        let sizes = [FRAME_BYTES_MAX / 2, FRAME_BYTES_MAX / 3, FRAME_BYTES_MAX / 2, 2 * FRAME_BYTES_MAX, 10, 10];
        outbox.put((0..).zip(sizes).map(|(index, bytes)| message(1, 2, index, bytes)).collect());
        let mut frames = vec![];
        while let Some(frame) = outbox.take() {
            frames.push(indexes(&frame));
        }
        assert_eq!(frames, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    }

    #[test]
    fn beyond_its_limits_messages_are_dropped() {
        let outbox = Outbox::default();
        outbox.put((0..20_000).map(|index| message(1, 2, index, 1)).collect());
        assert_eq!(outbox.waiting.lock().messages.len(), QUEUE_MESSAGES_MAX);
        let outbox = Outbox::default();
        outbox.put((0..20).map(|index| message(1, 2, index, QUEUE_BYTES_MAX / 10)).collect());
        let waiting = outbox.waiting.lock();
        assert_eq!(waiting.messages.len(), 9);
        assert!(waiting.bytes <= QUEUE_BYTES_MAX);
    }
}
