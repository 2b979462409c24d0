//! `ctl event`: a page of the feed, or the feed as it happens.

use clap::{Args, Subcommand};
use serde_json::Value;
use steward_proto::event::v1 as pb;
use steward_proto::event::v1::subscribe_request::From as StartAt;
use steward_proto::event::v1::subscribe_response::Item;

use super::client::Client;
use super::follow::Progress;
use super::follow_all::{self, FollowAllArgs};
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// Prints a page of events
    List {
        account: String,
        /// After this event number
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Event type pattern; can be given several times
        #[arg(long = "type")]
        types: Vec<String>,
        /// Most events
        #[arg(long, default_value_t = 0)]
        limit: u32,
    },
    /// Prints events as they happen, one a line
    Follow(FollowArgs),
    /// Prints the events of all accounts of the cluster as they happen, one a line
    FollowAll(FollowAllArgs),
}

#[derive(Debug, Args)]
pub(super) struct FollowArgs {
    account: String,
    /// After this event number; from now on when nothing is said
    #[arg(long, conflicts_with_all = ["consumer", "since_ms"])]
    after: Option<u64>,
    /// From this time on, in milliseconds since 1970
    #[arg(long, conflicts_with = "consumer")]
    since_ms: Option<u64>,
    /// From where this named consumer stands; moves it on
    #[arg(long)]
    consumer: Option<String>,
    /// Event type pattern; can be given several times
    #[arg(long = "type")]
    types: Vec<String>,
    /// Ends after the newest event
    #[arg(long)]
    until_now: bool,
}

pub(super) async fn event(client: &mut Client, command: EventCommand) -> anyhow::Result<()> {
    match command {
        EventCommand::List { account, after, types, limit } => {
            let request = pb::ListEventsRequest { account_id: account, after_seq: after, types, page_size: limit };
            let page = client.events().list_events(request).await?.into_inner();
            if let Some(gap) = page.gap.filter(|_| !client.json) {
                client.out.line(format!("{} to {} are no longer kept", gap.first_lost_seq, gap.last_lost_seq))?;
            }
            let rows: Vec<Value> = page.events.iter().map(show::event).collect();
            client.out.rows(client.json, &rows, &["seq", "time", "type", "actor", "data"])
        }
        EventCommand::Follow(args) => follow(client, args).await,
        EventCommand::FollowAll(args) => follow_all::run(client, args).await,
    }
}

async fn follow(client: &mut Client, args: FollowArgs) -> anyhow::Result<()> {
    let from = match (args.after, args.since_ms, &args.consumer) {
        (Some(seq), _, _) => StartAt::AfterSeq(seq),
        (None, Some(ms), _) => StartAt::SinceMs(ms),
        (None, None, Some(name)) => StartAt::Consumer(name.clone()),
        (None, None, None) => StartAt::Latest(true),
    };
    let request = pb::SubscribeRequest {
        account_id: args.account.clone(),
        from: Some(from),
        types: args.types,
        until_now: args.until_now,
    };
    let mut events = client.events();
    let mut stream = events.subscribe(request).await?.into_inner();
    let mut progress = Progress::new(client.json);
    while let Some(answer) = stream.message().await? {
        let seen = match answer.item {
            Some(Item::Event(event)) => {
                if !progress.shows(&event) {
                    let line = line(client.json, &event);
                    progress.beside(|| client.out.line(line))?;
                }
                event.seq
            }
            Some(Item::Gap(gap)) => {
                let line = format!("{} to {} are no longer kept", gap.first_lost_seq, gap.last_lost_seq);
                progress.beside(|| client.out.line(line))?;
                gap.last_lost_seq
            }
            Some(Item::CaughtUpSeq(seq)) => seq,
            None => continue,
        };
        if let Some(consumer) = &args.consumer {
            let (account_id, consumer) = (args.account.clone(), consumer.clone());
            client.events().ack_consumer(pb::AckConsumerRequest { account_id, consumer, seq: seen }).await?;
        }
    }
    Ok(())
}

fn line(json: bool, event: &pb::Event) -> String {
    let shown = show::event(event);
    if json {
        return shown.to_string();
    }
    format!("{:>8}  {}  {}  {}", event.seq, shown["time"].as_str().unwrap_or_default(), event.r#type, event.data_json)
}
