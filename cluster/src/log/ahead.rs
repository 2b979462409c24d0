//! Makes spares on a thread of its own, so that no group waits for zeros. The log thread owns it.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::append::Log;
use super::disk::Disk;
use super::spare::{Order, Spare};
use crate::priority;

/// The log orders one at a time; what does not fit in is made for a later segment.
const ORDERS_MAX: usize = 1;

/// The running thread. Dropping it ends it; what it is at goes.
pub(crate) struct Ahead {
    orders: Option<Sender<Order>>,
    made: Receiver<Spare>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    pub(crate) fn start(disk: Arc<dyn Disk>) -> std::io::Result<Self> {
        let (orders, ordered) = bounded(ORDERS_MAX);
        let (maker, made) = bounded(ORDERS_MAX);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&is_stopping);
        let run = move || {
            priority::in_turn();
            make_all(disk.as_ref(), &ordered, &maker, &stopping);
        };
        let thread = std::thread::Builder::new().name("steward-ahead".to_owned()).spawn(run)?;
        Ok(Self { orders: Some(orders), made, is_stopping, thread: Some(thread) })
    }

    /// Gives the log what was made, and orders what it wants. Waits for nothing.
    pub(crate) fn serve(&self, log: &mut Log) {
        for spare in self.made.try_iter() {
            log.add_spare(spare);
        }
        if let Some((orders, order)) = self.orders.as_ref().zip(log.wanted_spare()) {
            // While the last one is still being made, this segment goes without.
            orders.try_send(order).ok();
        }
    }
}

fn make_all(disk: &dyn Disk, ordered: &Receiver<Order>, maker: &Sender<Spare>, is_stopping: &AtomicBool) {
    for order in ordered {
        match order.make(disk, || !is_stopping.load(Ordering::Relaxed)) {
            Ok(Some(spare)) => {
                // Nobody takes it any more when the log ends; the next start removes it.
                maker.send(spare).ok();
            }
            Ok(None) => return,
            // Only the log itself must not fail: it goes on without a spare.
            Err(failure) => {
                let cause = failure.source().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%failure, cause, "no spare log file was made");
            }
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.orders = None;
        // One that waits to be taken in would hold the thread up.
        let (_, nothing) = bounded(0);
        self.made = nothing;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened; there is nobody left to tell.
            thread.join().ok();
        }
    }
}
