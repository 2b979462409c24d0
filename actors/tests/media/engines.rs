//! Transcripts by services: OpenAI's way over a fake that the official client accepts, and the real server of whisper.cpp.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use steward_actors::domain::task::TaskKind;
use steward_actors::task::runner::ai::ProviderConfig;
use steward_actors::task::runner::video::speech::{EngineConfig, Protocol};
use steward_actors::task::runner::{Report, Retry, TaskRun};

use crate::support::{Bench, fixture, models};
use crate::transcribing_service::{KEY, TranscribingService};

fn engine(name: &str, url: &str, model: &str, protocol: Protocol) -> EngineConfig {
    let provider = ProviderConfig { name: name.to_owned(), base_url: url.to_owned(), api_key: KEY.to_owned() };
    EngineConfig { provider, protocol, model: model.to_owned() }
}

/// Engines of the service, one for each of its models.
fn bench(service: &TranscribingService) -> Bench {
    let models = ["whisper-1", "limited", "absent", "textual", "silent"];
    let engines = models.map(|model| engine(model, &service.url, model, Protocol::OpenAi)).into();
    Bench { engines, ..Bench::new() }
}

fn task(bench: &Bench, blob: &str, engine: &str) -> TaskRun {
    TaskRun { input: json!({ "blob": blob, "engine": engine }), ..bench.task(TaskKind::Transcript, blob) }
}

/// Three windows of real speech.
fn minute(bench: &Bench) -> String {
    let speech = fixture("speech_librivox_16k.wav");
    bench.make(&format!("-stream_loop 2 -i {} -c copy", speech.display()), "minute.wav")
}

fn checkpoint(report: &Report) -> Option<Value> {
    match report {
        Report::Checkpoint(note) => Some(note.clone()),
        Report::Progress { .. } | Report::GetsOn | Report::Ai(_) => None,
    }
}

fn python() -> PathBuf {
    let sdks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sdks");
    assert!(sdks.join("ready").exists(), "the official SDKs are not there; scripts/setup --tests installs them");
    sdks.join("python/bin/python")
}

#[tokio::test]
async fn a_service_hears_each_window_and_is_named() {
    let service = TranscribingService::start();
    let bench = bench(&service);
    let task = task(&bench, &minute(&bench), "whisper-1");
    let ended = bench.run(&task, |_, _| {}).await;
    let result = ended.result.expect("it succeeds");
    assert_eq!(
        (&result["engine"], &result["model"], &result["language"]),
        (&json!("whisper-1"), &json!("whisper-1"), &json!("english"))
    );
    assert_eq!(result["text"], "Window 0.\nWindow 1.\nWindow 2.");
    let starts: Vec<u64> =
        result["segments"].as_array().unwrap().iter().map(|it| it["start_ms"].as_u64().unwrap()).collect();
    assert!(starts[0] == 10_000 && starts.windows(2).all(|pair| pair[1] - pair[0] > 18_000), "{starts:?}");
    let asked = service.asked();
    let fields: Vec<_> = asked[0].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(
        fields.contains(&("model", "whisper-1")) && fields.contains(&("response_format", "verbose_json")),
        "{fields:?}"
    );
    // Half a minute at most, as FLAC: less than half of 16,000 samples of two bytes each second and far below 25 MB.
    assert!(asked.iter().all(|form| form.file.starts_with(b"fLaC") && form.file.len() < 700_000));
    let calls = ended.reports.iter().filter_map(|report| match report {
        Report::Ai(call) => Some((call.operation, call.provider.as_str(), call.model.as_str())),
        Report::Progress { .. } | Report::GetsOn | Report::Checkpoint(_) => None,
    });
    assert_eq!(calls.collect::<Vec<_>>(), [("transcribe", "whisper-1", "whisper-1"); 3]);
}

#[tokio::test]
async fn a_later_attempt_never_pays_twice() {
    let service = TranscribingService::start();
    let bench = bench(&service);
    let mut task = task(&bench, &minute(&bench), "limited");
    let first = bench.run(&task, |_, _| {}).await;
    let error = first.result.expect_err("the second window is refused");
    assert_eq!((error.code, error.retry), ("provider_rate_limited", Retry::After(Duration::from_secs(2))));
    task.checkpoint = first.reports.iter().filter_map(checkpoint).next_back();
    let result = bench.run(&task, |_, _| {}).await.result.expect("the rest is heard");
    // Request 1 was refused, and window 0 was not asked for again.
    assert_eq!((result["text"].as_str(), service.asked().len()), (Some("Window 0.\nWindow 2.\nWindow 3."), 4));
    let windows: Vec<_> = service.asked().into_iter().map(|form| form.file).collect();
    assert!(windows[1] == windows[2] && windows[0] != windows[1] && windows[2] != windows[3]);
}

#[tokio::test]
async fn what_a_service_cannot_do_is_said() {
    let service = TranscribingService::start();
    let mut bench = bench(&service);
    let blob = bench.keep(&fixture("speech_librivox_16k.wav"));
    let absent = bench.run(&task(&bench, &blob, "absent"), |_, _| {}).await.result;
    assert_eq!(absent, Ok(json!({ "status": "unavailable", "reason": "no model" })));
    let unknown = bench.run(&task(&bench, &blob, "whisper-2"), |_, _| {}).await.result.expect_err("there is none");
    assert_eq!((unknown.code, unknown.retry), ("input_invalid", Retry::Never));
    assert_eq!(unknown.message, "`engine` must be one of local, whisper-1, limited, absent, textual, silent");
    let textual = bench.run(&task(&bench, &blob, "textual"), |_, _| {}).await.result.expect_err("it has no times");
    assert_eq!(textual.code, "provider_malformed");
    bench.engines[0].provider.api_key = format!("{KEY}-wrong");
    let refused = bench.run(&task(&bench, &blob, "whisper-1"), |_, _| {}).await.result.expect_err("the key is wrong");
    assert_eq!((refused.code, refused.retry), ("provider_refused_key", Retry::Never));
    assert!(!format!("{refused:?}").contains(KEY));
    let inside = EngineConfig {
        provider: ProviderConfig { base_url: "http://10.0.0.1".to_owned(), ..bench.engines[0].provider.clone() },
        ..bench.engines[0].clone()
    };
    bench.engines[0] = inside;
    let inside = bench.run(&task(&bench, &blob, "whisper-1"), |_, _| {}).await.result.expect_err("it is inside");
    assert_eq!((inside.code, inside.retry), ("provider_unreachable", Retry::Never), "{inside}");
}

