//! Commands, their outcomes and leased work as nodes send them to each other: JSON of the domain's own types.
//!
//! # Decisions
//! - JSON rather than a contract field by field: both ends are this program, the messages are few and small, and a
//!   variant that is not meant for other nodes is left out by one attribute.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use steward_cluster::ids::ShardId;

use crate::domain::account::{Answer, Asked, Rejection};
use crate::domain::budget::Short;
use crate::domain::ids::AccountId;
use crate::shard::ExecuteError;
use crate::task::Work;

/// The fixed words that outcomes carry. One of another version becomes [`UNKNOWN_WORD`].
const WORDS: [&str; 12] = [
    "account",
    "open job",
    "task",
    "endpoint",
    "checkpoint",
    "result",
    "ready",
    "resumed",
    "running tasks",
    "running tasks of this kind",
    "shard",
    "node",
];
const UNKNOWN_WORD: &str = "thing";

/// Why bytes are no message between nodes, or a command may not become one.
#[derive(Debug, thiserror::Error)]
#[error("could not turn a {what} into the form nodes use, or back")]
pub struct FormError {
    what: &'static str,
    source: serde_json::Error,
}

/// A command as it is sent; what only clients ask is refused by name.
pub fn encode_asked(asked: &Asked) -> Result<Vec<u8>, FormError> {
    serde_json::to_vec(asked).map_err(of("command"))
}

/// A command as it was sent.
pub fn decode_asked(bytes: &[u8]) -> Result<Asked, FormError> {
    serde_json::from_slice(bytes).map_err(of("command"))
}

/// What became of a command, as it is sent.
#[must_use]
pub fn encode_outcome(outcome: Result<Answer, ExecuteError>) -> Vec<u8> {
    let outcome = match outcome {
        Ok(answer) => Outcome::Done(answer),
        Err(error) => Outcome::Refused(error),
    };
    serde_json::to_vec(&outcome).expect("outcomes are plain data")
}

/// What became of a command, as it was sent.
pub fn decode_outcome(bytes: &[u8]) -> Result<Result<Answer, ExecuteError>, FormError> {
    Ok(match serde_json::from_slice(bytes).map_err(of("outcome"))? {
        Outcome::Done(answer) => Ok(answer),
        Outcome::Refused(error) => Err(error),
    })
}

/// What a lease comes with, as it is sent.
#[must_use]
pub fn encode_work(work: &Work) -> Vec<u8> {
    serde_json::to_vec(work).expect("work is plain data")
}

/// What a lease comes with, as it was sent.
pub fn decode_work(bytes: &[u8]) -> Result<Work, FormError> {
    serde_json::from_slice(bytes).map_err(of("piece of work"))
}

fn of(what: &'static str) -> impl FnOnce(serde_json::Error) -> FormError {
    move |source| FormError { what, source }
}

/// Named, so that the derived code does not want to borrow it from the bytes.
type Word = &'static str;

