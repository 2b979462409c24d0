//! Which blobs of the folder somebody works with, and which may go because an object store has them.
//!
//! Files are removed only here, under one lock with those that put files in or begin to read.
//!
//! # Invariants
//! - **H1 in use**: a blob that is held is not removed.
//! - **H2 bounded**: what may go is removed, least recently used first, while it has more bytes than the cache.
//! - **H3 only copies**: a file counts as one that may go once the store has said that it has it, until it is put in anew.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::BlobHash;
use crate::metrics;

#[derive(Default)]
struct Held {
    count: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct State {
    held: HashMap<BlobHash, Held>,
    /// What may go, and its bytes.
    copies: LruCache<BlobHash, u64>,
    bytes: u64,
    may_shrink: bool,
}

/// One for a folder.
pub(super) struct Shelf {
    state: Mutex<State>,
    /// Bytes of copies that stay; none where the folder is all there is.
    cache_bytes: Option<u64>,
}

/// While it lives, the blob stays in the folder.
pub struct Hold {
    shelf: Arc<Shelf>,
    hash: BlobHash,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.hash).finish()
    }
}

impl Shelf {
    pub(super) fn new(cache_bytes: Option<u64>) -> Arc<Self> {
        let state = State { held: HashMap::new(), copies: LruCache::unbounded(), bytes: 0, may_shrink: false };
        Arc::new(Self { state: Mutex::new(state), cache_bytes })
    }

    /// Whether the folder is a cache.
    pub(super) fn is_cache(&self) -> bool {
        self.cache_bytes.is_some()
    }

    pub(super) fn hold(self: &Arc<Self>, hash: &BlobHash) -> Hold {
        let mut state = self.state.lock();
        state.held.entry(hash.clone()).or_default().count += 1;
        state.copies.promote(hash);
        Hold { shelf: Arc::clone(self), hash: hash.clone() }
    }

    /// Puts a file in; from now on it is no copy that may go.
    pub(super) fn put_in(&self, hash: &BlobHash, put: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        put()?;
        if let Some(bytes) = state.copies.pop(hash) {
            state.bytes -= bytes;
        }
        Ok(())
    }

    /// The store has the blob.
    pub(super) fn may_go(&self, hash: &BlobHash, bytes: u64, path: impl Fn(&BlobHash) -> PathBuf) {
        let Some(limit) = self.cache_bytes else { return };
        let mut state = self.state.lock();
        let before = state.copies.put(hash.clone(), bytes);
        state.bytes = state.bytes + bytes - before.unwrap_or_default();
        state.shrink(limit, path);
    }

    /// Every file that was here before the store was is in the store.
    pub(super) fn may_shrink(&self, path: impl Fn(&BlobHash) -> PathBuf) {
        let mut state = self.state.lock();
        state.may_shrink = true;
        if let Some(limit) = self.cache_bytes {
            state.shrink(limit, path);
        }
    }
}

impl State {
    fn shrink(&mut self, limit: u64, path: impl Fn(&BlobHash) -> PathBuf) {
        if !self.may_shrink {
            return;
        }
        let mut passed = vec![];
        while self.bytes > limit
            && let Some((hash, bytes)) = self.copies.pop_lru()
        {
            self.bytes -= bytes;
            if self.held.contains_key(&hash) {
                passed.push((hash, bytes));
                continue;
            }
            if let Err(error) = fs::remove_file(path(&hash)) {
                tracing::warn!(hash = hash.as_str(), %error, "a blob could not be removed from the cache");
            }
        }
        // Those in use go when they are looked at next; they stay the oldest.
        for (hash, bytes) in passed.into_iter().rev() {
            self.bytes += bytes;
            self.copies.put(hash.clone(), bytes);
            self.copies.demote(&hash);
        }
        metrics::blob_cache_bytes(self.bytes);
    }
}

impl Hold {
    /// The turn to bring the blob: several want it at the same time, and one brings it.
    pub(super) fn turn(&self) -> Arc<tokio::sync::Mutex<()>> {
        let state = self.shelf.state.lock();
        state.held.get(&self.hash).map(|held| Arc::clone(&held.turn)).unwrap_or_default()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shelf.state.lock();
        if let Some(held) = state.held.get_mut(&self.hash) {
            held.count -= 1;
            if held.count == 0 {
                state.held.remove(&self.hash);
            }
        }
    }
}
