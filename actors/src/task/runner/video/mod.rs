//! Runners for recordings, one for each kind of work on them. Built once per node by the composition root.
//!
//! # Invariants
//! - **V1 our client only**: a URL of a user is opened by [`Egress`]; ffmpeg sees one local file with a neutral name.
//! - **V2 proven**: an output counts when ffmpeg ended well, said so, and the frames and times are those planned.
//! - **V3 resumed**: a finished chunk is reused after its hash was checked; the result is the same, byte for byte.
//! - **V4 explained**: what cannot be read is refused once, with the finding; what is incomplete says what is missing.

mod audio;
mod clip;
mod decide;
mod encode;
mod failure;
mod fetch;
mod hls;
mod inspect;
mod ledger;
mod normalize;
mod picture;
mod piece;
mod plan;
mod playlist;
mod probe;
mod source;
pub mod speech;
mod split;
mod storyboard;
mod thumbnail;
mod tools;
mod transcript;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use steward_cluster::clock::Clock;

use super::Runner;
use crate::blob::BlobStore;
use crate::domain::job::EncoderArgs;
use crate::egress::Egress;
use crate::sandbox::SandboxConfig;
use speech::Engines;
use tools::Tools;

/// How recordings are worked on.
#[derive(Debug, Clone)]
pub struct VideoConfig {
    /// The tools, by absolute path.
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    pub sandbox: SandboxConfig,
    /// The length chunks aim at: the work lost when a node dies is half of it on average.
    pub chunk_seconds: u32,
    /// Shorter recordings are encoded in one piece.
    pub one_chunk_below_seconds: u32,
    /// The largest recording fetched.
    pub source_bytes_max: u64,
    /// The longest recording worked on.
    pub duration_max: Duration,
    /// Memory of one ffmpeg.
    pub memory_bytes_max: u64,
}

impl VideoConfig {
    /// The defaults, with the executable that enters the sandbox.
    #[must_use]
    pub fn new(sandbox: SandboxConfig) -> Self {
        Self {
            ffmpeg: PathBuf::from("/usr/bin/ffmpeg"),
            ffprobe: PathBuf::from("/usr/bin/ffprobe"),
            sandbox,
            chunk_seconds: 30,
            one_chunk_below_seconds: 90,
            source_bytes_max: 8 << 30,
            duration_max: Duration::from_secs(4 * 60 * 60),
            memory_bytes_max: 2 << 30,
        }
    }
}

/// One runner for each kind of work on recordings. Without a model for `speech`, transcripts say that they are
/// unavailable.
#[must_use]
pub fn runners(
    config: VideoConfig,
    blobs: BlobStore,
    egress: Arc<Egress>,
    speech: Engines,
    clock: Arc<dyn Clock>,
) -> Vec<Arc<dyn Runner>> {
    let tools = Arc::new(Tools::new(config.clone()));
    let bytes_max = config.source_bytes_max;
    vec![
        Arc::new(fetch::FetchRunner { egress, blobs: blobs.clone(), bytes_max }),
        Arc::new(probe::ProbeRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(normalize::NormalizeRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(piece::PieceRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(hls::HlsRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(audio::AudioRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(storyboard::StoryboardRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(clip::ClipRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(thumbnail::ThumbnailRunner { tools: tools.clone(), blobs: blobs.clone() }),
        Arc::new(transcript::TranscriptRunner { tools, blobs, speech, clock }),
    ]
}
