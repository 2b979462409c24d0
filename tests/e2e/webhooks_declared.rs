//! Sources that the settings declare: made when their account is there, changed with the settings, otherwise left alone.

use std::fs;
use std::path::PathBuf;

use steward_proto::webhook::v1 as pb;
use steward_tests::harness::{Api, Node, Platform, WAIT_MAX, data, eventually, now_ms};
use tempfile::TempDir;

const NEXT: &str = "the next one";
const LAST: &str = "the last one";

/// Secrets of declared sources, as operators keep them.
struct Secrets(TempDir);

impl Secrets {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("github")
    }

    fn write(&self, secret: &str) {
        fs::write(self.file(), format!("{secret}\n")).expect("the folder can be written");
    }

    /// A source `github` whose secret stands in the file.
    fn declared(&self, more: &str) -> String {
        declared("github", &format!("\"file:{}\"", self.file().display()), more)
    }
}

fn declared(source: &str, secrets: &str, more: &str) -> String {
    format!("{{account=\"acme\", source=\"{source}\", scheme=\"github-hub256\", secrets=[{secrets}]{more}}}")
}

fn settings(sources: &[String]) -> String {
    format!("webhooks.sources=[{}]", sources.join(", "))
}

async fn listed(api: &Api) -> Vec<pb::Source> {
    let request = pb::ListSourcesRequest { account_id: "acme".to_owned() };
    api.webhooks().list_sources(request).await.expect("sources are listed").into_inner().sources
}

/// Waits until the source is there and as wanted.
async fn shown(api: &Api, source: &str, wanted: impl Fn(&pb::Source) -> bool) -> pb::Source {
    let look = async || listed(api).await.into_iter().find(|found| found.source_id == source && wanted(found));
    eventually(WAIT_MAX, "the declared source", look).await
}

/// What a webhook with this secret is answered.
async fn posted(node: &Node, path: &str, secret: &str, number: u64) -> u16 {
    let delivery = Platform::GitHub.sample(number);
    node.post(path, &delivery.signed_with(secret, now_ms(), ""), &delivery.body).await.status
}

