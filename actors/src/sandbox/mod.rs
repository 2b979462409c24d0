//! Runs a program on input we do not trust, with nothing but what it needs. The video runners call it.
//!
//! The program starts as our own executable (`steward sandbox-exec POLICY`), which takes its own rights away and then
//! becomes the program. Nothing runs between fork and exec, so no `unsafe` is needed.
//!
//! # Invariants
//! - **X1 reads**: the child reads system libraries and the files its policy names; no other file of the machine.
//! - **X2 writes**: it writes below one folder; no file grows past the policy's limit, nor all together past another one
//!   by more than what is written between two looks.
//! - **X3 network**: it opens no socket of any kind.
//! - **X4 bounds**: its memory, CPU time, wall time and silence are bounded; past a bound it is killed.
//! - **X5 gone**: when [`Sandbox::run`] returns or is dropped, the whole process group is gone; when this process dies,
//!   so does the child.
//! - **X6 honest**: without Landlock nothing runs, unless the configuration accepts that.
//!
//! # Decisions
//! - The kernel kills the child when the *thread* that started it ends. Runners start children on runtime threads,
//!   which live as long as the process; a blocking thread must not call [`Sandbox::run`].

mod child;
mod enter;
mod policy;
mod quota;
mod syscalls;

pub use child::{ChildError, Exit, Finished, Sandbox, Watch};
pub use enter::{run_sandbox_exec, support};
pub use policy::{Policy, SandboxConfig};

/// The hidden subcommand that takes a policy and becomes the program it names.
pub const SANDBOX_EXEC: &str = "sandbox-exec";
