//! Mistakes the harness can make on purpose, to prove that the invariants see them. Chosen by `main`, made by the node.

/// A mistake around the core; the core itself is the production one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No mistake.
    None,
    /// A batch is reported durable before it is written.
    EarlyDurable,
    /// After a restart the core is told the store is one entry behind.
    AppliedTwice,
    /// A proposal decided in an older term is passed off as one of the current term.
    TermUnchecked,
    /// Roles are told before the entries handed over with them are applied.
    EarlyReady,
    /// Some answers never reach the caller.
    LostAnswer,
    /// A read is answered from what a leader has, without asking whether it still leads.
    StaleRead,
}
