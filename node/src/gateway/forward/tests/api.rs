//! Calls of the API: where they are answered, and what goes with them.

use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use hyper::body::Frame;
use prost::Message as _;
use steward_cluster::ids::NodeId;
use steward_proto::account::v1::GetAccountRequest;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::admin::v1::GetNodeRequest;
use steward_proto::admin::v1::admin_service_client::AdminServiceClient;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{SubscribeRequest, SubscribeResponse};
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::world::{BY, Fault, SOON, World, channel};

pub(super) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("no reason: {status:?}")).reason
}

fn about_acme() -> GetAccountRequest {
    GetAccountRequest { account_id: "acme".to_owned() }
}

fn subscribe() -> SubscribeRequest {
    SubscribeRequest { account_id: "acme".to_owned(), ..SubscribeRequest::default() }
}

fn names_nodes_only(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-steward-")).collect()
}

/// A message of a stream as it is on the wire.
fn frame(caught_up_seq: u64) -> Frame<Bytes> {
    let message = SubscribeResponse { item: Some(Item::CaughtUpSeq(caught_up_seq)) }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Frame::data(Bytes::from([&[0], length.as_slice(), &message].concat()))
}

#[tokio::test]
async fn the_leader_answers_after_one_hop_and_learns_only_what_nodes_may_say() {
    let world = World::led_by(3).await;
    let mut request = Request::new(about_acme());
    for (name, value) in [("x-request-id", "r-1"), ("x-steward-retry-key", "forged"), ("x-steward-forwarded", "9")] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let answer = AccountServiceClient::new(world.node(1).public.clone()).get_account(request).await.unwrap();
    let headers = answer.metadata().clone().into_headers();
    assert_eq!((&headers[BY], &headers["x-request-id"]), (&"3".parse().unwrap(), &"r-1".parse().unwrap()));
    assert!(names_nodes_only(&headers).is_empty(), "{headers:?}");
    let seen = world.node(3).seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["x-request-id"], "r-1");
    assert_eq!(seen[0].headers["x-steward-forwarded"], "1");
    assert_eq!((names_nodes_only(&seen[0].headers), &seen[0].retry_key), (vec!["x-steward-forwarded"], &None));
    // Without an id of the client, both nodes and the answer have the one made by the first.
    let answer = AccountServiceClient::new(world.node(1).public.clone()).get_account(about_acme()).await.unwrap();
    let headers = answer.metadata().clone().into_headers();
    assert_eq!(headers["x-request-id"], world.node(3).seen()[1].headers["x-request-id"]);
    assert!(world.node(1).seen().is_empty() && world.node(2).seen().is_empty());
}

#[tokio::test]
async fn what_is_led_here_or_about_the_node_stays_here() {
    let world = World::led_by(1).await;
    let answer = AccountServiceClient::new(world.node(1).public.clone()).get_account(about_acme()).await.unwrap();
    assert_eq!(answer.metadata().get(BY).unwrap(), "1");
    let answer = AdminServiceClient::new(world.node(2).public.clone()).get_node(GetNodeRequest {}).await.unwrap();
    assert_eq!(answer.metadata().get(BY).unwrap(), "2");
    // A name that is none is refused by the handler, which any node has.
    let request = GetAccountRequest { account_id: "No Account".to_owned() };
    let answer = AccountServiceClient::new(world.node(2).public.clone()).get_account(request).await.unwrap();
    assert_eq!(answer.metadata().get(BY).unwrap(), "2");
    assert!((1..=3).all(|id| world.node(id).wire.calls.lock().is_empty()));
}

/// A deposed leader that does not know it yet answers no read, neither to its own clients nor to another node.
#[tokio::test]
async fn a_leader_that_is_not_sure_answers_no_reads() {
    let world = World::led_by(3).await;
    world.node(3).beliefs.set_unsure();
    for node in [1, 3] {
        let mut request = Request::new(about_acme());
        request.set_timeout(Duration::from_secs(2));
        let mut client = AccountServiceClient::new(world.node(node).public.clone());
        let refused = client.get_account(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "not_led"));
    }
    assert!(world.node(3).seen().is_empty());
}

#[tokio::test]
async fn a_refusal_tells_who_leads() {
    let world = World::led_by(3).await;
    world.believes(1, 2);
    let answer = AccountServiceClient::new(world.node(1).public.clone()).get_account(about_acme()).await.unwrap();
    assert_eq!(answer.metadata().get(BY).unwrap(), "3");
    assert_eq!(*world.node(1).beliefs.corrections.lock(), [Some(NodeId(3))]);
    assert!(world.node(2).seen().is_empty(), "a node that does not lead must not ask its handlers");
}

#[tokio::test]
async fn what_was_passed_on_is_not_passed_on_again() {
    let world = World::led_by(3).await;
    world.believes(1, 2);
    world.node(1).wire.down.lock().insert(NodeId(3));
    let mut request = Request::new(about_acme());
    request.set_timeout(std::time::Duration::from_millis(400));
    let refused = AccountServiceClient::new(world.node(1).public.clone()).get_account(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, "not_led".to_owned()));
    assert!(world.node(2).wire.calls.lock().is_empty(), "node 2 passed it on");
    assert!(world.node(3).seen().is_empty());
}

#[tokio::test]
async fn the_port_between_nodes_is_for_nodes() {
    let world = World::led_by(3).await;
    let refused = AccountServiceClient::new(channel(world.node(3).inside)).get_account(about_acme()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, "forbidden".to_owned()));
    assert!(world.node(3).seen().is_empty());
}

#[tokio::test]
async fn a_stream_comes_from_any_replica_as_it_happens() {
    let world = World::led_by(3).await;
    world.node(2).beliefs.set_replica(true);
    let answer = EventServiceClient::new(world.node(2).public.clone()).subscribe(subscribe()).await.unwrap();
    assert_eq!(answer.metadata().get(BY).unwrap(), "2");

    // What a replica does not know, its leader may.
    for code in [crate::gateway::error::Code::NotFound, crate::gateway::error::Code::Unauthenticated] {
        world.node(2).fail(Fault::Refuse(code));
        let answer = EventServiceClient::new(world.node(2).public.clone()).subscribe(subscribe()).await.unwrap();
        assert_eq!(answer.metadata().get(BY).unwrap(), "3");
    }

    let (frames, stream) = mpsc::channel(1);
    *world.node(3).stub.stream.lock() = Some(stream);
    let answer = EventServiceClient::new(world.node(1).public.clone()).subscribe(subscribe()).await.unwrap();
    assert_eq!(answer.metadata().get(BY).unwrap(), "3");
    let mut items = answer.into_inner();
    for seq in 1..=3 {
        frames.send(Ok(frame(seq))).await.unwrap();
        let item = tokio::time::timeout(SOON, items.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(item.item, Some(Item::CaughtUpSeq(seq)));
    }
    frames.send(Err(std::io::Error::other("the node dies"))).await.unwrap();
    let ended = tokio::time::timeout(SOON, items.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
}
