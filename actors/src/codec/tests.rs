//! Round trips, the bytes of every stored kind, and what the view hides.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use steward_cluster::clock::Timestamp;
use steward_cluster::format::Format;
use steward_cluster::ids::LogIndex;
use steward_proto::record::v1 as wire;

use super::decode::DecodeError;
use super::entry::Entry;
use super::samples::{EVENT_KINDS, MARK_KINDS, Parts, event, mark};
use super::{
    Barrier, Decision, Runs, ShardAcked, data_json, decode, decode_entry, decode_feed_row, encode, encode_check,
    encode_feed_row,
};
use crate::domain::account::{Answer, Event, Idempotency, JobChange, KeptRequest, Playbook, WebhookAccepted};
use crate::domain::budget::Amounts;
use crate::domain::ids::{AccountId, Id, JobId, PlaybookId};
use crate::domain::job::{JobKind, JobOptions, Split};
use crate::domain::pattern::Pattern;
use crate::domain::task::TaskKind;

fn parts() -> impl Strategy<Value = Parts> {
    let numbers = (any::<u64>(), any::<u32>(), any::<u16>(), 0..99_usize, any::<bool>());
    ("[a-z0-9][a-z0-9_-]{0,20}", "\\PC{0,30}", prop::collection::vec(any::<u8>(), 0..50), numbers).prop_map(
        |(id, text, bytes, (number, small, status, pick, full))| Parts {
            id,
            text,
            bytes,
            number,
            small,
            status,
            pick,
            full,
        },
    )
}

fn decision(p: &Parts) -> Decision {
    let answer = Answer { id: p.text.clone(), seq: p.number, repeated: false };
    let asked = Idempotency { key: p.text.clone(), fingerprint: p.number };
    Decision {
        account: AccountId::parse(&p.id).unwrap(),
        first_seq: u64::from(p.small),
        at: Timestamp(p.number),
        actor: p.text.clone(),
        correlation_id: p.text.clone(),
        causation_seq: p.number,
        events: (1..=EVENT_KINDS).map(|kind| event(kind, p)).collect(),
        marks: (1..=MARK_KINDS).map(|kind| mark(kind, p)).collect(),
        answered: p.full.then_some((asked, answer)),
    }
}

fn acked(p: &Parts) -> ShardAcked {
    ShardAcked { consumer: Id::parse(&p.id).unwrap(), index: LogIndex(p.number) }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_an_equal_value(one in parts(), two in parts()) {
        let decisions = vec![decision(&one), decision(&two)];
        let mut entry: Vec<u8> = decisions.iter().flat_map(|decision| decision.encode().to_vec()).collect();
        entry.splice(0..0, acked(&one).encode());
        entry.extend(acked(&two).encode());
        let decoded = decode_entry(Bytes::from(entry)).unwrap();
        prop_assert_eq!((decoded.decisions, decoded.acked), (decisions.clone(), vec![acked(&one), acked(&two)]));
        for (seq, cause_seq, event) in decisions[0].numbered() {
            let row = encode_feed_row(&decisions[0], LogIndex(9), cause_seq, event);
            let entry = decode_feed_row(seq, Bytes::from(row)).unwrap();
            prop_assert_eq!((&entry.event, entry.seq, entry.at), (event, seq, decisions[0].at));
        }
    }

    #[test]
    fn bytes_nobody_wrote_are_refused_not_believed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Entry { decisions, .. }) = decode_entry(Bytes::from(bytes)) {
            let entry: Vec<u8> = decisions.iter().flat_map(|decision| decision.encode().to_vec()).collect();
            prop_assert_eq!(decode_entry(Bytes::from(entry)).unwrap().decisions, decisions);
        }
    }
}

#[test]
fn what_follows_from_an_event_of_a_batch_has_it_for_its_cause() {
    let p = Parts::fixed();
    let (webhook, failed) = (event(9, &p), event(6, &p));
    let events = vec![webhook.clone(), failed.clone(), failed.clone(), webhook, failed];
    let batch = Decision { first_seq: 10, causation_seq: 0, events, marks: vec![], ..decision(&p) };
    let causes: Vec<_> = batch.numbered().map(|(seq, cause, _)| (seq, cause)).collect();
    assert_eq!(causes, [(10, 0), (11, 10), (12, 10), (13, 0), (14, 13)]);
    assert_eq!(batch.format(), Format::WEBHOOKS);
    assert_eq!(Decision { events: batch.events[..2].to_vec(), ..batch }.format(), Format::FIRST);
}

#[test]
fn what_playbooks_make_of_a_webhook_of_before_has_that_for_its_cause() {
    let p = Parts::fixed();
    let events = vec![event(6, &p), event(6, &p)];
    let again = Decision { first_seq: 10, causation_seq: 4, events, marks: vec![], ..decision(&p) };
    let causes: Vec<_> = again.numbered().map(|(seq, cause, _)| (seq, cause)).collect();
    assert_eq!(causes, [(10, 4), (11, 4)]);
    assert_eq!(again.format(), Format::WEBHOOKS);
}

