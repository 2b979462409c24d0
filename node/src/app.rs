//! The composition root: all wiring of a node, top to bottom, and the order in which it stops.
//!
//! # Decisions
//! - Addresses are bound before the shards start, so that a port in use is told at once; connections are accepted after.
//! - A node stops from the outside in: no more traffic, requests in hand, workers, deliveries, shards. Whatever a step
//!   leaves behind is in the log, so each has a limit and the next one goes on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use rand::Rng as _;
use serde_json::json;
use steward_actors::blob::{Backfill, BlobStore, Bucket, Uploads, sweep_uploads};
use steward_actors::delivery::{DeliveryBoard, Sender, SenderConfig};
use steward_actors::egress::Egress;
use steward_actors::elsewhere::Commands;
use steward_actors::seal::Sealer;
use steward_actors::shard::{self, Observer, Retention, Seat, Shards, ShardsConfig};
use steward_actors::supervisor;
use steward_actors::task::{TaskBoard, Workers};
use steward_cluster::clock::{Clock, SystemClock};
use steward_cluster::ids::NodeId;
use steward_cluster::log::LogConfig;
use steward_cluster::peers::{PeerTransport, Peers, PeersConfig, Security, TlsFiles};
use steward_cluster::raft;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::blobs;
use crate::cluster::{self, Around, Company, Internal, Place};
use crate::config::Config;
use crate::data_dir::{DataDir, SHARDS_FOLDER};
use crate::declared;
use crate::everything::{ClusterMark, Everything, FeedServer};
use crate::gateway::auth::{Authenticator, KnownKeys, open_operator_key};
use crate::gateway::forward;
use crate::gateway::grpc::{self, Operations};
use crate::gateway::http::{HookMetrics, HttpState, KnownSources};
use crate::gateway::{Gateway, Readiness, Serving};
use crate::open_files;
use crate::raising;
use crate::router::Router;
use crate::runners::{egress_policy, runners, slots, tariff, workers_config};
use crate::shutdown::StopSignals;
use crate::telemetry;
use crate::watch::Watcher;

/// Connections that may wait to be accepted; the kernel resets some of those beyond.
const BACKLOG: u32 = 4_096;
const MIB: u64 = 1 << 20;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// What is told once the node takes traffic.
pub(crate) struct Ready {
    pub(crate) node: NodeId,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// Where other nodes reach it; none when it is alone.
    pub(crate) internal: Option<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    /// None: authentication is off.
    pub(crate) operator_key_file: Option<PathBuf>,
}

impl Ready {
    /// For programs that start a node and want to know where it is.
    pub(crate) fn json(&self) -> String {
        json!({
            "node": self.node.0,
            "internal": self.internal.map(|address| address.to_string()),
            "http": self.http.to_string(),
            "grpc": self.grpc.to_string(),
            "data_dir": self.data_dir,
            "operator_key_file": self.operator_key_file,
        })
        .to_string()
    }
}

/// What a node stands on: its folder and keys, its ports, and its place among others.
struct Ground {
    data_dir: Arc<DataDir>,
    sealer: Arc<Sealer>,
    /// Tells this cluster's cursors from those of others.
    mark: ClusterMark,
    operator: Option<blake3::Hash>,
    blobs: (BlobStore, Option<Bucket>),
    listeners: (TcpListener, TcpListener),
    internal: Option<Internal>,
    place: Place,
    ready: Ready,
}

