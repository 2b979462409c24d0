//! `steward sandbox-exec` alone, so that the tests of this crate can start sandboxed children without the node's binary.

use std::process::ExitCode;

use steward_actors::sandbox::{SANDBOX_EXEC, run_sandbox_exec};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some(SANDBOX_EXEC), Some(policy)) => run_sandbox_exec(&policy),
        (Some(_) | None, _) => ExitCode::FAILURE,
    }
}
