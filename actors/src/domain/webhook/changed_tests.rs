//! Requests that were valid until something in them changed: every scheme's own vectors, with bytes turned, put in, taken
//! out or repeated. None makes the verifier panic, and none verifies when what its sender vouched for is another.
//!
//! Some seconds of looking; `PROPTEST_CASES=1000000` makes minutes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;
use steward_cluster::clock::Timestamp;
use url::form_urlencoded;

use super::{Incoming, Refusal, Scheme, Verified, all, find, handshake, verify};
use crate::domain::account::Trust;

/// Requests looked at, unless the environment says otherwise.
const CASES: u32 = 16_384;

/// Headers that are signed, or are the secret itself, wherever they are in use.
const VOUCHED: [&str; 13] = [
    "x-slack-request-timestamp",
    "x-zm-request-timestamp",
    "x-hubspot-request-timestamp",
    "x-zendesk-webhook-signature-timestamp",
    "x-front-request-timestamp",
    "x-twilio-email-event-webhook-timestamp",
    "box-delivery-timestamp",
    "webhook-id",
    "webhook-timestamp",
    "svix-id",
    "svix-timestamp",
    "x-gitlab-token",
    "x-goog-channel-token",
];

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Clone, Debug, Deserialize)]
struct Vector {
    scheme: String,
    method: String,
    url: String,
    secret: Option<String>,
    #[serde(default)]
    extra_secrets: Vec<String>,
    headers: BTreeMap<String, String>,
    body_base64: String,
    now_unix: u64,
    expect: String,
    tolerance_s: Option<u64>,
}

/// A request and what it is judged with.
#[derive(Clone, Debug)]
struct Request {
    scheme: &'static Scheme,
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    secrets: Vec<String>,
    now: Timestamp,
    tolerance: Option<Duration>,
}

impl Request {
    fn judge(&self) -> Result<Verified, Refusal> {
        verify(self.scheme, &self.incoming(), &self.secrets, self.now, self.tolerance)
    }

    fn incoming(&self) -> Incoming<'_> {
        Incoming { method: &self.method, url: &self.url, headers: &self.headers, body: &self.body, raw: None }
    }

    fn header(&self, name: &str) -> &[u8] {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(b"", |(_, value)| value.trim_ascii())
    }

    /// What the sender vouched for, told apart by little more than the scheme's name.
    fn vouched(&self) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = VOUCHED.iter().map(|name| self.header(name).to_vec()).collect();
        let name = self.scheme.name;
        let is_form =
            self.header("content-type").to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded");
        match self.scheme.trust {
            Trust::Full if name.starts_with("twilio") && is_form => parts.push(twilio_text(&self.body)),
            Trust::Full => parts.push(self.body.clone()),
            Trust::BodyNotCovered | Trust::TokenOnly => {}
        }
        if name.ends_with("-jwt") {
            // The word in front may be of any case.
            let token = self.header("authorization").get("Bearer".len()..).unwrap_or_default();
            let signature = token.iter().rposition(|byte| *byte == b'.').unwrap_or(0);
            parts.push(token[..signature].trim_ascii().to_vec());
        }
        // HubSpot undoes escapes and Twilio adds a port.
        let is_plain = !self.url.contains(['%', '+']) && !self.url.contains(":443") && !self.url.contains(":80");
        if is_plain && (name.starts_with("twilio") || ["hubspot-v2", "hubspot-v3", "gong-jwt"].contains(&name)) {
            parts.push(self.url.clone().into_bytes());
        }
        parts
    }

    /// Makes one change; nothing when a URL would be no text any more.
    fn change(&mut self, change: &Change) {
        let at = change.target.index(self.headers.len() + 4);
        match at.checked_sub(self.headers.len()) {
            None => edit(&mut self.headers[at].1, change),
            Some(0) => {
                let mut url = self.url.clone().into_bytes();
                edit(&mut url, change);
                self.url = String::from_utf8(url).unwrap_or_else(|_| self.url.clone());
            }
            Some(_) => edit(&mut self.body, change),
        }
    }
}

/// The fields as Twilio writes them one after the other: two bodies may have the same text.
fn twilio_text(body: &[u8]) -> Vec<u8> {
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        fields.entry(name.into_owned()).or_default().insert(value.into_owned());
    }
    let text =
        |(name, values): (String, BTreeSet<String>)| values.into_iter().map(move |value| format!("{name}{value}"));
    fields.into_iter().flat_map(text).collect::<String>().into_bytes()
}

