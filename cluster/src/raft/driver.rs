//! Starts and stops the threads of consensus: driver, log and applier. `node/` does that, once.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::bounded;

use crate::causes::causes;
use crate::clock::Clock;
use crate::divergence::Checks;
use crate::ids::{LogIndex, NodeId, ShardId};
use crate::log::{Log, LogThread, RecoveredShard};
use crate::priority;
use crate::progress::Progress;
use crate::raft::applier::{Applier, ROUNDS_WAITING_MAX};
use crate::raft::handle::{Inbox, Input};
use crate::raft::installs::Installs;
use crate::raft::pump::{BATCHES_IN_FLIGHT_MAX, Pump};
use crate::raft::status::StatusBoard;
use crate::raft::ticks::Ticks;
use crate::raft::{
    ApplyError, Committed, Core, CoreConfig, DriverFailure, DriverHandle, ElectionTicks, PeerMessage, Role,
    ShardStatus, StartError,
};

/// Payload bytes each shard keeps in memory: enough for what is on its way to the applier on a busy node.
const CACHED_BYTES_MAX: usize = 128 << 10;

/// Called once when the driver can not go on; in production [`abort_process`].
pub type OnFailure = Arc<dyn Fn(DriverFailure) + Send + Sync>;

/// What a driver is started with.
pub struct DriverConfig {
    /// This node.
    pub node: NodeId,
    /// How many shards there are.
    pub shards: u16,
    /// Who holds every shard of a cluster that begins now, as [`CoreConfig`] says.
    pub founders: Vec<NodeId>,
    /// The way to other nodes; none on a node that is alone and stays so.
    pub transport: Option<Box<dyn Transport>>,
    /// When its groups look for another leader.
    pub elections: ElectionTicks,
    /// Where durations come from.
    pub clock: Arc<dyn Clock>,
    /// What happens when it can not go on.
    pub on_failure: OnFailure,
}

/// The way to other nodes.
pub trait Transport: Send + 'static {
    /// Sends messages to a node, in this order. Never blocks; what cannot be sent is lost, which consensus survives.
    fn send(&mut self, to: NodeId, messages: Vec<PeerMessage>);

    /// Tells every other node that this one is alive. Called all the time at even steps, whatever else is sent; never blocks.
    fn alive(&mut self);

    /// Brings the snapshot that a message names to this node's disk, then hands the message in again with
    /// [`DriverHandle::fetched`], or sends [`PeerMessage::snapshot_failed`] back. Never blocks. The same message may come
    /// again meanwhile.
    fn fetch(&mut self, message: PeerMessage);
}

/// Puts a snapshot in place. Takes as long as the shard is large.
pub type Installation = Box<dyn FnOnce() -> Result<(), ApplyError> + Send>;

