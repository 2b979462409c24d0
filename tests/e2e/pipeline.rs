//! The main job on a real recording: webhook, playbook, video, speech, summary, search, answer.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use steward_proto::job::v1::{Job, TaskState};
use steward_tests::harness::{Api, Media, Node, NodeBuilder, Outside, Platform, now_ms, probe, skipped, workspace};

use crate::webhooks_in::source;

const QUESTION: &str = "What might he have been made, had he married a more amiable woman?";
/// Share of the words that the small speech model may get wrong on this reading.
const WORDS_WRONG_MAX: f64 = 0.15;

/// A recording of the fixtures.
pub(crate) fn recording(name: &str) -> PathBuf {
    workspace().join("tests/fixtures/media").join(name)
}

/// A node that cuts recordings finely, so that there are checkpoints to come back to.
pub(crate) fn media_node() -> NodeBuilder {
    Node::builder().reaching_loopback().set("video.chunk_seconds=5")
}

/// Where the models are; none, said aloud, when they are not installed.
pub(crate) fn models() -> Option<PathBuf> {
    let folder = workspace().join(".models");
    if folder.exists() {
        return Some(folder);
    }
    skipped("no models in .models (make test installs them)");
    None
}

/// A call that a platform reported, followed to its end.
struct Call {
    api: Api,
    job: Job,
    _node: Node,
}

impl Call {
    async fn run(node: Node) -> Self {
        let bytes = fs::read(recording("meeting_360p_25s.webm")).expect("the fixture is there");
        let platform = Outside::serving("video/webm", bytes);
        let api = node.api().await;
        node.raised().await;
        let path = source(&api, "acme", Platform::Zoom).await;
        let input = json!({
            "url": "{{/body/payload/object/recording_files/0/download_url}}",
            "title": "{{/body/payload/object/topic}}",
        });
        api.put_playbook("acme", "webhook.zoom.recording.completed", "call", &input).await;
        let delivery = Platform::zoom_recording(&platform.url("/rec.webm"), now_ms());
        let mut follow = api.follow("acme", 0).await;
        let answer = node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (requested, asked) = follow.until("the job", |event, _| event.r#type == "job.requested").await;
        assert_eq!(Some(requested.causation_seq), answer.json()["seq"].as_u64(), "the webhook is the cause");
        let job = asked["job"].as_str().expect("a job has a name").to_owned();
        let (ended, data) = follow.until_job_ends(&job).await;
        assert_eq!(ended, "job.succeeded", "{data}");
        let job = api.job("acme", &job).await;
        assert!(job.tasks.iter().all(|task| task.state() == TaskState::Succeeded && task.attempt == 1), "{job:?}");
        Self { api, job, _node: node }
    }

    fn result(&self, task: &str) -> Value {
        Api::task(&self.job, task).1
    }

    async fn blob(&self, named: &Value) -> Vec<u8> {
        self.api.blob("acme", named.as_str().expect("a blob has a name")).await
    }

    /// What does not need a model.
    async fn check_pictures(&self) {
        let normalized = self.result("normalize");
        let video = probe(&self.blob(&normalized["blob"]).await);
        let Media { codecs, duration_ms } = video;
        assert_eq!(codecs, ["h264", "aac"]);
        assert!(duration_ms.abs_diff(24_730) < 500, "{duration_ms} ms");
        assert_eq!((&normalized["status"], &normalized["pass_through"]), (&json!("complete"), &json!(false)));
        assert!(normalized["chunks"].as_u64().is_some_and(|chunks| chunks >= 3), "{normalized}");
        let thumbnail = self.blob(&self.result("thumbnail")["blob"]).await;
        assert_eq!(thumbnail[..3], [0xff, 0xd8, 0xff], "a JPEG");
        assert_eq!(probe(&thumbnail).codecs, ["mjpeg"]);
    }
}

/// Words that differ, as a share of the words said (Levenshtein over words).
fn words_wrong(heard: &str, said: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let plain = text.to_lowercase().replace("mr.", "mister").replace('-', " ");
        let bare = |word: &str| word.chars().filter(char::is_ascii_alphabetic).collect::<String>();
        plain.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect()
    };
    let (heard, said) = (words(heard), words(said));
    let mut row: Vec<u32> = (0..).take(said.len() + 1).collect();
    for (line, word) in (1..).zip(&heard) {
        let mut before = std::mem::replace(&mut row[0], line);
        for (at, wanted) in said.iter().enumerate() {
            let exchanged = before + u32::from(word != wanted);
            before = row[at + 1];
            row[at + 1] = exchanged.min(before + 1).min(row[at] + 1);
        }
    }
    f64::from(row[said.len()]) / f64::from(u32::try_from(said.len()).expect("a text is short"))
}

