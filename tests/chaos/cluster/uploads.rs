//! A file that comes by way of a node which does not lead its account, and goes on when another node leads.

use steward_tests::harness::{Cluster, Reply, Shape, WAIT_MAX, eventually, headers};

const BYTES: &[u8] = b"0123456789";

/// A request of tus.
pub(crate) async fn ask(
    cluster: &Cluster,
    node: u64,
    method: &str,
    path: &str,
    pairs: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let key = format!("Bearer {}", cluster.node(node).key());
    let all = [&[("authorization", key.as_str()), ("tus-resumable", "1.0.0")], pairs].concat();
    cluster.node(node).request(method, path, &headers(&all), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_by_any_node_whoever_leads() {
    let mut cluster = Cluster::start(Shape { shards: 1, ..Shape::default() }).await;
    let first = cluster.leader_of(0);
    let others = cluster.all_but(first);
    let by = others[0];
    cluster.node(by).api().await.create_account("acme").await;
    let length = BYTES.len().to_string();
    let begun = async || {
        let reply = ask(&cluster, by, "POST", "/v1/accounts/acme/uploads", &[("upload-length", &length)], b"").await;
        reply.header("location").map(str::to_owned)
    };
    let path = eventually(WAIT_MAX, "the formats to be raised", begun).await;
    let piece = |offset: &'static str| [("content-type", "application/offset+octet-stream"), ("upload-offset", offset)];
    let half = ask(&cluster, by, "PATCH", &path, &piece("0"), &BYTES[..4]).await;
    assert_eq!((half.status, half.header("upload-offset")), (204, Some("4")), "{}", half.text());

    // The node with the bytes leads no more.
    cluster.ask_to_drain(first);
    let moved = async || (cluster.leader_of(0) != first).then_some(());
    eventually(WAIT_MAX, "another node to lead", moved).await;
    let found = async || {
        let reply = ask(&cluster, by, "HEAD", &path, &[], b"").await;
        (reply.status == 200).then_some(reply)
    };
    let found = eventually(WAIT_MAX, "the new leader to be asked", found).await;
    assert_eq!(found.header("upload-offset"), Some("4"));
    let whole = ask(&cluster, by, "PATCH", &path, &piece("4"), &BYTES[4..]).await;
    let hash = blake3::hash(BYTES).to_hex();
    assert_eq!((whole.status, whole.header("upload-blob")), (204, Some(hash.as_str())), "{}", whole.text());
    let api = cluster.node(others[1]).api().await;
    assert_eq!(api.blob("acme", &hash).await, BYTES);
    assert_eq!(api.feed_of("acme", "blob.uploaded").await.len(), 1);
    cluster.stop_draining(first);
    cluster.placed().await;
    cluster.stop_and_compare().await;
}
