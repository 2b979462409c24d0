//! Platforms at work: they send what a plan says over connections of their own, and again when nobody answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use steward_tests::harness::{Delivery, Headers, Http, Platform, Reply, now_ms};
use tokio::sync::watch;

/// Beyond any tolerance.
const STALE_MS: u64 = 1_000_000;
/// Items of a batch; the last one is also the first of the next batch.
pub(crate) const ITEMS: u64 = 3;

/// A source and the path to it.
pub(crate) struct Source {
    pub(crate) account: &'static str,
    pub(crate) name: String,
    pub(crate) platform: Platform,
    pub(crate) path: String,
}

/// How a webhook is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Once,
    /// Over two connections at the same time.
    Twice,
    /// Again as soon as it is answered.
    Again,
    Forged,
    Stale,
}

/// One thing a sender does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shot {
    pub(crate) source: usize,
    pub(crate) number: u64,
    pub(crate) how: How,
}

/// Where the node is, and how often it was started; none while it is down.
pub(crate) type Whereabouts = Option<(usize, String)>;
/// How often each thing was answered, by source.
pub(crate) type Answers = BTreeMap<(usize, String), u64>;

/// What all senders share.
pub(crate) struct Senders {
    pub(crate) sources: Vec<Source>,
    pub(crate) shots: Vec<Shot>,
    next: AtomicUsize,
    node: watch::Sender<Whereabouts>,
    /// By life of the node.
    answers: Mutex<Vec<Answers>>,
    pub(crate) requests: AtomicU64,
    pub(crate) unanswered: AtomicU64,
}

impl Senders {
    pub(crate) fn new(sources: Vec<Source>, shots: Vec<Shot>) -> Self {
        Self {
            sources,
            shots,
            next: AtomicUsize::new(0),
            node: watch::Sender::new(None),
            answers: Mutex::default(),
            requests: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
        }
    }

    /// The node is there from now on, or is not.
    pub(crate) fn find(&self, address: Option<&str>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = address.map(|address| {
            answers.push(Answers::new());
            (answers.len() - 1, address.to_owned())
        });
        self.node.send_replace(found);
    }

    pub(crate) fn taken(&self) -> usize {
        self.next.load(Ordering::SeqCst)
    }

    /// What a life of the node answered.
    pub(crate) fn answers(&self, life: usize) -> Answers {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)[life].clone()
    }

    /// Sends until the plan is done.
    pub(crate) async fn send(&self) {
        let (mut one, mut other) = (None, None);
        while let Some(shot) = self.shots.get(self.next.fetch_add(1, Ordering::SeqCst)) {
            match shot.how {
                How::Once | How::Forged | How::Stale => self.shoot(&mut one, shot).await,
                How::Again => {
                    self.shoot(&mut one, shot).await;
                    self.shoot(&mut one, shot).await;
                }
                How::Twice => {
                    tokio::join!(self.shoot(&mut one, shot), self.shoot(&mut other, shot));
                }
            }
        }
    }

    /// One webhook, sent until it is answered.
    async fn shoot(&self, line: &mut Option<(usize, Http)>, shot: &Shot) {
        let source = &self.sources[shot.source];
        let mut node = self.node.subscribe();
        loop {
            let found = node.wait_for(Option::is_some).await.expect("the test goes on").clone();
            let (life, address) = found.expect("it was waited for");
            let (headers, body) = request(source, shot, &address);
            self.requests.fetch_add(1, Ordering::Relaxed);
            match post(line, life, &address, &source.path, &headers, &body).await {
                Some(reply) => {
                    if self.note(life, shot, &reply) {
                        return;
                    }
                }
                None => {
                    self.unanswered.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Counts an answer; says whether it is final.
    fn note(&self, life: usize, shot: &Shot, reply: &Reply) -> bool {
        let what = match reply.status {
            200 if reply.json()["duplicate"] == json!(true) => "repeated".to_owned(),
            200 => "accepted".to_owned(),
            _ => reply.json()["code"].as_str().unwrap_or_default().to_owned(),
        };
        let is_final = !matches!(reply.status, 429 | 503);
        if is_final {
            let wanted: &[&str] = match shot.how {
                How::Forged => &["bad_signature"],
                How::Stale => &["expired"],
                How::Once | How::Twice | How::Again => &["accepted", "repeated"],
            };
            assert!(wanted.contains(&what.as_str()), "{shot:?}: {}", reply.text());
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers[life].entry((shot.source, what)).or_default() += 1;
        is_final
    }
}

/// One request over a connection that is kept; none when it got no answer.
async fn post(
    line: &mut Option<(usize, Http)>,
    life: usize,
    address: &str,
    path: &str,
    headers: &Headers,
    body: &[u8],
) -> Option<Reply> {
    if line.as_ref().is_none_or(|(of, _)| *of != life) {
        *line = Some((life, Http::connect(address).await.ok()?));
    }
    let (_, http) = line.as_mut()?;
    let reply = http.send("POST", path, headers, body).await.ok();
    if reply.is_none() {
        *line = None;
    }
    reply
}

/// What a platform sends.
pub(crate) fn delivery(platform: Platform, number: u64) -> Delivery {
    let mut delivery = platform.sample(number);
    match platform {
        Platform::HubSpot => {
            let items: Vec<_> = (ITEMS * number..=ITEMS * (number + 1)).map(item).collect();
            delivery.body = json!(items).to_string().into_bytes();
        }
        // Every other one is no JSON, so that the feed has it byte for byte.
        Platform::GitHub if number % 2 == 1 => delivery.body = text(number).into_bytes(),
        Platform::GitHub | Platform::Stripe | Platform::Slack | Platform::Zoom | Platform::Standard => {}
    }
    delivery
}

/// A body of GitHub's that is no JSON.
pub(crate) fn text(number: u64) -> String {
    format!("number={number}\r\n\t\u{0}\"Grüße\" \u{1f980} \\ </script>\n")
}

/// An item of a batch.
pub(crate) fn item(number: u64) -> serde_json::Value {
    json!({"portalId": 62515, "subscriptionId": 12, "eventId": number, "occurredAt": number,
           "subscriptionType": "contact.creation", "objectId": number + 7})
}

fn request(source: &Source, shot: &Shot, address: &str) -> (Headers, Vec<u8>) {
    let mut delivery = delivery(source.platform, shot.number);
    let url = format!("https://{address}{}", source.path);
    let at_ms = if shot.how == How::Stale { now_ms() - STALE_MS } else { now_ms() };
    let headers = delivery.signed(at_ms, &url);
    if shot.how == How::Forged {
        delivery.body.push(b' ');
    }
    (headers, delivery.body)
}
