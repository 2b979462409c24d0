//! The runners of this node, and what they may reach. Called by the composition root.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use steward_actors::blob::BlobStore;
use steward_actors::egress::{Egress, EgressPolicy};
use steward_actors::sandbox::SandboxConfig;
use steward_actors::shard::Reads;
use steward_actors::task::runner::Runner;
use steward_actors::task::runner::ai::{self, AiConfig, ProviderConfig};
use steward_actors::task::runner::video::{self, VideoConfig, speech};
use steward_cluster::clock::Clock;

use crate::config::Config;
use crate::documents::StoredDocuments;

/// Recordings shorter than this many chunks are encoded in one piece.
const ONE_CHUNK_BELOW: u32 = 3;

/// What jobs and deliveries may reach. Whatever is beyond the public Internet is said aloud.
pub(crate) fn egress_policy(config: &Config) -> EgressPolicy {
    let mut policy = EgressPolicy::default();
    for item in &config.egress.allow {
        tracing::warn!(allowed = item, "jobs and deliveries may reach an address beyond the public Internet");
        match item.parse() {
            Ok(network) => policy.allow_networks.push(network),
            Err(_) => policy.allow_hosts.push(item.clone()),
        }
    }
    policy
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
    let provider = |provider: &crate::config::Provider| ProviderConfig {
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
