//! The engines under the store: each only keeps ordered bytes. [`super::checked`] puts the store's rules on top.

pub(super) mod fjall;
pub(super) mod memory;
pub(super) mod sled;

use std::ops::ControlFlow;

use bytes::Bytes;

use super::Direction;
use super::error::Fault;

/// Changes in the order they are to be applied; none means deleted.
pub(super) type Changes = Vec<(Bytes, Option<Bytes>)>;
/// Sees one key and value; says whether to go on.
pub(super) type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered bytes with atomic batches and consistent reads.
pub(super) trait Raw: Send + Sync {
    /// The name for logs and labels.
    const NAME: &'static str;
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault>;
    /// Applies all changes in one step.
    fn commit(&self, changes: Changes) -> Result<(), Fault>;
    /// Waits until a writer that is in no hurry is in nobody's way.
    fn pace(&self) -> Result<(), Fault> {
        Ok(())
    }
    /// Walks from `start` (in) to `end` (out) over one moment of the store. `start` is not after `end`.
    fn visit(&self, start: &[u8], end: &[u8], direction: Direction, visitor: &mut Visitor<'_>) -> Result<(), Fault>;
    /// Everything committed so far survives a power cut.
    fn flush(&self) -> Result<(), Fault>;
}