#[test]
fn wrong_words_are_counted() {
    assert!(words_wrong("And Mr. John had", "and mister john had") < 0.01);
    assert!((words_wrong("and john had a", "and mister john had") - 0.5).abs() < 0.01);
}

#[tokio::test]
async fn a_recorded_call_becomes_text_pictures_and_answers() {
    let Some(models) = models() else { return };
    let call = Call::run(media_node().set(&format!("ai.models_dir={}", models.display())).start()).await;
    call.check_pictures().await;

    let told: Value =
        serde_json::from_slice(&fs::read(recording("speech_librivox_16k.json")).unwrap()).expect("the fixture is JSON");
    let utterances = told["utterances"].as_array().unwrap();
    let said: Vec<&str> = utterances.iter().filter_map(|utterance| utterance["text"].as_str()).collect();
    let transcript = call.result("transcript");
    let heard = transcript["text"].as_str().expect("there is a text");
    let wrong = words_wrong(heard, &said.join(" "));
    assert!(wrong <= WORDS_WRONG_MAX, "{wrong:.2} of the words are wrong: {heard}");
    let subtitles = String::from_utf8(call.blob(&transcript["blobs"]["vtt"]).await).unwrap();
    assert!(subtitles.starts_with("WEBVTT") && subtitles.contains("-->"), "{subtitles}");

    let summary = call.result("summarize");
    assert!(summary["summary"].as_str().is_some_and(|text| !text.is_empty()), "{summary}");
    assert!(call.result("index")["chunks"].as_u64().is_some_and(|chunks| chunks > 0));
    assert_eq!(call.api.feed_of("acme", "document.indexed").await.len(), 1);
    assert!(!call.api.feed_of("acme", "ai.called").await.is_empty());

    let mut follow = call.api.follow("acme", 0).await;
    let asked = call.api.create_job("acme", "answer", &json!({"question": QUESTION})).await;
    let (ended, data) = follow.until_job_ends(&asked).await;
    assert_eq!(ended, "job.succeeded", "{data}");
    let (_, answer) = Api::task(&call.api.job("acme", &asked).await, "answer");
    assert!(answer["answer"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
    let citations = answer["citations"].as_array().expect("the answer cites");
    for cited in citations {
        let (start, end) = (cited["start_ms"].as_u64().unwrap(), cited["end_ms"].as_u64().unwrap());
        assert!(start < end && end <= 26_000, "{cited}");
        assert!(heard.contains(cited["text"].as_str().unwrap().trim()), "a citation is what was said: {cited}");
    }
    let about = |cited: &Value| cited["text"].as_str().is_some_and(|text| text.contains("more amiable woman"));
    let found = citations.iter().find(|cited| about(cited)).unwrap_or_else(|| panic!("{answer}"));
    assert!((14_000..17_500).contains(&found["start_ms"].as_u64().unwrap()), "where it is said: {found}");
}

#[tokio::test]
async fn without_models_the_call_succeeds_and_says_what_is_missing() {
    let call = Call::run(media_node().start()).await;
    call.check_pictures().await;
    assert_eq!(call.result("transcript"), json!({"status": "unavailable", "reason": "no model"}));
    for task in ["summarize", "index"] {
        assert_eq!(call.result(task)["status"], "unavailable", "{task}");
    }
    assert!(call.api.feed_of("acme", "ai.called").await.is_empty());
}