#[test]
fn what_is_said_of_a_job_beside_its_work_needs_its_format() {
    let p = Parts { full: false, ..Parts::fixed() };
    let of = |event: Event| Decision { events: vec![event], marks: vec![], ..decision(&p) }.format();
    assert_eq!((of(event(15, &p)), of(event(24, &p)), of(event(29, &p))), (Format::FIRST, Format::FIRST, Format::JOBS));
    assert_eq!(of(event(32, &p)), Format::WORK);
    assert_eq!(of(event(33, &p)), Format::BUDGETS);
    assert_eq!(of(event(30, &p)), Format::JOBS);
    assert_eq!(of(event(30, &Parts { small: 11, ..p.clone() })), Format::BUDGETS, "a limit of open jobs");
    let spent = Decision { events: vec![], marks: vec![mark(7, &p)], ..decision(&p) };
    assert_eq!(spent.format(), Format::BUDGETS);
    for kind in [19, 25] {
        assert_eq!(of(event(kind, &p)), Format::FIRST, "nothing is reserved, no call is counted");
        assert_eq!(of(event(kind, &Parts { pick: 0, ..p.clone() })), Format::BUDGETS);
    }
    let mut uncounted =
        Decision { events: vec![event(25, &Parts { pick: 0, ..p.clone() })], marks: vec![], ..decision(&p) };
    uncounted.drop_costs();
    assert_eq!(uncounted.format(), Format::FIRST);
    let urgent = Parts { pick: 3, ..p.clone() };
    assert_eq!((of(event(15, &urgent)), of(event(24, &urgent))), (Format::JOBS, Format::JOBS));
}

#[test]
fn parts_of_tasks_need_their_format_and_can_be_left_whole() {
    let p = Parts::fixed();
    let of = |events: Vec<Event>| Decision { events, marks: vec![], ..decision(&p) };
    let job = || JobId::parse("hls-1").unwrap();
    let split = Event::JobChanged { job: job(), change: JobChange::Split(Split { chunks: 300, has_sound: true }) };
    let started =
        |task| Event::TaskStarted { job: job(), task, attempt: 1, worker: "w".to_owned(), reserved: Amounts::NONE };
    let asked = |kind| {
        let (kind, options) = (JobKind::parse(kind).unwrap(), JobOptions::default());
        Event::JobRequested { job: job(), kind, input: serde_json::Value::Null, playbook: None, options }
    };
    let put = |kind| {
        let (on, job) = (Pattern::parse("webhook.**").unwrap(), JobKind::parse(kind).unwrap());
        let rule = Playbook { on, job, input: serde_json::Value::Null };
        Event::PlaybookPut { playbook: PlaybookId::parse("p").unwrap(), rule }
    };
    let table = [
        (put("hls"), Format::WORK),
        (put("call"), Format::FIRST),
        (split.clone(), Format::WORK),
        (started(TaskKind::Encode.part(2)), Format::WORK),
        (started(TaskKind::Sound.whole()), Format::WORK),
        (asked("hls"), Format::WORK),
        (asked("clip"), Format::WORK),
        (started(TaskKind::Normalize.whole()), Format::FIRST),
        (asked("call"), Format::FIRST),
    ];
    for (event, format) in table {
        assert_eq!(of(vec![event.clone()]).format(), format, "{event:?}");
    }
    let mut whole = of(vec![event(22, &p), split.clone()]);
    whole.drop_splits();
    assert_eq!(whole, of(vec![event(22, &p)]));
    let stored = hex::encode(encode::event(&split).encode_to_vec());
    assert_eq!(stored, "ea010e0a05686c732d312a0508ac021001", "whatever is in a log stays readable");
}

#[test]
fn files_of_clients_need_their_format() {
    let p = Parts::fixed();
    let uploaded = Decision { events: vec![event(31, &p)], marks: vec![], ..decision(&p) };
    assert_eq!(uploaded.format(), Format::WORK);
}

#[test]
fn kept_requests_need_their_format_and_can_be_left_out() {
    let p = Parts::fixed();
    let kept = [KeptRequest::Nowhere, KeptRequest::Here(Bytes::from_static(b"sealed")), KeptRequest::At(3)];
    let of = |kept: &KeptRequest| {
        let Event::WebhookAccepted(webhook) = event(9, &p) else { unreachable!("it is kind 9") };
        let webhook = WebhookAccepted { kept: kept.clone(), ..webhook };
        Decision { events: vec![Event::WebhookAccepted(webhook)], marks: vec![], ..decision(&p) }
    };
    for (kept, format) in kept.iter().zip([Format::FIRST, Format::WEBHOOKS, Format::WEBHOOKS]) {
        let mut one = of(kept);
        assert_eq!(one.format(), format, "{kept:?}");
        assert_eq!(one.drop_requests(), format == Format::WEBHOOKS, "{kept:?}");
        assert_eq!(one, of(&KeptRequest::Nowhere));
    }
    for kind in [5, 6] {
        let refused = Decision { events: vec![], marks: vec![mark(kind, &p)], ..decision(&p) };
        assert_eq!(refused.format(), Format::WEBHOOKS);
    }
}

