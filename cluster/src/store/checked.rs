//! The store's rules over any engine: limits, reserved keys, applied indices, half-done loads, and what happens when
//! the engine fails. Made by [`super::opening`].

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bytes::Bytes;

use super::batch::WriteBatch;
use super::engines::{Changes, Raw, Visitor};
use super::error::{Fault, StoreError};
use super::keys::{self, KeyRange, VALUE_BYTES_MAX};
use super::{Direction, Sink, StateStore, metrics, opening};
use crate::ids::{LogIndex, ShardId};

/// How many keys of a shard are removed in one step.
const CLEAR_KEYS_MAX: usize = 1_000;
/// How many results a scan makes room for before it has seen any.
const SCAN_RESERVE_MAX: usize = 256;

/// An engine that panicked says only this much.
#[derive(Debug, thiserror::Error)]
#[error("engine panicked: {0}")]
struct Panicked(String);

/// An applied index that is not eight bytes.
#[derive(Debug, thiserror::Error)]
#[error("applied index has {0} bytes")]
struct AppliedLength(usize);

/// Runs an engine's code; a panic in it is one of its failures.
pub(super) fn catching<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(Panicked(panic_text(&*panic)).into()))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

/// An engine under the store's rules.
pub(super) struct Checked<R> {
    raw: R,
    /// Where to leave word of damage; none for an engine without files.
    dir: Option<PathBuf>,
}

impl<R: Raw> Checked<R> {
    pub(super) fn new(raw: R, dir: Option<PathBuf>) -> Self {
        Self { raw, dir }
    }

    /// Runs one engine operation; a failure is counted and leaves the store marked for rebuilding.
    fn run<T>(&self, doing: &'static str, operation: impl FnOnce(&R) -> Result<T, Fault>) -> Result<T, StoreError> {
        catching(|| operation(&self.raw)).map_err(|source| {
            let error = StoreError::Engine { engine: R::NAME, doing, source };
            metrics::failed(R::NAME, &error);
            if let Some(dir) = self.dir.as_deref().filter(|_| !is_full_disk(&error)) {
                opening::mark_damaged(dir, &describe(&error)).unwrap_or_else(|unmarked| {
                    tracing::error!(error = %describe(&unmarked), "damaged store could not be marked");
                });
            }
            error
        })
    }

    fn visit(&self, start: &[u8], end: &[u8], direction: Direction, see: &mut Visitor<'_>) -> Result<(), StoreError> {
        self.run("read a range", |raw| raw.visit(start, end, direction, see))
    }

    fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        let count = changes.len();
        self.run("write a batch", |raw| raw.commit(changes))?;
        metrics::written(R::NAME, count);
        Ok(())
    }

    fn refuse<T>(error: StoreError) -> Result<T, StoreError> {
        metrics::failed(R::NAME, &error);
        Err(error)
    }

    fn index_from(&self, value: &[u8]) -> Result<LogIndex, StoreError> {
        self.run("read an applied index", |_| {
            let bytes = value.try_into().map_err(|_| AppliedLength(value.len()))?;
            Ok(LogIndex(u64::from_be_bytes(bytes)))
        })
    }

    fn remove_keys(&self, shard: ShardId) -> Result<(), StoreError> {
        let range = KeyRange::shard(shard);
        loop {
            let mut changes = Changes::new();
            self.visit(range.start(), range.end(), Direction::Forward, &mut |key, _| {
                changes.push((Bytes::copy_from_slice(key), None));
                if changes.len() < CLEAR_KEYS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if changes.is_empty() {
                return Ok(());
            }
            self.commit(changes)?;
        }
    }
}

impl<R: Raw> StateStore for Checked<R> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !keys::is_open(key) {
            return Self::refuse(StoreError::Key { len: key.len() });
        }
        self.run("read a key", |raw| raw.get(key))
    }

    fn scan(&self, range: &KeyRange, direction: Direction, limit: usize) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut found = Vec::with_capacity(limit.min(SCAN_RESERVE_MAX));
        if limit == 0 || range.start() >= range.end() {
            return Ok(found);
        }
        self.visit(range.start(), range.end(), direction, &mut |key, value| {
            found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        for (key, value) in &batch.changes {
            let value_len = value.as_ref().map_or(0, Bytes::len);
            if !keys::is_open(key) {
                return Self::refuse(StoreError::Key { len: key.len() });
            }
            if value_len > VALUE_BYTES_MAX {
                return Self::refuse(StoreError::Value { len: value_len });
            }
        }
        let mut changes = Changes::with_capacity(batch.changes.len() + batch.applied.len());
        changes.extend(batch.changes);
        // Last, so that whoever reads an applied index finds at least what it stands for.
        changes.extend(batch.applied.into_iter().map(|(shard, index)| applied_change(shard, index)));
        if changes.is_empty() { Ok(()) } else { self.commit(changes) }
    }

    fn applied(&self, shard: ShardId) -> Result<LogIndex, StoreError> {
        if self.run("read a key", |raw| raw.get(&keys::incomplete_key(shard)))?.is_some() {
            return Self::refuse(StoreError::Incomplete { shard });
        }
        match self.run("read a key", |raw| raw.get(&keys::applied_key(shard)))? {
            Some(value) => self.index_from(&value),
            None => Ok(LogIndex(0)),
        }
    }

    fn shard_view(&self, shard: ShardId, sink: &mut Sink<'_>) -> Result<LogIndex, StoreError> {
        let (applied_key, incomplete_key) = (keys::applied_key(shard), keys::incomplete_key(shard));
        let mut applied = None;
        let mut incomplete = false;
        let mut outcome = Ok(());
        self.visit(&keys::shard_prefix(shard), &keys::shard_end(shard), Direction::Forward, &mut |key, value| {
            // Reserved keys come last and are not the caller's.
            if key == applied_key {
                applied = Some(Bytes::copy_from_slice(value));
            } else if key == incomplete_key {
                incomplete = true;
            } else {
                outcome = sink(key, value);
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome?;
        match applied {
            _ if incomplete => Self::refuse(StoreError::Incomplete { shard }),
            Some(value) => self.index_from(&value),
            None => Ok(LogIndex(0)),
        }
    }

    fn shards(&self) -> Result<Vec<ShardId>, StoreError> {
        let mut shards = Vec::new();
        let mut next = Some(0_u16);
        while let Some(from) = next {
            let mut found = None;
            self.visit(&keys::shard_prefix(ShardId(from)), &[0xFF; 4], Direction::Forward, &mut |key, _| {
                found = keys::shard_of(key);
                ControlFlow::Break(())
            })?;
            shards.extend(found);
            next = found.and_then(|shard| shard.0.checked_add(1));
        }
        Ok(shards)
    }

    fn clear_shard(&self, shard: ShardId) -> Result<(), StoreError> {
        self.begin_load(shard)?;
        self.commit(vec![(Bytes::copy_from_slice(&keys::incomplete_key(shard)), None)])
    }

    fn begin_load(&self, shard: ShardId) -> Result<(), StoreError> {
        self.commit(vec![
            (Bytes::copy_from_slice(&keys::incomplete_key(shard)), Some(Bytes::new())),
            (Bytes::copy_from_slice(&keys::applied_key(shard)), None),
        ])?;
        self.remove_keys(shard)
    }

    fn pace(&self) -> Result<(), StoreError> {
        self.run("wait for upkeep", R::pace)
    }

    fn finish_load(&self, shard: ShardId, index: LogIndex) -> Result<(), StoreError> {
        self.commit(vec![(Bytes::copy_from_slice(&keys::incomplete_key(shard)), None), applied_change(shard, index)])
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.run("flush", R::flush)
    }

    fn engine(&self) -> &'static str {
        R::NAME
    }
}

fn applied_change(shard: ShardId, index: LogIndex) -> (Bytes, Option<Bytes>) {
    let value = Bytes::copy_from_slice(&index.0.to_be_bytes());
    (Bytes::copy_from_slice(&keys::applied_key(shard)), Some(value))
}

/// A full disk says nothing about what is on it.
pub(super) fn is_full_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
    })
}

/// An error and its causes on one line.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
