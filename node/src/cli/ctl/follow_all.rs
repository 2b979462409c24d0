//! `ctl event follow-all`: the events of all accounts, with the cursors that cover them.

use clap::Args;
use serde_json::json;
use steward_proto::event::v1 as pb;
use steward_proto::event::v1::subscribe_all_request::From as StartAt;
use steward_proto::event::v1::subscribe_all_response::Item;

use super::client::Client;
use super::show;

#[derive(Debug, Args)]
pub(super) struct FollowAllArgs {
    /// Behind this cursor, as an earlier run told it with --json; from now on when nothing is said
    #[arg(long, conflicts_with_all = ["consumer", "beginning"])]
    cursor: Option<String>,
    /// From where this named consumer stands; moves it on
    #[arg(long, conflicts_with = "beginning")]
    consumer: Option<String>,
    /// Everything that is kept
    #[arg(long)]
    beginning: bool,
    /// Event type pattern; can be given several times
    #[arg(long = "type")]
    types: Vec<String>,
    /// Ends behind what is there now
    #[arg(long)]
    until_now: bool,
}

pub(super) async fn run(client: &mut Client, args: FollowAllArgs) -> anyhow::Result<()> {
    let from = match (args.cursor, &args.consumer) {
        (Some(cursor), _) => Some(StartAt::Cursor(cursor)),
        (None, Some(name)) => Some(StartAt::Consumer(name.clone())),
        (None, None) => (!args.beginning).then_some(StartAt::Latest(true)),
    };
    let request = pb::SubscribeAllRequest { from, types: args.types, until_now: args.until_now };
    let mut stream = client.events().subscribe_all(request).await?.into_inner();
    while let Some(answer) = stream.message().await? {
        match answer.item {
            Some(Item::Event(event)) => client.out.line(line(client.json, &event))?,
            Some(Item::Gap(gap)) if client.json => {
                let gap = json!({"gap": {"account_id": gap.account_id, "last_lost_seq": gap.last_lost_seq}});
                client.out.line(gap.to_string())?;
            }
            Some(Item::Gap(gap)) => {
                client.out.line(format!("{}: nothing up to {} is kept any more", gap.account_id, gap.last_lost_seq))?;
            }
            Some(Item::Cursor(cursor)) => {
                if client.json {
                    client.out.line(json!({"cursor": cursor}).to_string())?;
                }
                if let Some(consumer) = args.consumer.clone() {
                    client.events().ack_all_consumer(pb::AckAllConsumerRequest { consumer, cursor }).await?;
                }
            }
            None => {}
        }
    }
    Ok(())
}

fn line(json: bool, event: &pb::Event) -> String {
    let shown = show::event(event);
    if json {
        return shown.to_string();
    }
    let time = shown["time"].as_str().unwrap_or_default();
    format!("{:<20} {:>8}  {time}  {}  {}", event.account_id, event.seq, event.r#type, event.data_json)
}