/// Every kind, by name, with its bytes.
fn stored() -> String {
    let fixed = Parts::fixed();
    let mut text = String::new();
    for kind in 1..=EVENT_KINDS {
        let bytes = encode::event(&event(kind, &fixed)).encode_to_vec();
        writeln!(text, "event {kind} {}", hex::encode(bytes)).unwrap();
    }
    for kind in 1..=MARK_KINDS {
        let bytes = encode::mark(&mark(kind, &fixed)).encode_to_vec();
        writeln!(text, "mark {kind} {}", hex::encode(bytes)).unwrap();
    }
    let Decision { events, marks, .. } = decision(&fixed);
    let small = Decision { events: events[..1].to_vec(), marks: marks[..1].to_vec(), ..decision(&fixed) };
    writeln!(text, "decision 1 {}", hex::encode(small.encode())).unwrap();
    writeln!(text, "check 1 {}", hex::encode(encode_check())).unwrap();
    writeln!(text, "barrier 2 {}", hex::encode(barrier(2).entry())).unwrap();
    writeln!(text, "acked 1 {}", hex::encode(acked(&fixed).encode())).unwrap();
    let mut runs = Runs::default();
    runs.add(&small);
    writeln!(text, "runs 1 {}", hex::encode(runs.take_row().unwrap())).unwrap();
    text
}

fn barrier(format: u16) -> Barrier {
    Barrier { format: Format(format), version: "0.1.0".to_owned() }
}

#[test]
fn a_barrier_is_the_same_in_its_row_and_none_is_too_high_to_be_told() {
    assert_eq!(Barrier::of_row(barrier(7).row().into()), Ok(barrier(7)));
    let beyond = wire::Barrier { format: u32::MAX, version: String::new() }.encode_to_vec();
    assert_eq!(Barrier::of_row(beyond.into()).unwrap().format, Format(u16::MAX));
}

#[test]
fn stored_bytes_never_change() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/records.txt");
    let golden = std::fs::read_to_string(path).unwrap();
    for (golden, now) in golden.lines().zip(stored().lines()) {
        assert_eq!(now, golden);
    }
    assert_eq!(golden.lines().count(), stored().lines().count(), "written now:\n{}", stored());
    for line in golden.lines() {
        let [what, kind, hex]: [&str; 3] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (kind, bytes) = (kind.parse().unwrap(), hex::decode(hex).unwrap());
        match what {
            "event" => {
                let decoded = decode::event(wire::Event::decode(&*bytes).unwrap()).unwrap();
                assert_eq!(decoded, event(kind, &Parts::fixed()));
            }
            "mark" => {
                let decoded = decode::mark(wire::Mark::decode(&*bytes).unwrap()).unwrap();
                assert_eq!(decoded, mark(kind, &Parts::fixed()));
            }
            "check" => assert!(decode_entry(Bytes::from(bytes)).unwrap().is_check),
            "barrier" => assert_eq!(decode_entry(Bytes::from(bytes)).unwrap().barrier, Some(barrier(2))),
            "acked" => assert_eq!(decode_entry(Bytes::from(bytes)).unwrap().acked, [acked(&Parts::fixed())]),
            "runs" => assert_eq!(Runs::decode(Bytes::from(bytes)).unwrap().len(), 1),
            _ => assert_eq!(decode_entry(Bytes::from(bytes)).unwrap().decisions.len(), 1),
        }
    }
}

/// Fails when a kind was added without a sample: then raise the number, add the sample and its golden line.
#[test]
fn every_kind_has_a_sample() {
    let unknown = |number: u32| {
        let mut bytes = vec![];
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
        bytes.push(0);
        bytes
    };
    let event = wire::Event::decode(&*unknown(EVENT_KINDS + 1)).unwrap();
    assert_eq!(decode::event(event), Err(DecodeError::UnknownKind));
    let mark = wire::Mark::decode(&*unknown(MARK_KINDS + 1)).unwrap();
    assert_eq!(decode::mark(mark), Err(DecodeError::UnknownKind));
}

#[test]
fn the_view_is_an_object_without_secrets() {
    let secret = b"top-secret".to_vec();
    let parts = Parts { bytes: secret.clone(), ..Parts::fixed() };
    for kind in (1..=EVENT_KINDS).filter(|kind| *kind != 9) {
        let shown = data_json(&event(kind, &parts));
        assert!(shown.is_object(), "{shown}");
        let text = shown.to_string();
        let hidden = [
            serde_json::to_string(&secret).unwrap(),
            hex::encode(&secret),
            "top-secret".to_owned(),
            serde_json::to_string(blake3::hash(&secret).as_bytes()).unwrap(),
        ];
        assert!(hidden.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    let Event::SourceCreated(mut created) = event(7, &parts) else { unreachable!("it is kind 7") };
    created.token = "source-token".to_owned();
    assert!(!data_json(&Event::SourceCreated(created)).to_string().contains("source-token"));
}
