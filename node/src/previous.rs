//! The binary `steward` as the release before this one: all but the newest format. Tests of upgrades go back to it.

use std::process::ExitCode;

/// Many small, short-lived allocations from many threads: mimalloc keeps them apart and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    steward_node::main()
}