#[derive(Serialize, Deserialize)]
enum Outcome {
    Done(Answer),
    Refused(#[serde(with = "ExecuteErrorForm")] ExecuteError),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ExecuteError")]
enum ExecuteErrorForm {
    Rejected(#[serde(with = "RejectionForm")] Rejection),
    Overloaded {
        #[serde(deserialize_with = "word")]
        what: Word,
        retry_after: Duration,
    },
    NotLed {
        shard: ShardId,
    },
    Quarantined {
        account: AccountId,
        reason: String,
    },
    DiskFull,
    OutcomeUnknown {
        shard: ShardId,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Rejection")]
enum RejectionForm {
    NotFound {
        #[serde(deserialize_with = "word")]
        what: Word,
        id: String,
    },
    AlreadyExists {
        #[serde(deserialize_with = "word")]
        what: Word,
        id: String,
    },
    Invalid {
        #[serde(deserialize_with = "word")]
        field: Word,
        rule: String,
    },
    Limit {
        #[serde(deserialize_with = "word")]
        what: Word,
        max: usize,
    },
    Budget(Short),
    KeyReused,
    NotYet {
        format: u16,
    },
    StaleAttempt {
        job: String,
        task: String,
        attempt: u32,
    },
    JobState {
        job: String,
        #[serde(deserialize_with = "word")]
        wanted: Word,
    },
    TaskState {
        job: String,
        task: String,
        #[serde(deserialize_with = "word")]
        wanted: Word,
    },
}

fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(WORDS.into_iter().find(|word| *word == text).unwrap_or(UNKNOWN_WORD))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::domain::account::{
        Account, AiCalled, Command, DeliveryOutcome, Event, Facts, Idempotency, Moved, ReleaseReason, Reported,
        RetryAsked, TaskRef, decide,
    };
    use crate::domain::budget::Unit;
    use crate::domain::ids::{EndpointId, JobId};
    use crate::domain::job::Failure;
    use crate::domain::task::TaskKind;

    fn asked(command: Command) -> Asked {
        let idempotency = Some(Idempotency { key: "k".to_owned(), fingerprint: u64::MAX });
        let (actor, correlation_id) = ("worker:node-1/b".to_owned(), "job:j".to_owned());
        Asked { command, actor, correlation_id, causation_seq: 7, idempotency }
    }

    fn commands() -> Vec<Command> {
        let job = JobId::parse("call-1").unwrap();
        let task = TaskRef { job: job.clone(), task: TaskKind::Fetch.whole(), attempt: 3 };
        let endpoint = EndpointId::parse("crm").unwrap();
        let call = AiCalled {
            operation: "chat".to_owned(),
            provider: "local".to_owned(),
            model: "m".to_owned(),
            input_tokens: 1,
            output_tokens: u64::MAX,
            latency_ms: 3,
            cost_micros: 0,
            number: 1,
        };
        let failure = Failure { code: "c".to_owned(), message: "m".to_owned() };
        let failed = DeliveryOutcome::Failed {
            status: None,
            error: "e".to_owned(),
            retry_after_ms: Some(1),
            latency_ms: 2,
            response: "r".to_owned(),
        };
        let reported = Reported { event_seq: 4, outcome: failed };
        let moved = Moved { is_recovery: false, through_seq: 9, pending: vec![5] };
        let result = json!({"blob": "ab", "n": 1.5, "list": [null, true]});
        vec![
            Command::StartTask { job, task: TaskKind::Fetch.whole(), worker: "node-1/b".to_owned() },
            Command::ReportProgress { task: task.clone(), permille: 500, note: "half".to_owned() },
            Command::ReportCheckpoint { task: task.clone(), state: json!({"chunk": 3}) },
            Command::ReportAiCall { task: task.clone(), call },
            Command::ReportSuccess { task: task.clone(), result },
            Command::ReportFailure { task: task.clone(), failure, retry: RetryAsked::AfterMs(5) },
            Command::ReleaseTask { task, reason: ReleaseReason::Drained },
            Command::SkipDeliveries { endpoint: endpoint.clone(), through_seq: 9 },
            Command::ReportDelivery { endpoint: endpoint.clone(), reported: reported.clone() },
            Command::ReportDeliveries { endpoint, moved: vec![moved], outcomes: vec![reported] },
        ]
    }

    #[test]
    fn what_workers_and_deliveries_ask_comes_through_unchanged() {
        for command in commands() {
            let asked = asked(command);
            assert_eq!(decode_asked(&encode_asked(&asked).unwrap()).unwrap(), asked);
        }
    }

    #[test]
    fn what_only_clients_ask_is_refused_by_name() {
        let cancel = asked(Command::CancelJob { job: JobId::parse("call-1").unwrap() });
        let refused = encode_asked(&cancel).unwrap_err();
        assert!(refused.source.to_string().contains("CancelJob"), "{}", refused.source);
        let sent = br#"{"command":{"CancelJob":{"job":"call-1"}},"actor":"a","correlation_id":"c","causation_seq":0,
            "idempotency":null}"#;
        let refused = decode_asked(sent).unwrap_err();
        assert!(refused.source.to_string().contains("CancelJob"), "{}", refused.source);
    }

    #[test]
    fn leased_work_comes_through_unchanged() {
        let sent = br#"{"input":{"url":"u"},"results":{"fetch":{"blob":"ab"}},"checkpoint":[1.5]}"#;
        assert_eq!(encode_work(&decode_work(sent).unwrap()), sent);
    }

    #[test]
    fn outcomes_come_through_unchanged() {
        let account = AccountId::parse("acme").unwrap();
        let answer = Answer { id: "call-1".to_owned(), seq: 9, repeated: true };
        let mut outcomes = vec![
            Ok(answer),
            Err(ExecuteError::Overloaded { what: "shard", retry_after: Duration::from_millis(20) }),
            Err(ExecuteError::NotLed { shard: ShardId(3) }),
            Err(ExecuteError::Quarantined { account: account.clone(), reason: "panicked".to_owned() }),
            Err(ExecuteError::DiskFull),
            Err(ExecuteError::OutcomeUnknown { shard: ShardId(3) }),
        ];
        // Whatever an account without jobs says to a worker or a sender.
        let mut founded = Account::absent(account);
        let mut rejections = vec![];
        for is_founded in [false, true] {
            if is_founded {
                let created = Event::AccountCreated { display_name: "A".to_owned(), wrapped_key: vec![] };
                founded.evolve(1, Timestamp(1), 0, &created);
            }
            for command in commands() {
                let plain = Asked { idempotency: None, ..asked(command) };
                rejections.extend(decide(&founded, &Facts::default(), &plain, Timestamp(2)).err());
            }
        }
        let of_task = |wanted| Rejection::TaskState { job: "call-1".to_owned(), task: "summarize".to_owned(), wanted };
        let of_job = |wanted| Rejection::JobState { job: "call-1".to_owned(), wanted };
        rejections.extend([
            of_task("ready"),
            of_job("resumed"),
            Rejection::Limit { what: "running tasks", max: 3 },
            Rejection::Budget(Short {
                unit: Unit::Money,
                max: 1,
                spent: 2,
                reserved: 3,
                needs: 4,
                opens_at: Some(Timestamp(5)),
            }),
            Rejection::Invalid { field: "result", rule: "must be small".to_owned() },
        ]);
        assert!(rejections.iter().any(|rejection| matches!(rejection, Rejection::StaleAttempt { .. })));
        outcomes.extend(rejections.into_iter().map(|rejection| Err(ExecuteError::Rejected(rejection))));
        for outcome in outcomes {
            assert_eq!(decode_outcome(&encode_outcome(outcome.clone())).unwrap(), outcome);
        }
    }
}
