//! The engine without files: a sorted map. For tests, the simulator and `steward dev` without a data folder.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Changes, Raw, Visitor};
use crate::store::Direction;
use crate::store::error::Fault;

/// A sorted map under one lock; readers hold it for as long as their view lasts.
#[derive(Default)]
pub(in crate::store) struct Memory {
    map: RwLock<BTreeMap<Bytes, Bytes>>,
}

impl Raw for Memory {
    const NAME: &'static str = "memory";

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.map.read().get(key).cloned())
    }

    fn commit(&self, changes: Changes) -> Result<(), Fault> {
        let mut map = self.map.write();
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn visit(&self, start: &[u8], end: &[u8], direction: Direction, visitor: &mut Visitor<'_>) -> Result<(), Fault> {
        let map = self.map.read();
        let range = map.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        // The visitor alone decides when to stop; reaching the end is no different.
        match direction {
            Direction::Forward => range.map(|(key, value)| visitor(key, value)).any(|flow| flow.is_break()),
            Direction::Backward => range.rev().map(|(key, value)| visitor(key, value)).any(|flow| flow.is_break()),
        };
        Ok(())
    }

    fn flush(&self) -> Result<(), Fault> {
        Ok(())
    }
}
