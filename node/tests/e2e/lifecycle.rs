//! Starting, stopping and being looked after.

use std::process::Stdio;

use steward_proto::event::v1::SubscribeRequest;
use steward_proto::event::v1::subscribe_request::From as StartAt;
use tonic::Code;

use crate::harness::{Node, reason, steward, with};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_streams_with_a_resumable_code_and_the_node_with_success() {
    let mut node = Node::start(&[]);
    node.create_account("acme").await;
    let request = SubscribeRequest {
        account_id: "acme".to_owned(),
        from: Some(StartAt::Latest(true)),
        ..SubscribeRequest::default()
    };
    let mut stream = node.events().await.subscribe(with(&node.operator, request)).await.unwrap().into_inner();
    node.terminate();
    let ended = stream.message().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "not_ready"));
    assert!(node.stop().success(), "{}", node.log());
    let log = node.log();
    assert!(log.contains("the node has stopped"), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"] != "WARN" && line["level"] != "ERROR", "{line}");
    }
}

#[test]
fn a_folder_has_one_node() {
    let node = Node::start(&[]);
    let mut second = steward();
    second.args(["node", "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--data-dir"]);
    let second = second.arg(node.data_dir()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("is in use by another process"), "{said}");
}

#[test]
fn probes_and_metrics_need_no_key() {
    let node = Node::start(&[]);
    assert_eq!(node.get("/livez").status, 200);
    assert_eq!(node.get("/readyz").status, 200);
    assert_eq!(node.get("/").json()["name"], "steward");
    assert_eq!(node.get("/nothing").code(), "route_unknown");
    assert_eq!(node.send("POST", "/livez", &[], b"").code(), "method_not_allowed");
    let metrics = node.get("/metrics").body;
    let mut families: Vec<&str> = metrics.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all, "a family appears twice");
    assert!(all <= 120, "{all} families");
    assert!(metrics.contains("process_resident_memory_bytes "), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_everyone_on_this_machine_is_the_operator() {
    let node = Node::start(&["auth.enabled=false"]);
    node.create_account("acme").await;
    let mut open = steward();
    open.args(["node", "--set", "auth.enabled=false", "--http-listen", "0.0.0.0:0", "--data-dir", "/dev/null/nowhere"]);
    let open = open.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(open.stderr).unwrap();
    assert!(!open.status.success() && said.contains("http.listen must be a loopback address"), "{said}");
}

#[test]
fn settings_are_checked_and_shown() {
    let run = |arguments: &[&str]| {
        let mut command = steward();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    };
    let shown = run(&["config", "show", "--origin", "--set", "log.level=debug"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("level = \"debug\"  # flag --set"), "{text}");
    let refused = run(&["config", "check", "--set", "log.levle=debug"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("unknown key log.levle") && said.contains("log.level"), "{said}");
}
