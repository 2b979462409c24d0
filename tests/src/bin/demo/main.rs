//! `make demo`: the main job on real input, end to end, told as it happens.
//!
//! Starts a node, a platform and a receiver as processes of their own, and speaks to the node as any client would.
#![expect(clippy::print_stdout, reason = "a demo talks to a person")]

mod node;
mod outside;
mod story;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

/// Files of the demo: made anew by each run.
const FOLDER: &str = ".demo";

fn main() -> ExitCode {
    let run = || -> anyhow::Result<()> {
        let mut args = std::env::args().skip(1);
        let steward = match (args.next().as_deref(), args.next()) {
            (Some("--steward"), Some(path)) => PathBuf::from(path),
            _ => bail!("usage: demo --steward PATH"),
        };
        let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
        runtime.block_on(story::tell(&steward, &PathBuf::from(FOLDER)))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo failed: {error:#}");
            println!("The node's log is {FOLDER}/node.log");
            ExitCode::FAILURE
        }
    }
}
