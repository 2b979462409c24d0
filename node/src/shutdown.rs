//! When to stop: SIGTERM or SIGINT. The composition root waits here, then stops everything in order.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Signals that ask the process to stop.
pub(crate) struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Takes the signals over; from now on they do not end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either, and says which.
    pub(crate) async fn asked(&mut self) {
        let signal = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal, "the node stops");
    }
}
