//! The runners of this node, and what they may reach. Called by the composition root.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use steward_actors::blob::BlobStore;
use steward_actors::egress::{Egress, EgressPolicy, Network, Proxy};
use steward_actors::sandbox::SandboxConfig;
use steward_actors::shard::Reads;
use steward_actors::task::runner::Runner;
use steward_actors::task::runner::ai::{self, AiConfig, ProviderConfig};
use steward_actors::task::runner::video::{self, VideoConfig, speech};
use steward_cluster::clock::Clock;

use crate::config::{self, Config, ConfigError, ConfigErrors};
use crate::documents::StoredDocuments;

/// Recordings shorter than this many chunks are encoded in one piece.
const ONE_CHUNK_BELOW: u32 = 3;

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
    let speech = speech::embedded(&models_dir);
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

/// What enters the sandbox: this program.
fn own_executable() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the path of this program is unknown, so no sandbox can be entered")
}
