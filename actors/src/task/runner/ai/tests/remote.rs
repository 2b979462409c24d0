//! Models of a service: what its answers and failures become.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bench::Bench;
use super::fake_openai::{FakeOpenAi, KEY};
use crate::domain::task::TaskKind;
use crate::task::runner::ai::ProviderConfig;
use crate::task::runner::{Report, Retry};

fn bench(service: &FakeOpenAi) -> Bench {
    Bench::new("/nonexistent".into(), vec![service.provider()], ("fake/echo", "fake/vectors"))
}

fn chat(model: &str) -> Value {
    json!({ "model": format!("fake/{model}"), "messages": [{ "role": "user", "content": "héllo" }], "max_tokens": 9 })
}

#[tokio::test]
async fn a_conversation_is_continued_and_counted() {
    let service = FakeOpenAi::start();
    let outcome = bench(&service).run(TaskKind::Chat, chat("echo")).await;
    assert_eq!(
        outcome.value(),
        &json!({ "text": "You said: héllo", "model": "fake/echo", "finish_reason": "stop",
            "usage": { "input_tokens": 7, "output_tokens": 3 } })
    );
    let call = &outcome.calls[0];
    assert_eq!((call.operation, call.provider.as_str(), call.model.as_str()), ("chat", "fake", "echo"));
    assert_eq!((call.input_tokens, call.output_tokens, outcome.calls.len()), (7, 3, 1));
    let request = &service.requests()[0];
    assert_eq!(request["messages"], json!([{ "role": "user", "content": "héllo" }]));
    assert_eq!(
        (&request["model"], &request["max_tokens"], &request["stream"]),
        (&json!("echo"), &json!(9), &json!(true))
    );
}

#[tokio::test]
async fn answers_in_other_forms_are_understood() {
    let service = FakeOpenAi::start();
    let bench = bench(&service);
    assert_eq!(bench.run(TaskKind::Chat, chat("unstreamed")).await.value()["text"], "You said: héllo");
    let uncounted = bench.run(TaskKind::Chat, chat("uncounted")).await;
    assert_eq!(uncounted.value()["finish_reason"], "length");
    assert!(uncounted.calls[0].input_tokens > 0 && uncounted.calls[0].output_tokens > 0);
    assert_eq!(bench.run(TaskKind::Chat, chat("picky")).await.value()["text"], "You said: héllo");
    let last = service.requests().pop().unwrap();
    assert_eq!((last.get("temperature"), &last["max_completion_tokens"]), (None, &json!(9)));
}

#[tokio::test]
async fn each_failure_says_whether_to_try_again() {
    let service = FakeOpenAi::start();
    let bench = bench(&service);
    for (model, code, retry) in [
        ("limited", "provider_rate_limited", Retry::After(Duration::from_secs(2))),
        ("broke", "provider_quota_exhausted", Retry::Never),
        ("down", "provider_failed", Retry::BackOff),
        ("cut", "provider_cut_off", Retry::BackOff),
        ("reset", "provider_unreachable", Retry::BackOff),
        ("fails", "provider_failed", Retry::BackOff),
    ] {
        let outcome = bench.run(TaskKind::Chat, chat(model)).await;
        let error = outcome.error();
        assert_eq!((error.code, error.retry), (code, retry), "{model}: {error}");
        assert!(outcome.calls.is_empty(), "{model}: a call without an answer is not counted");
    }
}

#[tokio::test]
async fn a_refused_key_is_never_repeated() {
    let service = FakeOpenAi::start();
    let provider = ProviderConfig { api_key: format!("{KEY}-wrong"), ..service.provider() };
    assert!(!format!("{provider:?}").contains(KEY));
    let bench = Bench::new("/nonexistent".into(), vec![provider], ("fake/echo", "fake/vectors"));
    let outcome = bench.run(TaskKind::Chat, chat("echo")).await;
    assert_eq!((outcome.error().code, outcome.error().retry), ("provider_refused_key", Retry::Never));
    assert!(!format!("{:?}", outcome.error()).contains(KEY));
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_service() {
    let service = FakeOpenAi::start();
    let cancel = CancellationToken::new();
    let (bench, task_cancel) = (bench(&service), cancel.clone());
    // The service has taken the request when it is told of; then it says one word and waits.
    let cancelled = async {
        while service.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let task = bench.task(TaskKind::Chat, chat("silent"));
    let (outcome, ()) = tokio::join!(bench.attempt(&task, &task_cancel, |_: &Report| {}), cancelled);
    assert_eq!(outcome.error().retry, Retry::Cancelled);
    let left = async {
        while !service.client_left() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), left).await.expect("the connection is closed");
}

#[tokio::test]
async fn texts_become_vectors_in_either_encoding() {
    let service = FakeOpenAi::start();
    let bench = bench(&service);
    let base64 = bench.run(TaskKind::Embed, json!({ "input": ["ab", "c"] })).await;
    let floats = bench.run(TaskKind::Embed, json!({ "input": ["ab", "c"], "model": "fake/floats" })).await;
    assert_eq!(base64.value()["embeddings"], floats.value()["embeddings"]);
    assert_eq!((&base64.value()["dimensions"], &base64.value()["usage"]["input_tokens"]), (&json!(4), &json!(5)));
    let many: Vec<String> = (0..200).map(|n| format!("text {n}")).collect();
    let many = bench.run(TaskKind::Embed, json!({ "input": many })).await;
    assert_eq!(many.value()["embeddings"].as_array().unwrap().len(), 200);
    assert_eq!(service.requests().len(), 2 + 4, "sixty-four texts a request");
}

/// The fake must be right for these tests to mean anything; the official client is the judge.
#[test]
fn the_official_client_accepts_the_fake() {
    const SCRIPT: &str = r#"
import sys
from openai import OpenAI, AuthenticationError, RateLimitError
client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = [{"role": "user", "content": "hi"}]
whole = client.chat.completions.create(model="echo", messages=ask)
assert whole.choices[0].message.content == "You said: hi" and whole.usage.total_tokens == 10
parts = list(client.chat.completions.create(model="echo", messages=ask, stream=True, stream_options={"include_usage": True}))
assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == "You said: hi"
assert parts[-1].usage.total_tokens == 10
assert len(client.embeddings.create(model="v", input=["a", "b"]).data[1].embedding) == 4
for model, key, kind in [("limited", sys.argv[2], RateLimitError), ("echo", "wrong", AuthenticationError)]:
    try:
        client.with_options(api_key=key).chat.completions.create(model=model, messages=ask)
        raise SystemExit("no error")
    except kind:
        pass
"#;
    let installed = Command::new("python3").args(["-c", "import openai"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: the official client needs python3 with the package openai");
        return;
    }
    let service = FakeOpenAi::start();
    let output = Command::new("python3").args(["-c", SCRIPT, &service.base_url, KEY]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
