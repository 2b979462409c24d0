//! Calls that go wrong: what is tried again, with what, and how long.

use std::time::Duration;

use steward_actors::supervisor;
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_cluster::ids::NodeId;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::account::v1::{CreateApiKeyRequest, GetAccountRequest};
use steward_proto::event::v1::AckConsumerRequest;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::job::v1::CreateJobRequest;
use steward_proto::job::v1::job_service_client::JobServiceClient;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::super::Leader;
use super::api::reason;
use super::world::{BY, Fault, Node, SOON, World};
use crate::gateway::error::Code;

/// A client's limit that is over soon.
const SHORT: Duration = Duration::from_millis(500);

/// One call of each effect.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Read,
    Repeatable,
    Keyed,
    Once,
}

/// Calls the node; the head of the answer.
async fn ask(ask: Ask, channel: Channel, limit: Option<Duration>) -> Result<MetadataMap, Status> {
    let account_id = "acme".to_owned();
    macro_rules! call {
        ($client:ident, $method:ident, $request:expr) => {{
            let mut request = Request::new($request);
            if let Some(limit) = limit {
                request.set_timeout(limit);
            }
            $client::new(channel).$method(request).await.map(|answer| answer.metadata().clone())
        }};
    }
    match ask {
        Ask::Read => call!(AccountServiceClient, get_account, GetAccountRequest { account_id }),
        Ask::Repeatable => {
            call!(EventServiceClient, ack_consumer, AckConsumerRequest { account_id, ..Default::default() })
        }
        Ask::Keyed => call!(JobServiceClient, create_job, CreateJobRequest { account_id, ..Default::default() }),
        Ask::Once => {
            call!(AccountServiceClient, create_api_key, CreateApiKeyRequest { account_id, ..Default::default() })
        }
    }
}

fn keys(node: &Node) -> Vec<Option<String>> {
    node.seen().into_iter().map(|seen| seen.retry_key).collect()
}

fn same_key_twice(node: &Node) -> bool {
    let keys = keys(node);
    keys.len() == 2 && keys[0] == keys[1] && keys[0].as_ref().is_some_and(|key| key.starts_with("retry:"))
}

#[tokio::test]
async fn after_a_lost_answer_only_what_repeats_is_tried_again() {
    for effect in [Ask::Read, Ask::Repeatable, Ask::Keyed, Ask::Once] {
        let world = World::led_by(3).await;
        *world.node(1).wire.breaks.lock() = 1;
        let answer = ask(effect, world.node(1).public.clone(), None).await;
        let seen = world.node(3).seen().len();
        match effect {
            Ask::Read | Ask::Repeatable => assert!(answer.is_ok() && seen == 2, "{effect:?}: {answer:?} {seen}"),
            Ask::Keyed => assert!(answer.is_ok() && same_key_twice(world.node(3)), "{:?}", keys(world.node(3))),
            Ask::Once => {
                assert_eq!((reason(&answer.unwrap_err()), seen), ("outcome_unknown".to_owned(), 1));
            }
        }
    }
}

#[tokio::test]
async fn the_same_holds_for_what_is_led_here() {
    for effect in [Ask::Read, Ask::Repeatable, Ask::Keyed, Ask::Once] {
        let world = World::led_by(1).await;
        world.node(1).fail(Fault::Refuse(Code::OutcomeUnknown));
        let answer = ask(effect, world.node(1).public.clone(), None).await;
        let seen = world.node(1).seen().len();
        match effect {
            Ask::Read | Ask::Repeatable => assert!(answer.is_ok() && seen == 2, "{effect:?}: {answer:?} {seen}"),
            Ask::Keyed => assert!(answer.is_ok() && same_key_twice(world.node(1)), "{:?}", keys(world.node(1))),
            Ask::Once => {
                assert_eq!((reason(&answer.unwrap_err()), seen), ("outcome_unknown".to_owned(), 1));
            }
        }
    }
}

#[tokio::test]
async fn a_leader_that_yields_in_the_middle_shows_as_latency() {
    for effect in [Ask::Keyed, Ask::Once] {
        let world = World::led_by(1).await;
        world.believes(3, 3);
        world.node(1).fail(Fault::Moved(NodeId(3)));
        let answer = ask(effect, world.node(1).public.clone(), None).await.unwrap();
        assert_eq!(answer.get(BY).unwrap(), "3");
        assert_eq!(keys(world.node(1)), keys(world.node(3)), "the key must stay the same");
    }
}

