//! Running a node: probes, health, reflection, signals, one process per folder.

use steward_proto::admin::v1::{GetNodeRequest, ListShardsRequest, ListTasksRequest};
use steward_tests::harness::{Launch, Node, Outside, looped, steward_beside};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::pipeline::{media_node, recording};
use crate::pipeline_faults::{caught_at_work, goes_on_from_its_pieces};

async fn channel(node: &Node) -> Channel {
    let endpoint = Channel::from_shared(node.grpc_url()).expect("an address is a URL");
    endpoint.connect().await.expect("the node accepts connections")
}

#[tokio::test]
async fn probes_tell_that_the_node_lives_and_wants_traffic() {
    let node = Node::start();
    for (path, text) in [("/livez", "live\n"), ("/readyz", "ready\n")] {
        let answer = node.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, text));
    }
    assert_eq!(node.get("/").await.json()["name"], "steward");
    let put = node.request("PUT", "/livez", &vec![], b"").await;
    put.problem(405, "method_not_allowed");
    assert_eq!(put.header("allow"), Some("GET"));
}

#[tokio::test]
async fn health_and_reflection_know_every_service() {
    let node = Node::start();
    let channel = channel(&node).await;
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let answers = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    for service in ["account.v1.Account", "webhook.v1.Webhook", "job.v1.Job", "event.v1.Event", "admin.v1.Admin"] {
        let name = format!("steward.{service}Service");
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
}

#[tokio::test]
async fn the_operator_sees_the_node_its_shards_and_its_tasks() {
    let node = Node::builder().set("storage.shards=8").start();
    let api = node.api().await;
    let told = api.admin().get_node(GetNodeRequest {}).await.unwrap().into_inner();
    assert_eq!((told.shards, told.storage_engine.as_str()), (8, "fjall"));
    assert_eq!(told.sandbox, "full", "children of this node are confined");
    assert!(told.models.is_empty() && told.data_dir.ends_with("/data"), "{told:?}");
    let shards = api.admin().list_shards(ListShardsRequest {}).await.unwrap().into_inner().shards;
    assert_eq!(shards.len(), 8);
    assert!(shards.iter().all(|shard| shard.role == "leader" && shard.applied_index > 0), "{shards:?}");
    let tasks = api.admin().list_tasks(ListTasksRequest { page_size: 0 }).await.unwrap().into_inner();
    assert!(tasks.tasks.is_empty() && tasks.more == 0);
}

#[tokio::test]
async fn a_stopped_node_says_goodbye_and_its_job_goes_on_later() {
    let platform = Outside::serving("video/webm", looped(&recording("meeting_360p_25s.webm"), 2));
    let mut node = media_node().start();
    let (job, mut follow, before) = caught_at_work(&node, &platform).await;
    let status = node.terminate().await;
    assert!(status.success(), "the node ended with {status}");
    while follow.next().await.is_ok() {}
    node.restart();
    goes_on_from_its_pieces(&node, &platform, &job, &before).await;
    let released = node.api().await.feed_of("acme", "task.released").await;
    assert!(released.iter().any(|event| event.data_json.contains("drained")), "the first attempt was handed back");
}

#[tokio::test]
async fn two_processes_do_not_share_a_folder() {
    let node = Node::start();
    let folder = tempfile::tempdir().unwrap();
    let second = Launch::new(&steward_beside(), folder.path());
    let second = second.set(&format!("node.data_dir={}", node.data_dir().display()));
    second.start().expect_err("the folder is taken");
    let said = std::fs::read_to_string(second.log()).unwrap();
    assert!(said.contains("is in use by another process"), "{said}");
    assert!(said.contains(&node.data_dir().display().to_string()), "{said}");
    assert_eq!(node.get("/readyz").await.status, 200, "the first one goes on");
}