impl Ground {
    async fn open(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        open_files::raise(config);
        let data_dir = Arc::new(DataDir::open(&config.node.data_dir)?);
        let node_key = data_dir.node_key(config.node_key_file())?;
        let key_file = config.auth.enabled.then(|| config.operator_key_file());
        let operator = key_file.as_deref().map(open_operator_key).transpose()?;
        let (http_listener, http) = bind("http.listen", config.http.listen)?;
        let (grpc_listener, grpc) = bind("grpc.listen", config.grpc.listen)?;
        let internal = Internal::bind(config).await?;
        let advertise = internal.as_ref().map(|internal| internal.advertise.clone());
        let place = cluster::join(config, &data_dir, &node_key, advertise, clock).await?;
        let ready = Ready {
            node: place.identity.node,
            http,
            grpc,
            internal: internal.as_ref().map(|internal| internal.address),
            data_dir: config.node.data_dir.clone(),
            operator_key_file: key_file,
        };
        let (sealer, listeners) = (Arc::new(Sealer::new(&node_key)), (http_listener, grpc_listener));
        let mark = ClusterMark::of(&node_key);
        let blobs = blobs::open(&config.blobs, &config.node.data_dir, &mark.to_string()).await?;
        Ok(Self { data_dir, sealer, mark, operator, blobs, listeners, internal, place, ready })
    }
}

/// Whoever acts on what happens in the shards, or remembers it.
struct Attentive {
    keys: Arc<KnownKeys>,
    sources: Arc<KnownSources>,
    tasks: Arc<TaskBoard>,
    deliveries: Arc<DeliveryBoard>,
    /// Blobs that other nodes may have and this one lacks; none on a node that is alone.
    missing: Option<Arc<Backfill>>,
}

impl Attentive {
    fn new(config: &Config) -> Self {
        let (keys, sources) = (Arc::new(KnownKeys::new()), Arc::new(KnownSources::new()));
        let (tasks, deliveries) = (
            Arc::new(TaskBoard::new(config.scratch_dir()).with_tariff(Arc::new(tariff(config)))),
            Arc::new(DeliveryBoard::new()),
        );
        let missing = (!config.cluster.name.is_empty()).then(|| Arc::new(Backfill::new()));
        Self { keys, sources, tasks, deliveries, missing }
    }

    fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let always: [Arc<dyn Observer>; 4] =
            [self.keys.clone(), self.sources.clone(), self.tasks.clone(), self.deliveries.clone()];
        let mut observers: Vec<Arc<dyn Observer>> = always.into();
        if let Some(missing) = self.missing.clone() {
            observers.push(missing);
        }
        observers
    }
}

