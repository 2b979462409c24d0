//! The runners of this node, and what they may reach. Called by the composition root.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use steward_actors::blob::BlobStore;
use steward_actors::domain::budget::{Price, Tariff};
use steward_actors::egress::{Egress, EgressPolicy, Network, Proxy};
use steward_actors::sandbox::SandboxConfig;
use steward_actors::shard::Reads;
use steward_actors::task::runner::Runner;
use steward_actors::task::runner::ai::{self, AiConfig, ProviderConfig};
use steward_actors::task::runner::video::speech::{EngineConfig, Engines};
use steward_actors::task::runner::video::{self, VideoConfig};
use steward_actors::task::{Slots, WorkersConfig};
use steward_cluster::clock::Clock;
use steward_cluster::ids::NodeId;
use uuid::Uuid;

use crate::config::{self, Config, ConfigError, ConfigErrors};
use crate::documents::StoredDocuments;

/// Recordings shorter than this many chunks are encoded in one piece.
const ONE_CHUNK_BELOW: u32 = 3;

/// What this node's workers are started with. Every start has a name of its own.
pub(crate) fn workers_config(config: &Config, node: NodeId) -> WorkersConfig {
    let silence_max = Duration::from_secs(config.tasks.silence_s_max.into());
    WorkersConfig {
        slots: slots(config),
        silence_max,
        node: format!("node-{}", node.0),
        boot: Uuid::now_v7().to_string(),
    }
}

/// How many tasks run here at a time.
pub(crate) fn slots(config: &Config) -> Slots {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let cpu = if config.tasks.cpu_slots == 0 { cores() } else { config.tasks.cpu_slots };
    Slots { cpu, net: config.tasks.net_slots }
}

/// What jobs and deliveries may reach, and by which way. Whatever is beyond the public Internet is said aloud.
///
/// # Errors
/// Why the proxy's credentials cannot be used.
pub(crate) fn egress_policy(config: &Config) -> Result<EgressPolicy, ConfigErrors> {
    let egress = &config.egress;
    for item in &egress.allow {
        tracing::warn!(allowed = item, "jobs and deliveries may reach an address beyond the public Internet");
    }
    let (allow_networks, allow_hosts) = apart(&egress.allow);
    Ok(EgressPolicy { allow_hosts, allow_networks, proxy: proxy(egress)?, ..EgressPolicy::default() })
}

fn proxy(egress: &config::Egress) -> Result<Option<Proxy>, ConfigErrors> {
    if egress.proxy.is_empty() {
        return Ok(None);
    }
    let wrong = |rule: String| ConfigError::Invalid(format!("egress.proxy_credentials {rule}"));
    let credentials = &egress.proxy_credentials;
    let secret = if credentials.is_empty() { None } else { Some(credentials.read().map_err(wrong)?) };
    let proxy = Proxy::new(&egress.proxy, secret.as_ref().map(|secret| secret.as_str()));
    let proxy = proxy.map_err(|rule| wrong(rule.to_string()))?;
    let (networks, hosts) = apart(&egress.proxy_except);
    Ok(Some(proxy.except(hosts, networks)))
}

/// Networks and addresses apart from host names.
fn apart(items: &[String]) -> (Vec<Network>, Vec<String>) {
    let (mut networks, mut hosts) = (vec![], vec![]);
    for item in items {
        match item.parse() {
            Ok(network) => networks.push(network),
            Err(_) => hosts.push(item.clone()),
        }
    }
    (networks, hosts)
}

/// A runner for every kind of task.
pub(crate) fn runners(
    config: &Config,
    blobs: &BlobStore,
    egress: &Arc<Egress>,
    reads: Reads,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Vec<Arc<dyn Runner>>> {
    let models_dir = config.models_dir();
    let services = config.speech.engines.iter().map(engine).collect::<Result<_, _>>()?;
    let speech = Engines::new(&models_dir, services, config.speech.default_engine.clone(), egress);
    let video_config = VideoConfig {
        ffmpeg: config.video.ffmpeg.clone(),
        ffprobe: config.video.ffprobe.clone(),
        chunk_seconds: config.video.chunk_seconds,
        one_chunk_below_seconds: ONE_CHUNK_BELOW * config.video.chunk_seconds,
        ..VideoConfig::new(SandboxConfig { helper: own_executable()?, require: config.sandbox.require })
    };
    let mut all = video::runners(video_config, blobs.clone(), Arc::clone(egress), speech, Arc::clone(clock));
    let documents = Arc::new(StoredDocuments(reads));
    all.extend(ai::runners(ai_config(config, models_dir), blobs.clone(), Arc::clone(egress), documents));
    Ok(all)
}

/// A service that turns speech into text, with its key.
fn engine(engine: &config::SpeechEngine) -> Result<EngineConfig, ConfigErrors> {
    let config::SpeechEngine { name, protocol, url, model, key } = engine;
    let wrong = |rule| ConfigError::Invalid(format!("speech.engines.key of {name} {rule}"));
    let api_key = if key.is_empty() { String::new() } else { key.read().map_err(wrong)?.to_string() };
    let provider = ProviderConfig { name: name.clone(), base_url: url.clone(), api_key };
    Ok(EngineConfig { provider, protocol: (*protocol).into(), model: model.clone() })
}

fn ai_config(config: &Config, models_dir: PathBuf) -> AiConfig {
    let provider = |provider: &config::Provider| ProviderConfig {
        name: provider.name.clone(),
        base_url: provider.base_url.clone(),
        api_key: provider.api_key.clone(),
    };
    AiConfig {
        models_dir,
        providers: config.ai.providers.iter().map(provider).collect(),
        default_chat: config.ai.default_chat.clone(),
        default_embed: config.ai.default_embed.clone(),
    }
}

/// What models cost.
pub(crate) fn tariff(config: &Config) -> Tariff {
    let price = |price: &config::Price| {
        let config::Price { model, input_micros, output_micros } = price.clone();
        (model, Price { input_micros, output_micros })
    };
    Tariff {
        currency: config.ai.currency.clone(),
        default_chat: config.ai.default_chat.clone(),
        default_embed: config.ai.default_embed.clone(),
        prices: config.ai.prices.iter().map(price).collect(),
    }
}

/// What enters the sandbox: this program.
fn own_executable() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the path of this program is unknown, so no sandbox can be entered")
}