/// Types and actors of what happened to sources.
async fn changes(api: &Api) -> Vec<(String, String)> {
    let events = api.feed("acme").await.into_iter().filter(|event| event.r#type.starts_with("source."));
    events.map(|event| (event.r#type, event.actor)).collect()
}

fn of_config(types: &[&str]) -> Vec<(String, String)> {
    types.iter().map(|of| (format!("source.{of}"), "config".to_owned())).collect()
}

#[tokio::test]
async fn a_declared_source_is_made_with_its_account_and_changed_with_its_settings_only() {
    let secrets = Secrets::new();
    secrets.write(Platform::GitHub.secret());
    let first = secrets.declared(", rate_per_s=50, response={status=202, body=\"thanks\"}");
    let mut node = Node::builder().set(&settings(std::slice::from_ref(&first))).start();
    node.logged("a source that waits", |line| line["message"] == "a declared source waits");
    let api = node.api().await;
    api.create_account("acme").await;
    let made = shown(&api, "github", |source| source.response.is_some()).await;
    assert_eq!((made.rate_per_s, made.secrets.len()), (50, 1));
    assert_eq!(posted(&node, &made.path, Platform::GitHub.secret(), 1).await, 202);
    assert_eq!(changes(&api).await, of_config(&["created", "updated"]));
    let waits = |node: &Node| node.last_logged("a declared source waits").is_some();
    assert!(waits(&node));

    // A second one comes after the first was looked at again: nothing was to be done.
    node.kill();
    node.environment("SECOND_SECRET", NEXT);
    node.set(&settings(&[first.clone(), declared("second", "\"env:SECOND_SECRET\"", "")]));
    node.restart();
    let api = node.api().await;
    let second = shown(&api, "second", |_| true).await;
    assert_eq!(posted(&node, &second.path, NEXT, 2).await, 200);
    assert_eq!(changes(&api).await, of_config(&["created", "updated", "created"]));

    // Another secret in the file: added, and the old one retired; the path stays.
    assert!(node.terminate().await.success());
    secrets.write(LAST);
    node.restart();
    let api = node.api().await;
    let rotated = async || (posted(&node, &made.path, Platform::GitHub.secret(), 3).await == 401).then_some(());
    eventually(WAIT_MAX, "the old secret to count no longer", rotated).await;
    assert_eq!(posted(&node, &made.path, LAST, 4).await, 202);
    let all = of_config(&["created", "updated", "created", "secrets_changed", "secrets_changed"]);
    assert_eq!(changes(&api).await, all);
    let told: Vec<_> = api
        .feed_of("acme", "source.secrets_changed")
        .await
        .iter()
        .map(|event| data(event)["secrets"].clone())
        .collect();
    assert_eq!(told, [2, 1], "the new one counts before the old one goes");
}

#[tokio::test]
async fn settings_win_over_the_api_at_the_next_start_where_they_state_something() {
    let mut node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let (github, secret) = (Platform::GitHub, Platform::GitHub.secret());
    let path = api.create_source("acme", "in", github.scheme(), secret).await;
    let ids = || ("acme".to_owned(), "in".to_owned());
    let (account_id, source_id) = ids();
    let update = pb::UpdateSourceRequest { account_id, source_id, rate_per_s: 9, tolerance_s: 7, ..Default::default() };
    api.webhooks().update_source(update).await.unwrap();
    let (account_id, source_id) = ids();
    let add = pb::AddSourceSecretRequest { account_id, source_id, secret: NEXT.to_owned() };
    api.webhooks().add_source_secret(add).await.unwrap();
    let (account_id, source_id) = ids();
    api.webhooks().pause_source(pb::PauseSourceRequest { account_id, source_id }).await.unwrap();

    assert!(node.terminate().await.success());
    node.set(&settings(&[declared("in", &format!("\"text:{secret}\""), ", rate_per_s=50")]));
    node.restart();
    let api = node.api().await;
    let taken = shown(&api, "in", |source| source.rate_per_s == 50 && source.secrets.len() == 1).await;
    assert_eq!((&taken.path, taken.tolerance_s, taken.is_paused), (&path, 7, true), "what is not stated stays");

    // What was deleted is made again; what is no longer declared stays.
    let (account_id, source_id) = ids();
    api.webhooks().delete_source(pb::DeleteSourceRequest { account_id, source_id }).await.unwrap();
    node.kill();
    node.restart();
    let again = shown(&node.api().await, "in", |source| source.rate_per_s == 50).await;
    assert_ne!(again.path, path);
    node.kill();
    node.set(&settings(&[]));
    node.restart();
    assert_eq!(posted(&node, &again.path, secret, 1).await, 200);
}

#[tokio::test]
async fn another_scheme_is_told_once_and_changes_nothing() {
    let mut node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    api.create_source("acme", "in", "slack-v0", "s").await;
    let before = api.feed("acme").await;
    node.kill();
    node.expect("a declared source cannot be brought to its settings");
    node.set(&settings(&[declared("in", "\"text:x\"", ""), declared("other", "\"text:x\"", "")]));
    node.restart();
    let told = node.logged("the complaint", |line| line["level"] == "WARN");
    assert!(told["why"].as_str().unwrap().starts_with("the source has the scheme slack-v0"), "{told}");
    let api = node.api().await;
    shown(&api, "other", |_| true).await;
    assert_eq!(api.feed("acme").await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_declaration_that_cannot_be_refuses_the_start_and_never_shows_a_secret() {
    let mut node = Node::start();
    node.kill();
    node.expect("webhooks.sources[");
    let whsec =
        "{account=\"acme\", source=\"in\", scheme=\"standard-webhooks-v1\", secrets=[\"text:s3cret\"]}".to_owned();
    for (declared, wanted) in [
        (declared("in", "\"file:/does/not/exist\"", ""), "webhooks.sources[0].secrets[0] cannot be read from the file"),
        (
            declared("in", "\"env:SURELY_NOT_SET\"", ""),
            "secrets[0] names the variable SURELY_NOT_SET, which is not set",
        ),
        (declared("in", "\"s3cret\"", ""), "secrets[0] must be \\\"file:PATH\\\", \\\"env:NAME\\\""),
        (
            declared("in", "\"text:x\"", ", allow=[\"x\"]"),
            "webhooks.sources[0].allow[0] must be an address or a network",
        ),
        (whsec, "webhooks.sources[0].secrets[0] must be a secret of the form the scheme needs"),
    ] {
        node.set(&settings(&[declared]));
        let said = node.refuses_to_start();
        assert!(said.contains(wanted), "{wanted}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