/// Runs a node until it is asked to stop.
pub(crate) async fn run(config: Config, told: impl FnOnce(&Ready) -> anyhow::Result<()>) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let (declared, egress) = (declared::read(&config)?, Arc::new(Egress::new(egress_policy(&config)?)));
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (started, metrics) = (clock.monotonic(), telemetry::start_metrics(clock.now())?);
    let Ground { data_dir, sealer, mark, operator, blobs, listeners, internal, place, ready } =
        Ground::open(&config, &clock).await?;
    let (node, shard_count) = (ready.node, place.shards);

    // ③ to ⑧: shards, whoever acts on what happens in them, and the other nodes.
    let attentive = Attentive::new(&config);
    let peers = internal.as_ref().map(|_| connect(&config, node, &clock)).transpose()?;
    let observers = attentive.observers();
    let shards = start_shards(&config, &place, peers.clone(), &data_dir, Arc::clone(&clock), observers).await?;
    let (seen, view) = cluster::unseen(shard_count);
    let (_watcher, standstills) = Watcher::start(&config, shards.driver().progress())?;
    let _raising = raising::start(shards.clone(), peers.as_ref().map(|_| view.clone()), &data_dir);
    let around = peers.zip(attentive.missing.clone());
    let around = around.map(|(peers, backfill)| Around::new(node, peers, &shards, &blobs.0, backfill, view));
    let company = around.as_ref().zip(place.membership).map(|(around, entry)| {
        Arc::new(Company::start(entry, around, shards.clone(), Arc::clone(&data_dir), Arc::clone(&clock), seen))
    });

    // ⑨: workers and deliveries, and what they ask of other nodes.
    let ((blobs, bucket), missing) = (blobs, attentive.missing);
    let (blobs, _bringing) = blobs::beyond(blobs, bucket, around.as_ref(), missing, &shards, shard_count);
    let (uploads, _sweeping) = start_uploads(node, &blobs, &clock)?;
    let runners = runners(&config, &blobs, &egress, shards.reads(), &clock)?;
    let commands = Commands::new(shards.clone(), around.as_ref().map(|around| around.elsewhere(node, shard_count)));
    let (workers, tasks) = (workers_config(&config, node), Arc::clone(&attentive.tasks));
    let workers = Workers::start(workers, commands.clone(), tasks, blobs.clone(), Arc::clone(&clock), runners)?;
    let (deliveries, sealing) = (Arc::clone(&attentive.deliveries), Arc::clone(&sealer));
    let sender = Sender::start(&sending(&config), commands, deliveries, egress, sealing, Arc::clone(&clock));

    // ① and ②: the gateway.
    let router = Router::new(shards.clone());
    let _declaring = declared::keep(declared, router.clone(), Arc::clone(&sealer));
    let auth = Authenticator::new(operator, attentive.keys, router.clone(), Arc::clone(&clock));
    let (readiness, stop_serving) = (Readiness::default(), CancellationToken::new());
    let forwarder = around.as_ref().map(|around| around.forwarder(node, shard_count, &clock));
    let gateway = Arc::new(Gateway {
        router,
        everything: Everything::new(shards.clone(), shard_count, mark, around.as_ref().map(Around::surroundings)),
        auth,
        sealer,
        sources: attentive.sources,
        tester: sender.tester(),
        blobs,
        uploads,
        engines: config.speech_engines(),
        forwarder: forwarder.clone(),
        clock: Arc::clone(&clock),
        readiness: readiness.clone(),
        standstills,
        company: company.clone(),
    });
    let operations = operations(&config, node, attentive.tasks, started);
    let services = grpc::services(gateway.clone(), operations, config.grpc.subscriptions_max, stop_serving.clone());
    let http_state = Arc::new(http_state(&config, gateway, metrics));
    let inside = around.zip(internal).zip(forwarder.clone()).map(|((around, internal), forwarder)| {
        let passed_on = forward::routes(forwarder, services.clone(), Arc::clone(&http_state), internal.stop.clone());
        let work = around.work(&shards, &workers);
        let feeds = FeedServer::new(shards.clone(), shard_count, stop_serving.clone());
        let routes = passed_on.add_service(work.service()).add_service(feeds.service());
        internal.serve(around.peers(), routes, &shards, snapshots_folder(&data_dir))
    });
    let serving = Serving::start(&config, http_state, services, forwarder, listeners, stop_serving);
    readiness.set(true);
    tracing::info!(http = %ready.http, grpc = %ready.grpc, took = ?clock.monotonic() - started, "the node is ready");
    told(&ready)?;

    signals.asked().await;
    readiness.set(false);
    let stop = stop(company, serving, workers, sender, shards, inside);
    end_within(Duration::from_secs(config.node.shutdown_s_max), stop).await
}

async fn end_within(limit: Duration, stop: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(limit, stop).await.context("the node did not stop in time")??;
    tracing::info!("the node has stopped");
    Ok(())
}

/// What clients bring, until the handle is dropped.
fn start_uploads(
    node: NodeId,
    blobs: &BlobStore,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Uploads, AbortOnDropHandle<()>)> {
    let uploads = Uploads::open(node, blobs.clone(), Arc::clone(clock)).context("cannot open the folder of uploads")?;
    let sweeping = supervisor::spawn("uploads", sweep_uploads(uploads.clone()));
    Ok((uploads, AbortOnDropHandle::new(sweeping)))
}

fn http_state(config: &Config, gateway: Arc<Gateway>, metrics: PrometheusHandle) -> HttpState {
    HttpState { gateway, metrics, hooks: HookMetrics::new(), body_bytes_max: config.http.body_bytes_max }
}

/// Stops a node from the outside in; other nodes are talked to until the last entry is written.
async fn stop(
    company: Option<Arc<Company>>,
    serving: Serving,
    mut workers: Workers,
    sender: Sender,
    shards: Shards,
    inside: Option<cluster::Serving>,
) -> anyhow::Result<()> {
    workers.pull_no_more();
    let giving_up = if let Some(company) = company { company.leave().await } else { None };
    serving.stop().await;
    workers.stop().await;
    sender.stop().await;
    drop(giving_up);
    let stopped = shards.stop().await;
    if let Some(inside) = inside {
        inside.stop().await;
    }
    Ok(stopped?)
}

