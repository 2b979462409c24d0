//! Places at which a test lets the process die as if by `kill -9`. An ordinary build has none of it: without the feature
//! `failpoints` a point is an empty function.
//!
//! A test names the place in the file that [`ARMED`] points to; the next thread that comes by ends the process.

/// A place between two steps that a crash must not tear apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    /// A group of batches is about to be written.
    BeforeAppend,
    /// It is written and not synced.
    BeforeSync,
    /// It is durable, and nobody knows.
    AfterSync,
    /// Entries are committed and not in the store.
    BeforeApply,
    /// They are in the store, and nobody was answered or told.
    BeforeAnswer,
    /// A leadership is about to be handed over.
    BeforeTransfer,
    /// A change of members is proposed and not written.
    ChangeProposed,
    /// It is committed and has no effect here.
    ChangeCommitted,
    /// A snapshot is about to be loaded, and what it replaces is gone.
    DuringInstall,
}

/// The environment variable that names the file.
#[cfg(feature = "failpoints")]
const ARMED: &str = "FAILPOINT_FILE";

/// Ends the process when a test wants it to end here.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "this is no setting, and no part of an ordinary build")]
pub(crate) fn passed(point: Point) {
    let Some(file) = std::env::var_os(ARMED) else { return };
    if std::fs::read_to_string(file).is_ok_and(|armed| armed == format!("{point:?}")) {
        // Never returns: the kernel ends the thread before it is back.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
    }
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn passed(_: Point) {}
