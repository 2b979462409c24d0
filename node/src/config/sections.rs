//! The settings by section. The text for people stands in `deploy/config.toml`, which a test keeps equal to these.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steward_actors::task::runner::video::speech::EngineNames;

use super::blobs::Blobs;
use super::secret::SecretReference;
use super::sources::Webhooks;
use super::speech::Speech;

/// All settings of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) node: Node,
    pub(crate) http: Http,
    pub(crate) grpc: Grpc,
    pub(crate) auth: Auth,
    pub(crate) storage: Storage,
    pub(crate) blobs: Blobs,
    pub(crate) accounts: Accounts,
    pub(crate) tasks: Tasks,
    pub(crate) sandbox: Sandbox,
    pub(crate) video: Video,
    pub(crate) ai: Ai,
    pub(crate) speech: Speech,
    pub(crate) egress: Egress,
    pub(crate) webhooks: Webhooks,
    pub(crate) deliveries: Deliveries,
    pub(crate) log: Log,
    pub(crate) cluster: Cluster,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) data_dir: PathBuf,
    /// 0: what the data folder or the cluster says.
    pub(crate) id: u64,
    pub(crate) zone: String,
    /// Empty: `node.key` in the data folder.
    pub(crate) key_file: PathBuf,
    pub(crate) shutdown_s_max: u64,
    pub(crate) standstill_s: u32,
    /// 0: the process is not ended.
    pub(crate) standstill_s_max: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) listen: SocketAddr,
    pub(crate) body_bytes_max: usize,
    pub(crate) connections_max: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grpc {
    pub(crate) listen: SocketAddr,
    pub(crate) connections_max: usize,
    pub(crate) subscriptions_max: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auth {
    pub(crate) enabled: bool,
    /// Empty: `operator.key` in the data folder.
    pub(crate) operator_key_file: PathBuf,
}

/// What keeps the state of the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Engine {
    Fjall,
    Sled,
    Memory,
}

impl Engine {
    /// The name settings use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fjall => "fjall",
            Self::Sled => "sled",
            Self::Memory => "memory",
        }
    }
}

impl From<Engine> for steward_cluster::store::Engine {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Fjall => Self::Fjall,
            Engine::Sled => Self::Sled,
            Engine::Memory => Self::Memory,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    pub(crate) engine: Engine,
    pub(crate) shards: u16,
    pub(crate) cache_mib: u64,
    pub(crate) segment_mib: u64,
    pub(crate) sync_delay_us: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accounts {
    pub(crate) live_max: usize,
    pub(crate) feed_events_max: u64,
    pub(crate) feed_age_days: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tasks {
    /// 0: one per core.
    pub(crate) cpu_slots: usize,
    pub(crate) net_slots: usize,
    pub(crate) silence_s_max: u32,
    /// Empty: `scratch` in the data folder.
    pub(crate) scratch_dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sandbox {
    pub(crate) require: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Video {
    pub(crate) ffmpeg: PathBuf,
    pub(crate) ffprobe: PathBuf,
    pub(crate) chunk_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ai {
    /// Empty: `models` in the data folder.
    pub(crate) models_dir: PathBuf,
    pub(crate) default_chat: String,
    pub(crate) default_embed: String,
    pub(crate) providers: Vec<Provider>,
    /// What prices and budgets are counted in.
    pub(crate) currency: String,
    pub(crate) prices: Vec<Price>,
}

/// What a million tokens of a model cost, in millionths of the currency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// As `provider/model`.
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) input_micros: u64,
    #[serde(default)]
    pub(crate) output_micros: u64,
}

/// A service that speaks the OpenAI protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) base_url: String,
    #[serde(default)]
    pub(crate) api_key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Egress {
    pub(crate) allow: Vec<String>,
    /// Empty: the way out is straight.
    pub(crate) proxy: String,
    pub(crate) proxy_credentials: SecretReference,
    pub(crate) proxy_except: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deliveries {
    pub(crate) timeout_s: u64,
    pub(crate) in_flight_max: usize,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

/// How nodes find and reach each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Empty: the node is alone.
    pub(crate) name: String,
    pub(crate) etcd: Vec<String>,
    pub(crate) etcd_ca_file: PathBuf,
    pub(crate) etcd_cert_file: PathBuf,
    pub(crate) etcd_key_file: PathBuf,
    pub(crate) listen: SocketAddr,
    /// Empty: `listen`.
    pub(crate) advertise: String,
    pub(crate) replicas: u8,
    pub(crate) election_ms: u32,
    pub(crate) plaintext: bool,
    pub(crate) ca_file: PathBuf,
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/steward"),
            id: 0,
            zone: String::new(),
            key_file: PathBuf::new(),
            shutdown_s_max: 30,
            standstill_s: 10,
            standstill_s_max: 60,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: loopback(7420), body_bytes_max: 1024 * 1024, connections_max: 3_072 }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self { listen: loopback(7421), connections_max: 4_096, subscriptions_max: 4_096 }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { enabled: true, operator_key_file: PathBuf::new() }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { engine: Engine::Fjall, shards: 64, cache_mib: 16, segment_mib: 64, sync_delay_us: 0 }
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self { live_max: 16_384, feed_events_max: 1_000_000, feed_age_days: 30 }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self { cpu_slots: 0, net_slots: 64, silence_s_max: 900, scratch_dir: PathBuf::new() }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self { require: true }
    }
}

impl Default for Video {
    fn default() -> Self {
        Self { ffmpeg: PathBuf::from("/usr/bin/ffmpeg"), ffprobe: PathBuf::from("/usr/bin/ffprobe"), chunk_seconds: 30 }
    }
}

impl Default for Ai {
    fn default() -> Self {
        Self {
            models_dir: PathBuf::new(),
            default_chat: "local/smollm2-135m".to_owned(),
            default_embed: "local/minilm-l6".to_owned(),
            providers: vec![],
            currency: "USD".to_owned(),
            prices: vec![],
        }
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self { timeout_s: 15, in_flight_max: 64 }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: String::new(),
            etcd: vec![],
            etcd_ca_file: PathBuf::new(),
            etcd_cert_file: PathBuf::new(),
            etcd_key_file: PathBuf::new(),
            listen: loopback(7422),
            advertise: String::new(),
            replicas: 3,
            election_ms: 400,
            plaintext: false,
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Config {
    /// Where the operator's key is.
    pub(crate) fn operator_key_file(&self) -> PathBuf {
        self.or_in_data_dir(&self.auth.operator_key_file, "operator.key")
    }

    /// Where the key is that seals secrets, when it is not the data folder's own.
    pub(crate) fn node_key_file(&self) -> Option<&Path> {
        let file = self.node.key_file.as_path();
        (!file.as_os_str().is_empty()).then_some(file)
    }

    /// Where running jobs keep their files.
    pub(crate) fn scratch_dir(&self) -> PathBuf {
        self.or_in_data_dir(&self.tasks.scratch_dir, "scratch")
    }

    /// Where models are.
    pub(crate) fn models_dir(&self) -> PathBuf {
        self.or_in_data_dir(&self.ai.models_dir, "models")
    }

    /// The engines that a job may name.
    pub(crate) fn speech_engines(&self) -> EngineNames {
        EngineNames::new(self.speech.engines.iter().map(|engine| engine.name.clone()))
    }

    fn or_in_data_dir(&self, path: &Path, name: &str) -> PathBuf {
        if path.as_os_str().is_empty() { self.node.data_dir.join(name) } else { path.to_owned() }
    }
}
