//! All accounts in one stream, over the wire: cursors, consumers, and what is no cursor here.

use steward_proto::account::v1::Role;
use steward_proto::event::v1::subscribe_all_request::From as StartAt;
use steward_proto::event::v1::subscribe_all_response::Item;
use steward_proto::event::v1::{AckAllConsumerRequest, Event, GetAllConsumerRequest, SubscribeAllRequest};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::harness::{Node, mac, with};

const CONSUMER: &str = "ledger";

/// A webhook with this number in it: one that came before is no event.
fn push(node: &Node, path: &str, n: u32) {
    let body = format!("{{\"n\": {n}}}");
    let signature = format!("sha256={}", mac(&[body.as_bytes()]));
    let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-event", "push")];
    assert_eq!(node.send("POST", path, &headers, body.as_bytes()).status, 200);
}

/// Two accounts with a source each; their paths.
async fn two_accounts(node: &Node) -> [String; 2] {
    node.create_account("acme").await;
    node.create_account("zenith").await;
    [
        node.create_source("acme", "hub", "github-hub256").await,
        node.create_source("zenith", "hub", "github-hub256").await,
    ]
}

fn subscribe(from: Option<StartAt>, types: &[&str], until_now: bool) -> SubscribeAllRequest {
    SubscribeAllRequest { from, types: types.iter().map(|kind| (*kind).to_owned()).collect(), until_now }
}

/// What a stream yields until it ends: account and number of each event, and the last cursor.
async fn read(node: &Node, request: SubscribeAllRequest) -> (Vec<(String, u64)>, String) {
    let stream = node.events().await.subscribe_all(with(&node.operator, request)).await.unwrap().into_inner();
    let (mut seen, cursor) = rest(stream).await.unwrap();
    seen.sort(); // Between accounts no order is promised; each one's numbers only occur once.
    (seen, cursor)
}

async fn rest(
    mut stream: Streaming<steward_proto::event::v1::SubscribeAllResponse>,
) -> Result<(Vec<(String, u64)>, String), Status> {
    let (mut seen, mut cursor): (Vec<(String, u64)>, _) = (vec![], String::new());
    while let Some(answer) = stream.message().await? {
        match answer.item {
            Some(Item::Event(Event { account_id, seq, .. })) => {
                let last = seen.iter().rev().find(|(account, _)| *account == account_id).map_or(0, |(_, seq)| *seq);
                assert!(seq > last, "{account_id} {seq} after {last}");
                seen.push((account_id, seq));
                cursor.clear();
            }
            Some(Item::Cursor(told)) => cursor = told,
            gap @ (Some(Item::Gap(_)) | None) => panic!("{gap:?}"),
        }
    }
    Ok((seen, cursor))
}

