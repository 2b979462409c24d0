//! Blobs that this node's replicas name and its folder lacks.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_actors::blob::{Backfill, BlobHash, BlobStore, Copies, CopyError, backfill};
use steward_actors::domain::account::{Command, Event, TaskRef};
use steward_actors::domain::ids::{AccountId, JobId};
use steward_actors::domain::job::{JobKind, JobOptions};
use steward_actors::domain::task::TaskKind;
use steward_actors::shard::{Observer as _, Shards};
use steward_actors::supervisor;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Setup, Started, asked, founded};

const BLOB: &[u8] = b"a recording";
/// Longer than the rest before a look.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Names of new blobs that are remembered one by one.
const NAMED_MAX: usize = 4096;

/// Another node: has the blob or not.
struct Other {
    folder: BlobStore,
    has_it: Mutex<bool>,
    asked_for: Mutex<Vec<BlobHash>>,
    /// How often it was asked.
    answers: watch::Sender<usize>,
}

impl Other {
    async fn give(&self, hash: &BlobHash) -> Result<(), CopyError> {
        self.asked_for.lock().push(hash.clone());
        if *hash != named() || !*self.has_it.lock() {
            return Err(CopyError::Absent(hash.as_str().to_owned()));
        }
        let mut incoming = self.folder.receive(hash).await?;
        incoming.write(BLOB).await?;
        Ok(incoming.finish().await?)
    }
}

impl Copies for Other {
    fn fetch<'a>(&'a self, _account: &'a AccountId, hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>> {
        let told = |outcome| {
            self.answers.send_modify(|answers| *answers += 1);
            outcome
        };
        self.give(hash).map(told).boxed()
    }

    fn spread<'a>(&'a self, _account: &'a AccountId, _hash: &'a BlobHash) -> BoxFuture<'a, Result<(), CopyError>> {
        unreachable!("nothing is made here")
    }
}

struct World {
    shards: Started,
    missing: Arc<Backfill>,
    blobs: BlobStore,
    other: Arc<Other>,
    job: JobId,
    account: AccountId,
    folder: TempDir,
    _bringing: AbortOnDropHandle<()>,
}

fn named() -> BlobHash {
    BlobHash::parse(blake3::hash(BLOB).to_hex().as_str()).unwrap()
}

/// A job of the account whose result names the blob.
async fn made(shards: &Shards, account: &AccountId) -> JobId {
    let kind = JobKind::parse("embed").unwrap();
    let created = shards
        .execute(
            account,
            asked(Command::CreateJob { kind, input: json!({"input": "t"}), options: JobOptions::default() }),
        )
        .await;
    let job = JobId::parse(&created.unwrap().id).unwrap();
    let start = Command::StartTask { job: job.clone(), task: TaskKind::Embed.whole(), worker: "node-2/b".to_owned() };
    shards.execute(account, asked(start)).await.unwrap();
    let task = TaskRef { job: job.clone(), task: TaskKind::Embed.whole(), attempt: 1 };
    let result = json!({"blob": named().as_str()});
    shards.execute(account, asked(Command::ReportSuccess { task, result })).await.unwrap();
    job
}

impl World {
    /// A node whose state names the blob, and the other has it.
    async fn start() -> (Self, watch::Receiver<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let missing = Arc::new(Backfill::new());
        let shards = Setup::default().start(&folder.path().join("data")).await;
        let account = founded(&shards, "acme").await;
        let job = made(&shards, &account).await;
        let own = BlobStore::open(folder.path().join("blobs")).unwrap();
        let (has_it, asked_for, answers) = (Mutex::new(true), Mutex::default(), watch::Sender::new(0));
        let other = Arc::new(Other { folder: own.clone(), has_it, asked_for, answers });
        let blobs = own.with_copies(other.clone());
        let here: &Shards = &shards;
        let answers = other.answers.subscribe();
        let bring = backfill(missing.clone(), here.clone(), blobs.clone());
        let _bringing = AbortOnDropHandle::new(supervisor::spawn("backfill", bring));
        (Self { shards, missing, blobs, other, job, account, folder, _bringing }, answers)
    }

    /// Waits until the other node was asked once more.
    async fn is_asked(&self, answers: &mut watch::Receiver<usize>) {
        timeout(LOOK_MAX, answers.changed()).await.expect("the other node is asked").unwrap();
    }

    async fn is_brought(&self, answers: &mut watch::Receiver<usize>) {
        self.is_asked(answers).await;
        assert_eq!(fs::read(self.blobs.path(&named())).unwrap(), BLOB);
    }

    fn lose(&self) {
        fs::remove_file(self.blobs.path(&named())).unwrap();
        self.other.asked_for.lock().clear();
    }

    /// As the applier tells it of a shard that another node leads.
    fn hear_of(&self, blobs: Vec<String>) {
        let event = Event::TaskSucceeded {
            job: self.job.clone(),
            task: TaskKind::Embed.whole(),
            attempt: 1,
            result: Value::Null,
            blobs,
        };
        self.missing.followed(&self.account, &event);
    }

    async fn stop(self) {
        self.shards.stop().await;
        drop(self.folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_brought_after_a_start_a_new_event_and_a_snapshot() {
    let (world, mut answers) = World::start().await;
    world.is_brought(&mut answers).await;
    world.lose();
    world.hear_of(vec![named().as_str().to_owned()]);
    world.is_brought(&mut answers).await;
    world.lose();
    world.missing.yielded(&|_| true);
    world.is_brought(&mut answers).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_gave_is_asked_for_again_at_the_next_look_at_everything() {
    let (world, mut answers) = World::start().await;
    *world.other.has_it.lock() = false;
    world.is_asked(&mut answers).await;
    assert!(!world.blobs.has(&named()));
    *world.other.has_it.lock() = true;
    world.missing.yielded(&|_| true);
    world.is_brought(&mut answers).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_names_than_are_remembered_are_a_look_at_everything() {
    let (world, mut answers) = World::start().await;
    world.is_brought(&mut answers).await;
    world.lose();
    let foreign = |n: usize| blake3::hash(n.to_string().as_bytes()).to_hex().to_string();
    world.hear_of((0..=NAMED_MAX).map(foreign).collect());
    world.is_brought(&mut answers).await;
    assert_eq!(*world.other.asked_for.lock(), [named()], "the names themselves are dropped");
    world.stop().await;
}
