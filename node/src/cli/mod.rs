//! The command line: what can be asked of the binary, and how its answers look.
//!
//! Results go to stdout, errors to stderr with one clear line and exit code 1; wrong usage exits with 2.

mod ca;
mod ctl;
mod node;
mod output;
mod tools;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use steward_actors::sandbox;

use output::Out;

/// Durable, supervised actors for every customer account: webhooks in, video and AI jobs, one replayable feed.
#[derive(Debug, Parser)]
#[command(name = "steward", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one node with everything in it, keeping its data in a folder of the current one
    Dev(NodeArgs),
    /// Runs a node
    Node(NodeArgs),
    /// Talks to a running node
    Ctl(ctl::CtlArgs),
    /// Checks and shows settings
    #[command(subcommand)]
    Config(node::ConfigCommand),
    /// Makes the certificates by which the nodes of a cluster know each other
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Checks webhook signatures and lists their schemes
    #[command(subcommand)]
    Webhook(tools::WebhookCommand),
    /// Installs local models
    #[command(subcommand)]
    Models(tools::ModelsCommand),
    /// Prints completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Becomes a sandboxed program; the node starts it for media tools
    #[command(name = sandbox::SANDBOX_EXEC, hide = true)]
    SandboxExec { policy: String },
}

/// Where settings come from.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// File of settings
    #[arg(long, env = "STEWARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, such as log.level=debug; can be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of everything the node keeps (node.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address for webhooks, health and metrics (http.listen)
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Address for the API (grpc.listen)
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<String>,
}

#[derive(Debug, Args)]
struct NodeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Writes the chosen addresses and the operator's key file here, as JSON, once the node is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Dev(args) => node::run(&args, true),
        Command::Node(args) => node::run(&args, false),
        Command::Ctl(args) => ctl::run(args),
        Command::Config(command) => node::config(command),
        Command::Ca(command) => ca::run(command),
        Command::Webhook(command) => tools::webhook(command),
        Command::Models(command) => tools::models(command),
        Command::Completions { shell } => completions(shell),
        Command::SandboxExec { policy } => return sandbox::run_sandbox_exec(&policy),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut text = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "steward", &mut text);
    Out::stdout().bytes(&text)
}

/// The environment, for settings. `config` decides which variables it means.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