fn sending(config: &Config) -> SenderConfig {
    SenderConfig {
        in_flight_max: config.deliveries.in_flight_max,
        timeout: Duration::from_secs(config.deliveries.timeout_s),
    }
}

fn bind(key: &str, listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = listen_on(listen).with_context(|| format!("cannot listen on {listen} ({key})"))?;
    let address = listener.local_addr().context("a listener has no address")?;
    Ok((listener, address))
}

fn listen_on(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?; // As every listener of a service that is restarted.
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// The connections to other nodes.
fn connect(config: &Config, node: NodeId, clock: &Arc<dyn Clock>) -> anyhow::Result<Peers> {
    let cluster = &config.cluster;
    let security = if cluster.plaintext {
        Security::Plaintext
    } else {
        Security::Tls(TlsFiles {
            authority: cluster.ca_file.clone(),
            certificate: cluster.cert_file.clone(),
            key: cluster.key_file.clone(),
        })
    };
    let boot = rand::rng().next_u64();
    let config = PeersConfig { node, cluster: cluster.name.clone(), boot, security };
    Ok(Peers::new(config, Arc::clone(clock))?)
}

/// Opens log and state, and starts the shards over them.
async fn start_shards(
    config: &Config,
    place: &Place,
    peers: Option<Peers>,
    data_dir: &DataDir,
    clock: Arc<dyn Clock>,
    observers: Vec<Arc<dyn Observer>>,
) -> anyhow::Result<Shards> {
    let storage = &config.storage;
    let log = LogConfig {
        segment_bytes: storage.segment_mib * MIB,
        sync_delay: Duration::from_micros(storage.sync_delay_us),
        ..LogConfig::default()
    };
    let (folder, engine, cache_bytes) = (data_dir.join(SHARDS_FOLDER), storage.engine.into(), storage.cache_mib * MIB);
    let open = move || shard::open(&folder, engine, cache_bytes, log);
    let opened = tokio::task::spawn_blocking(open).await.context("opening the data panicked")??;
    if let Some(reason) = &opened.rebuilt {
        tracing::warn!(reason, "the state was thrown away and built again from snapshots and log");
    }
    let retention = Retention {
        events_max: config.accounts.feed_events_max,
        age_max: Duration::from_secs(config.accounts.feed_age_days * SECONDS_PER_DAY),
    };
    let shards_config = ShardsConfig {
        shards: place.shards,
        accounts_live_max: config.accounts.live_max,
        retention,
        elections_after: Duration::from_millis(config.cluster.election_ms.into()),
        tariff: Arc::new(tariff(config)),
        ..ShardsConfig::default()
    };
    let node = place.identity.node;
    let driver = Arc::new(OnceLock::new());
    let seat = match peers {
        None => Seat::alone(node),
        Some(peers) => {
            let snapshots = snapshots_folder(data_dir);
            let transport = PeerTransport::new(peers, &snapshots, Handle::current(), Arc::clone(&driver));
            let founders = if place.identity.is_founder { vec![node] } else { vec![] };
            Seat { node, founders, transport: Some(Box::new(transport)) }
        }
    };
    let on_failure = Arc::new(raft::abort_process);
    let shards = Shards::start(shards_config, seat, opened, clock, observers, on_failure).await?;
    // Set once: there is one start.
    driver.set(shards.driver()).ok();
    Ok(shards)
}

fn snapshots_folder(data_dir: &DataDir) -> PathBuf {
    data_dir.join(SHARDS_FOLDER).join("snapshots")
}

fn operations(config: &Config, node: NodeId, tasks: Arc<TaskBoard>, started: Duration) -> Operations {
    Operations {
        node,
        data_dir: config.node.data_dir.clone(),
        models_dir: config.models_dir(),
        storage_engine: config.storage.engine.name(),
        started,
        tasks,
        slots: slots(config),
    }
}