#[tokio::test]
async fn a_cancelled_transcript_leaves_the_service() {
    let service = TranscribingService::start();
    let bench = bench(&service);
    let blob = bench.keep(&fixture("speech_librivox_16k.wav"));
    let task = task(&bench, &blob, "silent");
    let ended = bench.run(&task, |report, cancel| {
        if matches!(report, Report::Progress { note, .. } if note.starts_with("listening")) {
            cancel.cancel();
        }
    });
    assert_eq!(ended.await.result.expect_err("it ends").code, "cancelled");
}

/// The fake must be right for these tests to mean anything; the official client is the judge.
#[test]
fn the_official_client_accepts_the_fake() {
    const SCRIPT: &str = r#"
import sys
from openai import OpenAI, AuthenticationError, NotFoundError, RateLimitError, BadRequestError
client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
sound = ("sound.flac", b"fLaC\0\0\0\x22" + bytes(34), "audio/flac")
def ask(client=client, **more):
    return client.audio.transcriptions.create(file=sound, response_format="verbose_json",
        timestamp_granularities=["word", "segment"], **{"model": "whisper-1", **more})
heard = ask()
assert heard.text == "Window 0." and heard.language == "english" and heard.duration == 20.0, heard
assert [(w.word, w.start, w.end) for w in heard.words] == [("Window", 10.0, 10.5), ("0", 10.5, 11.5)], heard
assert heard.segments[0].no_speech_prob == 0.01 and heard.segments[0].text == " Window 0.", heard
for kind, more in [(RateLimitError, {"model": "limited"}), (NotFoundError, {"model": "absent"}),
                   (AuthenticationError, {"client": client.with_options(api_key="wrong")})]:
    try:
        ask(**more)
        raise SystemExit(f"no {kind}")
    except kind as error:
        assert error.response.headers.get("retry-after") == ("2" if kind is RateLimitError else None)
        assert error.code == {RateLimitError: "rate_limit_exceeded", NotFoundError: "model_not_found"}.get(kind, "invalid_api_key")
assert client.audio.transcriptions.create(file=sound, model="whisper-1").text == "Window 4."
"#;
    let service = TranscribingService::start();
    let output = Command::new(python()).args(["-c", SCRIPT, &service.url, KEY]).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The client sends the same form as the node does.
    let fields = &service.asked()[0].fields;
    let ours = ["model", "response_format", "timestamp_granularities[]", "timestamp_granularities[]"];
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ours);
}

/// The server that comes with whisper.cpp, on the model of the embedded engine.
struct WhisperServer {
    child: Child,
    url: String,
}

impl WhisperServer {
    fn start(models: &Path, more: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.whisper-server");
        assert!(program.exists(), "the server of whisper.cpp is not there; scripts/setup --tests builds it");
        // The server cannot say which port it took, so one is chosen that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--threads", "1", "--no-gpu"]).args(more);
        command.arg("--model").arg(models.join("whisper-tiny.en-q8_0.bin"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        // It says that it listens before it does, so it is asked.
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().is_ok_and(|ended| ended.is_none()), "it ended early");
            std::thread::yield_now();
        }
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for WhisperServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn the_server_of_whisper_cpp_hears_what_the_embedded_engine_hears() {
    let Some(models) = models() else { return };
    let own = WhisperServer::start(&models, &[]);
    let like_openai = WhisperServer::start(&models, &["--inference-path", "/v1/audio/transcriptions"]);
    let engines = vec![
        engine("own", &own.url, "tiny.en", Protocol::WhisperCpp),
        engine("like-openai", &format!("{}/v1", like_openai.url), "tiny.en", Protocol::OpenAi),
    ];
    let bench = Bench { engines, models, ..Bench::new() };
    let blob = bench.keep(&fixture("speech_librivox_16k.wav"));
    let plain = |result: &Value| -> Vec<String> {
        let text = result["text"].as_str().unwrap();
        text.split_whitespace().map(|word| word.replace(|c: char| !c.is_alphanumeric(), "").to_lowercase()).collect()
    };
    let mut heard = vec![];
    for engine in ["local", "own", "like-openai"] {
        let run = TaskRun { scratch: bench.dir.path().join(engine), ..task(&bench, &blob, engine) };
        let result = bench.run(&run, |_, _| {}).await.result.expect(engine);
        let times: Vec<u64> = result["segments"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|segment| segment["words"].as_array().unwrap())
            .map(|word| word["start_ms"].as_u64().unwrap())
            .collect();
        assert_eq!(times.len(), plain(&result).len(), "{engine}: each word has its time");
        assert!(times.is_sorted() && *times.last().unwrap() > 20_000, "{engine}: {times:?}");
        heard.push(plain(&result));
    }
    let differing = |other: &[String]| heard[0].iter().zip(other).filter(|(a, b)| a != b).count();
    assert!(heard[0].len() > 60 && heard[0].len() == heard[1].len() && differing(&heard[1]) <= 2, "{heard:#?}");
    assert_eq!(heard[1], heard[2]);
}