fn events(of: &[(&str, std::ops::RangeInclusive<u64>)]) -> Vec<(String, u64)> {
    of.iter().flat_map(|(account, seqs)| seqs.clone().map(|seq| ((*account).to_owned(), seq))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_everything_goes_on_with_exactly_the_rest() {
    let node = Node::start(&[]);
    let [acme, zenith] = two_accounts(&node).await;
    push(&node, &acme, 1);
    let (all, cursor) = read(&node, subscribe(None, &[], true)).await;
    assert_eq!(all, events(&[("acme", 1..=3), ("zenith", 1..=2)]));
    let (none, again) = read(&node, subscribe(Some(StartAt::Cursor(cursor.clone())), &[], true)).await;
    assert_eq!((none, again.is_empty()), (vec![], false));

    let node = node.kill_and_restart();
    push(&node, &zenith, 2);
    push(&node, &acme, 3);
    let (rest, _) = read(&node, subscribe(Some(StartAt::Cursor(cursor)), &[], true)).await;
    assert_eq!(rest, events(&[("acme", 4..=4), ("zenith", 3..=3)]));
    let (webhooks, _) = read(&node, subscribe(None, &["webhook.**"], true)).await;
    assert_eq!(webhooks, events(&[("acme", 3..=4), ("zenith", 3..=3)]));

    // A live one hears of what happens after it was opened, and of the cursor that covers it.
    let live = subscribe(Some(StartAt::Latest(true)), &[], false);
    let mut stream = node.events().await.subscribe_all(with(&node.operator, live)).await.unwrap().into_inner();
    let Some(Item::Cursor(start)) = stream.message().await.unwrap().unwrap().item else { panic!("no cursor first") };
    push(&node, &zenith, 4);
    let Some(Item::Event(event)) = stream.message().await.unwrap().unwrap().item else { panic!("no event") };
    assert_eq!((event.account_id.as_str(), event.seq), ("zenith", 4));
    let Some(Item::Cursor(cursor)) = stream.message().await.unwrap().unwrap().item else { panic!("no cursor") };
    assert_eq!(read(&node, subscribe(Some(StartAt::Cursor(start)), &[], true)).await.0, events(&[("zenith", 4..=4)]));
    assert_eq!(read(&node, subscribe(Some(StartAt::Cursor(cursor)), &[], true)).await.0, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_everything_keep_their_place() {
    let node = Node::start(&[]);
    let [acme, _] = two_accounts(&node).await;
    let consumer = || CONSUMER.to_owned();
    let ask = || with(&node.operator, GetAllConsumerRequest { consumer: consumer() });
    assert_eq!(node.events().await.get_all_consumer(ask()).await.unwrap_err().code(), Code::NotFound);
    let from = || subscribe(Some(StartAt::Consumer(consumer())), &[], true);
    let (all, cursor) = read(&node, from()).await;
    assert_eq!(all, events(&[("acme", 1..=2), ("zenith", 1..=2)]));
    let ack = AckAllConsumerRequest { consumer: consumer(), cursor };
    node.events().await.ack_all_consumer(with(&node.operator, ack)).await.unwrap();
    let operator = node.operator.clone();
    let node = node.kill_and_restart();
    push(&node, &acme, 5);
    assert_eq!(read(&node, from()).await.0, events(&[("acme", 3..=3)]));
    let ask = GetAllConsumerRequest { consumer: consumer() };
    let kept = node.events().await.get_all_consumer(with(&operator, ask)).await.unwrap().into_inner().cursor;
    assert_eq!(read(&node, subscribe(Some(StartAt::Cursor(kept)), &[], true)).await.0, events(&[("acme", 3..=3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cursor_here_is_refused_by_name() {
    let (node, other) = (Node::start(&[]), Node::start(&[]));
    two_accounts(&node).await;
    let (_, cursor) = read(&node, subscribe(None, &[], true)).await;
    let refused = async |node: &Node, cursor: &str| {
        let request = subscribe(Some(StartAt::Cursor(cursor.to_owned())), &[], true);
        let refused = node.events().await.subscribe_all(with(&node.operator, request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "cursor");
        let ack = AckAllConsumerRequest { consumer: CONSUMER.to_owned(), cursor: cursor.to_owned() };
        let ack = node.events().await.ack_all_consumer(with(&node.operator, ack)).await.unwrap_err();
        assert_eq!(ack.message(), refused.message());
        refused.message().to_owned()
    };
    assert_eq!(refused(&node, "no cursor").await, "cursor must be a cursor as SubscribeAll gives it, unchanged");
    assert_eq!(refused(&other, &cursor).await, "cursor is a cursor of another cluster");

    let (_, key) = node.create_key("acme", Role::Admin).await;
    let forbidden = node.events().await.subscribe_all(with(&key, subscribe(None, &[], true))).await.unwrap_err();
    assert_eq!(forbidden.code(), Code::PermissionDenied);
    let ask = GetAllConsumerRequest { consumer: CONSUMER.to_owned() };
    let forbidden = node.events().await.get_all_consumer(with(&key, ask)).await.unwrap_err();
    assert_eq!(forbidden.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_from_before_the_cursor_refuses_it() {
    let node = Node::start(&[]);
    node.create_account("acme").await;
    let key = std::fs::read(node.data_dir().join("node.key")).unwrap();
    let (_, cursor) = read(&node, subscribe(None, &[], true)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seal.key");
    std::fs::write(&file, key).unwrap();
    // The same key and none of the data: as if an old backup had been restored.
    let young = Node::start(&[&format!("node.key_file={}", file.display())]);
    let request = subscribe(Some(StartAt::Cursor(cursor)), &[], true);
    let refused = young.events().await.subscribe_all(with(&young.operator, request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("cursor is ahead of the log of shard"), "{refused}");
}