#[tokio::test]
async fn a_call_waits_for_a_leader_and_for_a_connection() {
    let world = World::led_by(3).await;
    world.node(1).beliefs.set(Leader::Unknown);
    let mut asked = world.node(1).beliefs.asked.subscribe();
    let before = *asked.borrow_and_update();
    let call = supervisor::spawn("call", ask(Ask::Once, world.node(1).public.clone(), None));
    tokio::time::timeout(SOON, asked.wait_for(|asked| *asked > before + 1)).await.unwrap().unwrap();
    world.node(1).wire.down.lock().insert(NodeId(3));
    world.believes(1, 3);
    tokio::time::timeout(SOON, async {
        while world.node(1).wire.calls.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a node that is not reached is tried again");
    world.node(1).wire.down.lock().clear();
    let answer = tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap();
    assert_eq!((answer.get(BY).unwrap().to_str().unwrap(), world.node(3).seen().len()), ("3", 1));
}

#[tokio::test]
async fn a_call_is_taken_back_from_a_leader_that_was_replaced() {
    for effect in [Ask::Keyed, Ask::Once] {
        let world = World::led_by(2).await;
        let (release, released) = oneshot::channel();
        world.node(2).fail(Fault::Hold(released));
        let call = supervisor::spawn("call", ask(effect, world.node(1).public.clone(), None));
        world.node(2).has_seen(1).await;
        world.believes(3, 3);
        world.believes(1, 3);
        match effect {
            // It may have been done by node 2, so its answer is waited for.
            Ask::Once => release.send(()).unwrap(),
            Ask::Keyed | Ask::Read | Ask::Repeatable => world.node(3).has_seen(1).await,
        }
        let answer = tokio::time::timeout(SOON, call).await.unwrap().unwrap().unwrap();
        match effect {
            Ask::Once => assert_eq!((answer.get(BY).unwrap(), world.node(3).seen().len()), (&"2".parse().unwrap(), 0)),
            Ask::Keyed | Ask::Read | Ask::Repeatable => {
                assert_eq!(answer.get(BY).unwrap(), "3");
                assert_eq!(keys(world.node(2)), keys(world.node(3)));
            }
        }
    }
}

#[tokio::test]
async fn the_last_refusal_comes_within_the_clients_limit() {
    let world = World::new().await;
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let refused = ask(Ask::Read, world.node(1).public.clone(), Some(SHORT)).await.unwrap_err();
    assert_eq!(reason(&refused), "not_led", "{refused:?}");
    let took = clock.monotonic().saturating_sub(started);
    assert!(took >= SHORT / 2 && took < SOON, "{took:?}");

    world.believes(3, 3);
    world.believes(1, 3);
    ask(Ask::Read, world.node(1).public.clone(), Some(SHORT)).await.unwrap();
    let told = world.node(3).seen()[0].headers["grpc-timeout"].to_str().unwrap().to_owned();
    let left: u128 = told.strip_suffix('m').unwrap().parse().unwrap();
    assert!(left > 0 && left <= SHORT.as_millis() * 9 / 10, "{told}");
}

#[tokio::test]
async fn nodes_that_believe_in_each_other_are_asked_now_and_then() {
    let world = World::led_by(2).await;
    world.believes(2, 3);
    world.believes(3, 2);
    let refused = ask(Ask::Keyed, world.node(1).public.clone(), Some(SHORT)).await.unwrap_err();
    assert_eq!(reason(&refused), "not_led");
    let private = |name: &str| name.starts_with("x-steward-");
    assert!(!refused.metadata().clone().into_headers().keys().any(|name| private(name.as_str())), "{refused:?}");
    let calls = world.node(1).wire.calls.lock().len();
    assert!((2..20).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn an_unknown_outcome_is_not_forgotten_at_the_end() {
    let world = World::led_by(3).await;
    world.node(3).fail(Fault::Refuse(Code::OutcomeUnknown));
    for _ in 0..100 {
        world.node(3).fail(Fault::Refuse(Code::NotLed));
    }
    let refused = ask(Ask::Keyed, world.node(1).public.clone(), Some(SHORT)).await.unwrap_err();
    assert_eq!(reason(&refused), "outcome_unknown");
    assert!(world.node(3).seen().len() > 1, "it was not tried again");
}
