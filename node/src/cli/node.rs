//! `steward node`, `steward dev` and `steward config`.

use std::path::Path;

use anyhow::Context as _;
use clap::Subcommand;

use super::output::Out;
use super::{ConfigArgs, NodeArgs, environment};
use crate::app;
use crate::config::{Config, Layers, show};

/// Threads for file reads and the like; they end when they are idle.
const BLOCKING_THREADS_MAX: usize = 64;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks the settings and prints them; exits with 1 when something is wrong
    Check(ShownArgs),
    /// Prints the settings
    Show {
        #[command(flatten)]
        shown: ShownArgs,
        /// Says where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct ShownArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// As `steward dev` would see them
    #[arg(long)]
    dev: bool,
}

pub(super) fn run(args: &NodeArgs, dev: bool) -> anyhow::Result<()> {
    let config = layers(&args.config, dev).load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("steward")
        .on_thread_start(steward_cluster::priority::in_turn)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let told = |ready: &app::Ready| {
        if let Some(file) = &args.ready_file {
            write_whole(file, &ready.json()).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if dev { greet(ready) } else { Ok(()) }
    };
    let outcome = runtime.block_on(app::run(config, told));
    // Everything is on disk; a model at work on a blocking thread must not hold the process up.
    runtime.shutdown_background();
    outcome
}

/// The file appears whole: whoever waits for it may read it at once.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(draft, file)
}

/// What someone who just typed `steward dev` needs to go on.
fn greet(ready: &app::Ready) -> anyhow::Result<()> {
    let mut out = Out::stdout();
    out.line(format!("Steward {} is ready.\n", env!("CARGO_PKG_VERSION")))?;
    out.line(format!("  webhooks, health, metrics   http://{}", ready.http))?;
    out.line(format!("  API (gRPC)                  http://{}", ready.grpc))?;
    out.line(format!("  data                        {}", ready.data_dir.display()))?;
    let Some(file) = &ready.operator_key_file else {
        return out.line("  authentication              off");
    };
    out.line(format!("  operator key                {}\n", file.display()))?;
    out.line("Try:\n")?;
    out.line(format!("  export STEWARD_ADDRESS=http://{} STEWARD_KEY=$(cat {})", ready.grpc, file.display()))?;
    out.line("  steward ctl account create acme")?;
    out.line("  steward ctl event follow acme")
}

pub(super) fn config(command: ConfigCommand) -> anyhow::Result<()> {
    let (shown, origins) = match command {
        ConfigCommand::Check(shown) => (shown, false),
        ConfigCommand::Show { shown, origin } => (shown, origin),
    };
    let mut layers = layers(&shown.config, shown.dev);
    layers.load()?;
    Out::stdout().bytes(show(&layers, origins).as_bytes())
}

fn layers(args: &ConfigArgs, dev: bool) -> Layers {
    let mut layers = Layers::defaults();
    if dev {
        layers = layers.dev();
    }
    if let Some(file) = &args.config {
        layers = layers.file(file);
    }
    layers
        .environment(environment())
        .flag("--data-dir", "node.data_dir", args.data_dir.as_deref())
        .flag("--http-listen", "http.listen", args.http_listen.as_deref())
        .flag("--grpc-listen", "grpc.listen", args.grpc_listen.as_deref())
        .assignments(&args.set)
}

/// The settings of a command that runs beside a node.
pub(super) fn load(args: &ConfigArgs) -> anyhow::Result<Config> {
    Ok(layers(args, false).load()?)
}
