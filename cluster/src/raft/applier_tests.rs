//! The applier among snapshots that take their time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::clock::SystemClock;
use crate::ids::{LogIndex, ShardId, Term};
use crate::progress::Progress;
use crate::raft::applier::Applier;
use crate::raft::installs::{HELD_BYTES_MAX, Installs};
use crate::raft::status::StatusBoard;
use crate::raft::work::Work;
use crate::raft::{ApplyError, Committed, CommittedEntry, Done, Installation, ProposeError, Role, StateMachine};

const PATIENCE: Duration = Duration::from_secs(20);
const SHARDS: u16 = 3;
const LARGE: ShardId = ShardId(0);
const OTHER: ShardId = ShardId(1);

/// What the machine was called for, in order.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Applied(ShardId, u64),
    Begun(ShardId, u64),
    Loaded(ShardId, u64),
    Installed(ShardId, u64),
    Left(ShardId),
    Leads(ShardId),
}

/// Says what it is called for; a snapshot is loaded when the test says so.
struct Telling {
    calls: Sender<Call>,
    go: Receiver<Result<(), ApplyError>>,
}

impl StateMachine for Telling {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Result<(), ApplyError> {
        for entry in entries {
            self.calls.send(Call::Applied(entry.shard, entry.index.0)).unwrap();
        }
        Ok(())
    }

    fn install(&mut self, shard: ShardId, index: LogIndex) -> Result<Installation, ApplyError> {
        self.calls.send(Call::Begun(shard, index.0)).unwrap();
        let (calls, go) = (self.calls.clone(), self.go.clone());
        Ok(Box::new(move || {
            go.recv_timeout(PATIENCE).expect("the test lets it go")?;
            calls.send(Call::Loaded(shard, index.0)).unwrap();
            Ok(())
        }))
    }

    fn installed(&mut self, shard: ShardId, index: LogIndex) -> Result<(), ApplyError> {
        self.calls.send(Call::Installed(shard, index.0)).unwrap();
        Ok(())
    }

    fn leave(&mut self, shard: ShardId) -> Result<(), ApplyError> {
        self.calls.send(Call::Left(shard)).unwrap();
        Ok(())
    }

    fn snapshot_wanted(&mut self, _: ShardId) {}

    fn role_changed(&mut self, shard: ShardId, _: Role) {
        self.calls.send(Call::Leads(shard)).unwrap();
    }
}

/// A running applier, the driver's end of it, and what it calls.
struct Running {
    rounds: Option<Sender<Work>>,
    go: Sender<Result<(), ApplyError>>,
    calls: Receiver<Call>,
    applier: std::thread::JoinHandle<Result<(), ApplyError>>,
    installer: std::thread::JoinHandle<Result<(), ApplyError>>,
}

fn run() -> Running {
    let ((rounds, receiver), (go, let_go), (told, calls)) = (bounded(64), unbounded(), unbounded());
    let (installs, installer) = Installs::new(SHARDS);
    let machine = Telling { calls: told, go: let_go };
    let (board, clock) = (Arc::new(StatusBoard::new(SHARDS)), Arc::new(SystemClock::new()));
    let at_work = Progress::default().part("applier");
    let applier = Applier { machine, rounds: receiver, installs, board, clock, at_work };
    let (applier, installer) = (std::thread::spawn(|| applier.run()), std::thread::spawn(|| installer.run()));
    Running { rounds: Some(rounds), go, calls, applier, installer }
}

impl Running {
    fn hand_over(&self, work: Work) {
        self.rounds.as_ref().unwrap().send_timeout(work, PATIENCE).unwrap();
    }

    fn let_go(&self) {
        self.go.send(Ok(())).unwrap();
    }

    fn calls(&self, expected: &[Call]) {
        for call in expected {
            assert_eq!(&self.calls.recv_timeout(PATIENCE).expect("it is called"), call);
        }
    }

    fn end(mut self) -> (Result<(), ApplyError>, Result<(), ApplyError>, Vec<Call>) {
        self.rounds = None;
        let (applied, installed) = (self.applier.join().unwrap(), self.installer.join().unwrap());
        (applied, installed, self.calls.iter().collect())
    }
}

fn install(shard: ShardId, index: u64) -> Work {
    Work { installs: vec![(shard, LogIndex(index))], ..Work::default() }
}

fn entry(shard: ShardId, index: u64, bytes: usize) -> Work {
    let data = Bytes::from(vec![7; bytes]);
    let entry = CommittedEntry { shard, index: LogIndex(index), term: Term(1), data, token: None };
    Work { committed: vec![entry], ..Work::default() }
}

