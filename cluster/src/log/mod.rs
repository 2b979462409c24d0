//! The log of a node ⑥: one sequence of segment files that holds the records of all its shards.
//!
//! The Raft driver hands it batches, through [`LogThread`] in production and straight to [`Log`] in the simulation;
//! replication reads single entries back through [`LogReader`].
//!
//! # Invariants
//! - **L1 durable**: [`Log::append`] returns only after one `fdatasync` that followed its one write.
//! - **L2 whole**: what one `append` wrote is recovered whole or not at all.
//! - **L3 strict**: recovery forgives a torn tail of the last segment with nothing valid behind it. Anything else is
//!   [`LogError::Damaged`] with file and offset; a damaged byte is never served.
//! - **L4 once**: a failed write or sync poisons the log. It is never tried again on the same file, since a kernel may
//!   report a lost page once and then call the file clean.
//! - **L5 refused before lost**: below the floor of free space `append` refuses before it writes, and works again when
//!   space returns.
//! - **L6 absence**: the log knows shards, terms and indices. It has never heard of what a payload means, keeps no
//!   cache, and does not replicate.
//!
//! # Layout
//! ```text
//! segment file   = segment header, group*
//! segment header = magic 8, format version u32, segment number u64, first sequence u64, crc u32
//! group          = marker 4, body length u32, sequence u64, crc u32 (also over segment number and offset), record*
//! record         = body length varint, crc u32 (over length and body), body
//! body           = kind u8, shard varint, term varint, index varint, payload
//! ```
//! Numbers are little endian, checksums CRC32C. A group is what one `append` wrote. Behind the last group of the newest
//! segment may stand zeros, or groups of lower segments that were in the same file; behind that of any other, nothing.
//!
//! # Decisions
//! - **One group is one write, and the group is the unit of tearing.** Recovery looks for group headers behind a bad
//!   spot, never for single records: pages of one unsynced write may reach the disk in any order, so a whole record
//!   behind a torn one is normal, while a second group proves that the first had been synced. Rejected: batches that
//!   are valid record by record; an entry could then outlive the hard state written with it.
//! - **The group checksum covers its own place.** A payload that contains the bytes of a group can not pass for one.
//! - **Sequence numbers chain groups over segments**, so a middle segment cut exactly between two groups, or missing,
//!   is found. The last group of the last segment is the one place where damage and a torn write look alike.
//! - **Recovery writes the last group again and syncs it before anybody acts on it.** After a mere kill the page cache
//!   shows bytes no sync covered, and after a failed sync it shows them as clean, so that a sync alone would not write
//!   them; a vote or an acknowledgement must not be based on them before they are durable. Only the last group can be
//!   in doubt: each other one was synced before the next was written. Rejected: a copy of the segment under another
//!   name; it is as much work as the segment is long.
//! - **A dead segment becomes a later one**, and where none has died in time one is made of zeros, by a thread beside
//!   this one: the sync of a group that makes a file longer commits that to the journal of the file system. What is
//!   stale in it can not pass for a group, since the checksum covers the segment's number and a file only ever gets
//!   higher ones. See `docs/decisions/0013-segments-are-made-ahead.md`.
//! - **Segments die from the oldest on.** A shard that never snapshots pins the log behind it; in exchange the numbers
//!   of the segments stay gapless and a lost file is noticed. Rejected: holes, with a manifest to vouch for them.
//! - **A snapshot mark is the only thing that frees entries.** The log takes no other word for "covered", so what was
//!   dropped and what recovery expects can not differ.
//! - **A full disk has two levels.** Below `reserve_bytes` the driver refuses proposals while votes, terms and marks
//!   still fit; below `floor_bytes` nothing is written. Rejected: waiting for ENOSPC, which poisons the log.

mod ahead;
mod append;
pub mod disk;
mod error;
mod liveness;
pub(crate) mod metrics;
mod newest;
mod reader;
mod record;
mod recover;
mod segment;
mod spare;
mod thread;

pub use append::{Log, LogConfig, LogStats};
pub use error::LogError;
pub use reader::LogReader;
pub use record::{Batch, Position, Record, RecordKind};
pub use recover::RecoveredShard;
pub(crate) use thread::SpaceWatch;
pub use thread::{Durable, LogStopped, LogThread};