/// What committed entries are applied to.
pub trait StateMachine: Send + 'static {
    /// Applies entries of many shards, in order per shard, each directly behind the one applied before. An entry with
    /// empty data changes nothing but the applied index.
    ///
    /// # Errors
    /// Whatever keeps the entries from being applied; the driver gives up then.
    fn apply(&mut self, entries: &[Committed<'_>]) -> Result<(), ApplyError>;

    /// Begins to put the snapshot of a shard that lies on this node's disk in place of what there is. What is answered
    /// does it, on another thread; until [`StateMachine::installed`] no call is about this shard.
    ///
    /// # Errors
    /// Whatever keeps it from being loaded, now or in what is answered; the driver gives up then.
    fn install(&mut self, shard: ShardId, index: LogIndex) -> Result<Installation, ApplyError>;

    /// The snapshot is in place.
    ///
    /// # Errors
    /// Whatever keeps it from being read; the driver gives up then.
    fn installed(&mut self, _shard: ShardId, _index: LogIndex) -> Result<(), ApplyError> {
        Ok(())
    }

    /// A shard has left this node: forgets everything about it.
    ///
    /// # Errors
    /// Whatever keeps it from being forgotten; the driver gives up then.
    fn leave(&mut self, shard: ShardId) -> Result<(), ApplyError>;

    /// The state of a shard turned out to be wrong and waits to be replaced: whoever reads it had better read elsewhere.
    fn parked(&mut self, _shard: ShardId) {}

    /// A peer needs a snapshot of the shard. Takes one, elsewhere, and tells [`DriverHandle::offer_snapshot`].
    fn snapshot_wanted(&mut self, shard: ShardId);

    /// The outcomes of a round have been told to whoever proposed; more may be told before the next call.
    fn outcomes_told(&mut self) {}

    /// This node's role in a shard changed; every entry handed over before is applied.
    fn role_changed(&mut self, shard: ShardId, role: Role);
}

/// A running driver. Dropping it is like pulling the plug: what was not durable yet is answered as unknown.
pub struct Driver {
    handle: DriverHandle,
    unplugged: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Driver {
    /// The callers' end.
    #[must_use]
    pub fn handle(&self) -> DriverHandle {
        self.handle.clone()
    }

    /// Finishes everything taken in so far, then ends the threads.
    pub fn stop(mut self) {
        self.handle.inbox.stop();
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic was reported through the failure hook.
            thread.join().ok();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.unplugged.store(true, Ordering::Release);
        // With a full inbox the driver is awake and looks at the flag anyway.
        self.handle.inbox.offer(Input::Stop).ok();
        self.join();
    }
}

/// Starts consensus over an opened log. `applied` says how far the store is; entries after that are applied again.
///
/// # Errors
/// [`StartError::StoreBehindLog`] names a shard whose store must be rebuilt from a snapshot first. The other errors say
/// what is wrong with the log or the system.
pub fn start<M: StateMachine>(
    config: DriverConfig,
    (log, recovered): (Log, Vec<RecoveredShard>),
    applied: &[(ShardId, LogIndex)],
    machine: M,
) -> Result<Driver, StartError> {
    let core_config = CoreConfig {
        node: config.node,
        shards: config.shards,
        founders: config.founders,
        elections: config.elections,
        seed: config.node.0,
        cached_bytes_max: CACHED_BYTES_MAX,
    };
    let core = Core::open(&core_config, recovered, applied, &log.reader())?;
    let board = Arc::new(StatusBoard::new(config.shards));
    let checks = Arc::new(Checks::new(config.node, config.shards));
    for (shard, status) in statuses(&core, config.shards, applied) {
        board.note(shard, status);
    }

    let inbox = Arc::new(Inbox::new(Arc::clone(&config.clock)));
    // As large as what can be in flight, so that the log's thread never waits for the driver.
    let (durable_sender, durable) = bounded(BATCHES_IN_FLIGHT_MAX);
    let (rounds, rounds_receiver) = bounded(ROUNDS_WAITING_MAX);
    let on_log_failure = Arc::clone(&config.on_failure);
    let progress = Progress::default();
    let log = LogThread::start(
        log,
        Arc::clone(&config.clock),
        progress.part("log"),
        // The driver may be gone when the last batches become durable.
        move |batch| {
            durable_sender.send(batch).ok();
        },
        move |failure| on_log_failure(DriverFailure::Log(failure)),
    )
    .map_err(|source| StartError::Thread { name: "steward-log", source })?;

    let space = log.space_watch();
    let clock = Arc::clone(&config.clock);
    let (installs, installer) = Installs::new(config.shards);
    let installer = spawn("steward-install", Arc::clone(&config.on_failure), move || {
        priority::in_turn();
        Ok(installer.run()?)
    })?;
    let at_work = progress.part("applier");
    let fed = Arc::clone(&at_work);
    let applier = Applier { machine, rounds: rounds_receiver, installs, board: Arc::clone(&board), clock, at_work };
    let applier = spawn("steward-applier", Arc::clone(&config.on_failure), move || {
        priority::in_turn();
        Ok(applier.run()?)
    })?;
    let unplugged = Arc::new(AtomicBool::new(false));
    let pump = Pump {
        core,
        inbox: Arc::clone(&inbox),
        durable,
        log,
        rounds,
        backlog: VecDeque::new(),
        ticks: config.transport.is_some().then(|| Ticks::new(Arc::clone(&config.clock))),
        transport: config.transport,
        board: Arc::clone(&board),
        unplugged: Arc::clone(&unplugged),
        inspected: None,
        is_stopping: false,
        at_work: progress.part("driver"),
        applier: fed,
    };
    let driver = spawn("steward-driver", config.on_failure, move || {
        priority::ahead();
        pump.run();
        Ok(())
    })?;
    Ok(Driver {
        handle: DriverHandle { inbox, board, checks, space, progress },
        unplugged,
        threads: vec![driver, applier, installer],
    })
}

/// Ends the process with the reason: after a restart the log says what really happened.
pub fn abort_process(failure: DriverFailure) {
    tracing::error!(error = causes(&failure), "consensus failed, the process ends");
    std::process::abort();
}

fn statuses<T>(
    core: &Core<T>,
    shards: u16,
    applied: &[(ShardId, LogIndex)],
) -> impl Iterator<Item = (ShardId, ShardStatus)> {
    (0..shards).map(ShardId).filter_map(move |shard| {
        let applied = applied.iter().find(|(of, _)| *of == shard).map_or(LogIndex(0), |(_, index)| *index);
        core.status(shard).map(|status| (shard, ShardStatus { applied, ..status }))
    })
}

fn spawn(
    name: &'static str,
    on_failure: OnFailure,
    body: impl FnOnce() -> Result<(), DriverFailure> + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let guarded = move || {
        let outcome = catch_unwind(AssertUnwindSafe(body))
            .unwrap_or_else(|panic| Err(DriverFailure::Panic { thread: name, reason: text_of(panic.as_ref()) }));
        if let Err(failure) = outcome {
            on_failure(failure);
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(guarded);
    thread.map_err(|source| StartError::Thread { name, source })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given").to_owned()
}
