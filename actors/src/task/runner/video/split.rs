//! How the pictures of a long recording are spread over tasks: the plan that `probe` makes, and the tasks of it read.
//!
//! In the result of `probe`: `"split": {"chunks", "has_sound", "recipe", "plan": [[start_us, frames, duration_us], ..]}`.

use serde_json::{Value, json};

use super::decide::reasons;
use super::failure;
use super::inspect::{Media, Video};
use super::picture;
use super::plan::{Chunk, plan};
use super::{EncoderArgs, VideoConfig};
use crate::domain::job::CHUNKS_MAX;
use crate::domain::task::TaskKind;
use crate::task::runner::{TaskError, TaskRun};

/// Changes when the encoder's settings do: chunks of another version must not be joined with new ones.
const RECIPE_VERSION: u32 = 2;

/// Where a recording is cut, and what its pieces depend on besides the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub chunks: Vec<Chunk>,
    pub has_sound: bool,
    pub recipe: String,
}

impl Split {
    /// The split of a recording that is encoded in more than one chunk.
    pub(super) fn of(media: &Media, args: &EncoderArgs, config: &VideoConfig) -> Option<Self> {
        let stays = media.untimed || (reasons(media).is_empty() && args.is_empty());
        let video = media.video.as_ref().filter(|_| !stays)?;
        let micros = |seconds: u32| i64::from(seconds) * 1_000_000;
        // Of the longest recordings the chunks are longer, so that there are no more than may be.
        let longer_us = media.duration_us / i64::from(CHUNKS_MAX - 1);
        let target_us = micros(config.chunk_seconds).max(longer_us);
        let chunks = plan(&media.packets, video.time_base, target_us, micros(config.one_chunk_below_seconds));
        let recipe = recipe(&chunks, video, args);
        (chunks.len() > 1).then(|| Self { chunks, has_sound: media.audio.is_some(), recipe })
    }

    /// Its form in a result.
    pub(super) fn described(&self) -> Value {
        let plan: Vec<Value> = self.chunks.iter().map(|c| json!([c.start_us, c.frames, c.duration_us])).collect();
        json!({ "chunks": plan.len(), "has_sound": self.has_sound, "recipe": self.recipe, "plan": plan })
    }

    /// The split that the job's probe found, if it found one.
    pub(super) fn found(run: &TaskRun) -> Result<Option<Self>, TaskError> {
        let probe = run.results.get(&TaskKind::Probe.whole());
        let Some(split) = probe.and_then(|probe| probe.get("split")).filter(|split| !split.is_null()) else {
            return Ok(None);
        };
        Self::parse(split).map(Some).ok_or_else(|| failure::input_invalid("the probe's split is not of this version"))
    }

    fn parse(split: &Value) -> Option<Self> {
        let chunk = |chunk: &Value| {
            let [start_us, frames, duration_us] = chunk.as_array()?.as_slice() else { return None };
            Some(Chunk { start_us: start_us.as_i64()?, frames: frames.as_u64()?, duration_us: duration_us.as_i64() })
        };
        Some(Self {
            chunks: split.get("plan")?.as_array()?.iter().map(chunk).collect::<Option<_>>()?,
            has_sound: split.get("has_sound")?.as_bool()?,
            recipe: split.get("recipe")?.as_str()?.to_owned(),
        })
    }
}

fn recipe(chunks: &[Chunk], video: &Video, args: &EncoderArgs) -> String {
    let all = json!([RECIPE_VERSION, chunks, picture::filters(video), args]).to_string();
    blake3::hash(all.as_bytes()).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_comes_out_of_a_result_as_it_went_in() {
        let chunk = |start_us, duration_us| Chunk { start_us, frames: 900, duration_us };
        let chunks = vec![chunk(-40, Some(30_030_000)), chunk(30_029_960, None)];
        let split = Split { chunks, has_sound: true, recipe: "ab".to_owned() };
        assert_eq!(Split::parse(&split.described()), Some(split.clone()));
        assert_eq!(crate::domain::job::Split::of_probe(&json!({ "split": split.described() })).unwrap().chunks, 2);
        for wrong in [json!({}), json!({"chunks": 2, "has_sound": true, "recipe": "r", "plan": [[1, 2]]})] {
            assert_eq!(Split::parse(&wrong), None, "{wrong}");
        }
    }
}