fn leads(shard: ShardId) -> Work {
    Work { roles: vec![(shard, Role::Leader { term: Term(2), ready: true })], ..Work::default() }
}

#[test]
fn other_shards_go_on_while_one_is_loaded() {
    let running = run();
    running.hand_over(install(LARGE, 10));
    running.calls(&[Call::Begun(LARGE, 10)]);
    for index in 1..=100 {
        running.hand_over(entry(OTHER, index, 1));
        running.calls(&[Call::Applied(OTHER, index)]);
    }
    running.let_go();
    running.calls(&[Call::Loaded(LARGE, 10), Call::Installed(LARGE, 10)]);
}

#[test]
fn what_comes_for_a_shard_that_is_loaded_waits_in_order() {
    let running = run();
    running.hand_over(Work { committed: entry(LARGE, 11, 1).committed, ..install(LARGE, 10) });
    running.calls(&[Call::Begun(LARGE, 10)]);
    running.hand_over(entry(LARGE, 12, 1));
    running.hand_over(install(LARGE, 20));
    running.hand_over(entry(LARGE, 21, 1));
    running.hand_over(Work { left: vec![LARGE], ..Work::default() });
    running.hand_over(install(LARGE, 30));
    running.hand_over(leads(LARGE));
    running.hand_over(entry(OTHER, 1, 1));
    running.calls(&[Call::Applied(OTHER, 1)]);
    running.let_go();
    running.calls(&[Call::Loaded(LARGE, 10), Call::Installed(LARGE, 10)]);
    running.calls(&[Call::Applied(LARGE, 11), Call::Applied(LARGE, 12), Call::Begun(LARGE, 20)]);
    running.let_go();
    running.calls(&[Call::Loaded(LARGE, 20), Call::Installed(LARGE, 20), Call::Applied(LARGE, 21)]);
    running.calls(&[Call::Left(LARGE), Call::Begun(LARGE, 30)]);
    running.let_go();
    running.calls(&[Call::Loaded(LARGE, 30), Call::Installed(LARGE, 30), Call::Leads(LARGE)]);
}

#[test]
fn reads_of_a_shard_that_is_loaded_are_answered_after() {
    let running = run();
    running.hand_over(install(LARGE, 10));
    let (answer, answered) = bounded(1);
    let done = Box::new(move |outcome| answer.send(outcome).unwrap());
    running.hand_over(Work { reads: vec![(LARGE, LogIndex(10), done)], ..Work::default() });
    running.hand_over(entry(OTHER, 1, 1));
    running.calls(&[Call::Begun(LARGE, 10), Call::Applied(OTHER, 1)]);
    assert!(answered.is_empty(), "it was answered from what is being replaced");
    running.let_go();
    assert_eq!(answered.recv_timeout(PATIENCE).unwrap().unwrap(), LogIndex(10));
}

#[test]
fn with_too_much_held_back_everything_waits() {
    let running = run();
    running.hand_over(install(LARGE, 10));
    let (answer, answered) = bounded(1);
    let done = Box::new(move |outcome: Result<_, _>| answer.send(outcome).unwrap());
    let rejected: Vec<(Done, _)> = vec![(done, ProposeError::Stopped)];
    running.hand_over(Work { rejected, ..entry(LARGE, 11, HELD_BYTES_MAX) });
    answered.recv_timeout(PATIENCE).unwrap().unwrap_err();
    (1..=60).for_each(|index| running.hand_over(entry(OTHER, index, 1)));
    running.let_go();
    running.calls(&[Call::Begun(LARGE, 10), Call::Loaded(LARGE, 10), Call::Installed(LARGE, 10)]);
    running.calls(&[Call::Applied(LARGE, 11), Call::Applied(OTHER, 1)]);
}

#[test]
fn everything_handed_over_is_done_at_the_end() {
    let running = run();
    running.hand_over(install(LARGE, 10));
    running.hand_over(entry(LARGE, 11, 1));
    running.let_go();
    let (applied, installed, calls) = running.end();
    assert!(applied.is_ok() && installed.is_ok());
    assert_eq!(calls.last(), Some(&Call::Applied(LARGE, 11)));
}

#[test]
fn a_snapshot_that_cannot_be_loaded_ends_both_threads() {
    let running = run();
    running.hand_over(install(LARGE, 10));
    running.hand_over(entry(LARGE, 11, 1));
    running.go.send(Err(ApplyError { source: "torn".into() })).unwrap();
    let (applied, installed, calls) = running.end();
    assert!(installed.is_err_and(|error| error.source.to_string() == "torn"));
    assert!(applied.is_ok());
    assert_eq!(calls, vec![Call::Begun(LARGE, 10)]);
}
