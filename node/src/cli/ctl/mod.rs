//! `steward ctl`: talks to a running node over its API. A file per noun.

mod account;
mod admin;
mod blob;
mod budget;
mod client;
mod cluster;
mod delivery;
mod endpoint;
mod event;
mod follow;
mod follow_all;
mod job;
mod job_view;
mod request;
mod schedule;
mod show;
mod source;
mod task;

use clap::{Args, Subcommand};

use client::Client;

#[derive(Debug, Args)]
pub(super) struct CtlArgs {
    /// Address of the node's API
    #[arg(long, env = "STEWARD_ADDRESS", default_value = "http://127.0.0.1:7421", global = true)]
    address: String,
    /// Key that opens the account, or the operator's
    #[arg(
        long,
        env = "STEWARD_KEY",
        default_value = "",
        hide_env_values = true,
        hide_default_value = true,
        global = true
    )]
    key: String,
    /// Prints JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accounts and their keys
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Video and AI jobs
    #[command(subcommand)]
    Job(job::JobCommand),
    /// The feed of an account
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Where webhooks come from
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Where events are delivered to
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Jobs that follow webhooks
    #[command(subcommand)]
    Playbook(account::PlaybookCommand),
    /// Jobs that the clock asks for
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Files that clients bring and jobs make
    #[command(subcommand)]
    Blob(blob::BlobCommand),
    /// Asks the account's documents a question
    Ask { account: String, question: String },
    /// The node, or what should become of one
    Node {
        #[command(subcommand)]
        command: Option<cluster::NodeCommand>,
    },
    /// The cluster: its nodes and where its shards are
    Cluster {
        #[command(subcommand)]
        command: Option<cluster::ClusterCommand>,
    },
    /// Its shards
    Shards,
    /// Leased units of jobs
    #[command(subcommand)]
    Task(task::TaskCommand),
}

pub(super) fn run(args: CtlArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Command::Cluster { command: Some(cluster::ClusterCommand::Rebuild(rebuild)) } = &args.command {
            return Box::pin(cluster::rebuild(rebuild)).await; // Nothing may run that could be asked.
        }
        let mut client = Client::connect(&args.address, &args.key, args.json).await?;
        let outcome = match args.command {
            Command::Account(command) => account::account(&mut client, command).await,
            Command::Playbook(command) => account::playbook(&mut client, command).await,
            Command::Job(command) => job::job(&mut client, command).await,
            Command::Schedule(command) => schedule::run(&mut client, command).await,
            Command::Blob(command) => blob::run(&mut client, command).await,
            Command::Ask { account, question } => job::ask(&mut client, account, question).await,
            Command::Event(command) => event::event(&mut client, command).await,
            Command::Source(command) => source::run(&mut client, command).await,
            Command::Endpoint(command) => endpoint::run(&mut client, command).await,
            Command::Node { command: None } => admin::node(&mut client).await,
            Command::Node { command: Some(command) } => cluster::node(&mut client, command).await,
            Command::Cluster { command } => cluster::cluster(&mut client, command).await,
            Command::Shards => admin::shards(&mut client).await,
            Command::Task(command) => task::run(&mut client, command).await,
        };
        outcome.map_err(client::readable)
    })
}
