//! `/metrics`: what Prometheus reads, line by line, and by its own tool where that is installed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use steward_tests::harness::{Node, Platform, now_ms, skipped};

use crate::webhooks_in::source;

/// More families than this nobody looks at.
const FAMILIES_MAX: usize = 120;
/// Suffixes of the samples of histograms and summaries.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

async fn text() -> String {
    let node = Node::start();
    let path = source(&node.api().await, "acme", Platform::Zoom).await;
    let delivery = Platform::Zoom.sample(1);
    assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    node.post(&path, &vec![], b"").await.problem(401, "missing_header");
    let answer = node.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The name of a sample and what stands behind it.
fn split(line: &str) -> (&str, &str) {
    let end = line.find(['{', ' ']).expect("a sample has a value");
    line.split_at(end)
}

#[tokio::test]
async fn every_line_is_a_sample_of_a_described_family() {
    let text = text().await;
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = vec![];
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help has a text");
            assert!(help.len() > 5, "{line}");
            helped.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type has a kind");
            assert!(types.insert(name, kind).is_none(), "{name} is declared twice");
        } else {
            let (name, rest) = split(line);
            let family =
                PARTS.iter().find_map(|part| name.strip_suffix(part).filter(|family| types.contains_key(family)));
            let kind = types.get(family.unwrap_or(name)).unwrap_or_else(|| panic!("{line} has no type"));
            assert!(name.starts_with("steward_") || name.starts_with("process_"), "{line}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{line} is a {kind}");
            let value = rest.rsplit(' ').next().expect("a sample has a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(!rest.contains("acme"), "an account is no label: {line}");
        }
    }
    let undescribed: Vec<_> = types.keys().filter(|name| !helped.contains(name)).collect();
    assert!(undescribed.is_empty(), "nobody says what these are: {undescribed:?}");
    assert!(types.len() <= FAMILIES_MAX, "{} families", types.len());
    for wanted in
        ["steward_webhooks_accepted_total", "steward_webhook_duration_seconds", "process_resident_memory_bytes"]
    {
        assert!(types.contains_key(wanted), "{wanted} is missing");
    }
    assert!(text.contains("steward_webhooks_accepted_total 1\n"), "{text}");
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        return skipped("no promtool here (Debian package prometheus)");
    };
    promtool.stdin.take().expect("it reads").write_all(text().await.as_bytes()).expect("it listens");
    assert!(promtool.wait().expect("it ends").success(), "promtool objects");
}
