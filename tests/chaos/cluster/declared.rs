//! A source that the settings of all nodes declare: made once, by whoever leads its account, and left alone after that.

use steward_proto::webhook::v1::ListSourcesRequest;
use steward_tests::harness::{Api, Cluster, Platform, Shape, WAIT_MAX, eventually, now_ms};

const SECRET: &str = "It's a Secret to Everybody";
const SOURCES: &str = r#"webhooks.sources=[
    {account="acme", source="one", scheme="github-hub256", secrets=["text:It's a Secret to Everybody"], rate_per_s=90},
    {account="acme", source="two", scheme="github-hub256", secrets=["text:It's a Secret to Everybody"], rate_per_s=90}]"#;

/// The paths of the sources that are as declared.
async fn paths(api: &Api) -> Option<Vec<String>> {
    let request = ListSourcesRequest { account_id: "acme".to_owned() };
    let sources = api.webhooks().list_sources(request).await.ok()?.into_inner().sources;
    let paths: Vec<String> =
        sources.into_iter().filter(|found| found.rate_per_s == 90).map(|found| found.path).collect();
    (paths.len() == 2).then_some(paths)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_source_is_written_once_whoever_leads() {
    let shape = Shape { shards: 1, settings: &[SOURCES], ..Shape::default() };
    let mut cluster = Cluster::start(shape).await;
    let first = cluster.leader_of(0);
    let api = cluster.node(first).api().await;
    api.create_account("acme").await;
    let made = eventually(WAIT_MAX, "the declared sources", async || paths(&api).await).await;
    let before = api.feed("acme").await;
    let written: Vec<_> = before[1..].iter().map(|event| (event.r#type.as_str(), event.actor.as_str())).collect();
    assert_eq!(
        written,
        ["source.created", "source.updated"].repeat(2).iter().map(|of| (*of, "config")).collect::<Vec<_>>()
    );

    // The next leader looks, and finds all as it should be; what is taken away makes it write, so it has looked.
    cluster.kill(first);
    let others = cluster.all_but(first);
    let api = cluster.node(others[0]).api().await;
    let delivery = Platform::GitHub.sample(1);
    let posted = async || {
        let reply =
            cluster.node(others[0]).post(&made[0], &delivery.signed_with(SECRET, now_ms(), ""), &delivery.body).await;
        (reply.status == 200).then_some(())
    };
    eventually(WAIT_MAX, "the next leader to take webhooks", posted).await;
    // Whoever that is: under load a node may lose its lead again before it has looked.
    let looked = async || {
        let mut nodes = others.iter().map(|other| cluster.node(*other));
        nodes.any(|node| node.has_logged(|line| line["message"] == "declared sources were looked at")).then_some(())
    };
    eventually(WAIT_MAX, "the look of the next leader", looked).await;
    let changes: Vec<_> =
        api.feed("acme").await.into_iter().filter(|event| event.r#type.starts_with("source.")).collect();
    assert_eq!(changes, before[1..], "the next leader has nothing to do");
    cluster.restart(first);
    cluster.placed().await;
    cluster.stop_and_compare().await;
}