/// One change: where, and of which sort.
#[derive(Clone, Debug)]
struct Change {
    target: Index,
    from: Index,
    count: usize,
    edit: Edit,
}

#[derive(Clone, Debug)]
enum Edit {
    Turn(u8),
    Write(Vec<u8>),
    Insert(Vec<u8>),
    Delete,
    Repeat,
    CutOff,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..4),
            "[,;:=. \t\"{}\\[\\]0-9a-fvt+/%&<>-]{1,6}".prop_map(String::into_bytes),
            "(,v1=|v1,|v0=|sha256=|t=0|Bearer |Basic |\\\\u00e9|<!DOCTYPE a>|=|&)".prop_map(String::into_bytes),
        ]
    };
    let edit = prop_oneof![
        (0_u32..8).prop_map(|bit| Edit::Turn(1 << bit)),
        bytes().prop_map(Edit::Write),
        bytes().prop_map(Edit::Insert),
        Just(Edit::Delete),
        Just(Edit::Repeat),
        Just(Edit::CutOff),
    ];
    let change = (any::<Index>(), any::<Index>(), 1_usize..9, edit).prop_map(|(target, from, count, edit)| Change {
        target,
        from,
        count,
        edit,
    });
    prop::collection::vec(change, 1..4)
}

fn edit(bytes: &mut Vec<u8>, Change { from, count, edit, .. }: &Change) {
    let from = from.index(bytes.len() + 1);
    let to = bytes.len().min(from + count);
    match edit {
        Edit::Turn(bits) => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= bits),
        Edit::Write(with) => drop(bytes.splice(from..to, with.iter().copied())),
        Edit::Insert(with) => drop(bytes.splice(from..from, with.iter().copied())),
        Edit::Delete => drop(bytes.drain(from..to)),
        Edit::Repeat => {
            let again = bytes[from..to].to_vec();
            bytes.splice(to..to, again);
        }
        Edit::CutOff => bytes.truncate(from),
    }
}

/// The vectors that verify, by scheme, so that each scheme is as likely as another.
fn valid() -> Vec<Vec<Request>> {
    let text = include_str!("../../../../tests/fixtures/vectors/webhooks.json");
    let file: File = serde_json::from_str(text).expect("the file of vectors is of this form");
    let mut by_scheme: BTreeMap<String, Vec<Request>> = BTreeMap::new();
    for vector in file.vectors.into_iter().filter(|vector| vector.expect == "ok") {
        let standard = base64::engine::general_purpose::STANDARD;
        let request = Request {
            scheme: find(&vector.scheme).expect("vectors are of schemes in the table"),
            method: vector.method,
            url: vector.url,
            headers: vector.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
            body: standard.decode(vector.body_base64).expect("bodies are base64"),
            secrets: vector.secret.into_iter().chain(vector.extra_secrets).collect(),
            now: Timestamp(vector.now_unix * 1000),
            tolerance: vector.tolerance_s.map(Duration::from_secs),
        };
        by_scheme.entry(vector.scheme).or_default().push(request);
    }
    by_scheme.into_values().collect()
}

#[test]
fn every_scheme_has_a_request_to_change() {
    let valid = valid();
    assert_eq!(valid.len(), all().count());
    for request in valid.iter().flatten() {
        assert!(request.judge().is_ok(), "{}", request.scheme.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_change_of_what_is_vouched_for_verifies(
        request in (prop::sample::select(valid()), any::<Index>())
            .prop_map(|(of_scheme, at)| of_scheme[at.index(of_scheme.len())].clone()),
        changes in changes(),
    ) {
        let mut changed = request.clone();
        changes.iter().for_each(|change| changed.change(change));
        let verdict = changed.judge();
        if changed.vouched() != request.vouched() {
            prop_assert!(verdict.is_err(), "{} took {changed:?}", request.scheme.name);
        }
        if let Ok(verified) = verdict {
            prop_assert!(verified.secret_index < request.secrets.len());
        }
        let answer = handshake::answer(changed.scheme, &changed.incoming(), b"secret");
        prop_assert!(answer.is_none_or(|answer| answer.body.len() < 2048));
    }
}
