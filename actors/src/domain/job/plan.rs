//! Which tasks a job has, and which of them wait for others.

use serde_json::Value;

use crate::domain::task::{TaskId, TaskKind};

/// What a client can ask for: a pipeline, or a single task by its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum JobKind {
    /// A recorded call: fetched, normalised, transcribed, summarised and indexed.
    Call,
    /// One media task over a recording that is fetched first.
    Media(TaskKind),
    /// One task on the input alone.
    Single(TaskKind),
}

/// A task of a job and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub task: TaskKind,
    pub after: &'static [TaskKind],
}

const CALL: &[Step] = &[
    Step { task: TaskKind::Fetch, after: &[] },
    Step { task: TaskKind::Probe, after: &[TaskKind::Fetch] },
    Step { task: TaskKind::Normalize, after: &[TaskKind::Probe] },
    Step { task: TaskKind::Thumbnail, after: &[TaskKind::Probe] },
    Step { task: TaskKind::Transcript, after: &[TaskKind::Probe] },
    Step { task: TaskKind::Summarize, after: &[TaskKind::Transcript] },
    Step { task: TaskKind::Index, after: &[TaskKind::Transcript, TaskKind::Summarize] },
];

/// The most chunks a recording is encoded in; of a longer one they are longer.
pub const CHUNKS_MAX: u16 = 256;

/// How the work of a job's `normalize` is spread over tasks: what its `probe` found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// An `encode` task each.
    pub chunks: u16,
    /// Whether there is a `sound` task.
    pub has_sound: bool,
}

impl Split {
    /// The split that a probe's result asks for, if it asks for one.
    #[must_use]
    pub fn of_probe(result: &Value) -> Option<Self> {
        let split = result.get("split")?;
        let chunks = split.get("chunks")?.as_u64().and_then(|chunks| u16::try_from(chunks).ok())?;
        let has_sound = split.get("has_sound")?.as_bool()?;
        (1..=CHUNKS_MAX).contains(&chunks).then_some(Self { chunks, has_sound })
    }

    /// The tasks it makes.
    pub(crate) fn tasks(self) -> impl Iterator<Item = TaskId> {
        let sound = self.has_sound.then(|| TaskKind::Sound.whole());
        (1..=self.chunks).map(|part| TaskKind::Encode.part(part)).chain(sound)
    }
}

impl JobKind {
    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "call" {
            return Some(Self::Call);
        }
        match TaskKind::parse(name)? {
            // Steps of other work.
            TaskKind::Fetch | TaskKind::Encode | TaskKind::Sound => None,
            media @ (TaskKind::Probe
            | TaskKind::Normalize
            | TaskKind::Thumbnail
            | TaskKind::Transcript
            | TaskKind::Hls
            | TaskKind::Audio
            | TaskKind::Storyboard
            | TaskKind::Clip) => Some(Self::Media(media)),
            single @ (TaskKind::Summarize
            | TaskKind::Index
            | TaskKind::Chat
            | TaskKind::Embed
            | TaskKind::Search
            | TaskKind::Answer) => Some(Self::Single(single)),
        }
    }

    /// The name clients use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Media(task) | Self::Single(task) => task.as_str(),
        }
    }

    /// Its tasks, each after those it waits for.
    #[must_use]
    pub fn plan(self) -> Vec<Step> {
        match self {
            Self::Call => CALL.to_vec(),
            Self::Media(TaskKind::Probe) => CALL[..2].to_vec(),
            Self::Media(TaskKind::Hls) => {
                let mut steps = CALL[..3].to_vec();
                steps.push(Step { task: TaskKind::Hls, after: &[TaskKind::Normalize] });
                steps
            }
            Self::Media(task) => {
                let mut steps = CALL[..2].to_vec();
                steps.push(Step { task, after: &[TaskKind::Probe] });
                steps
            }
            Self::Single(task) => vec![Step { task, after: &[] }],
        }
    }
}

impl From<JobKind> for String {
    fn from(kind: JobKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl TryFrom<String> for JobKind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name).ok_or(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::task::TASK_KINDS;

    #[test]
    fn every_plan_lists_a_task_after_what_it_waits_for() {
        let names = TASK_KINDS.into_iter().map(TaskKind::as_str).chain(["call"]);
        for kind in names.filter_map(JobKind::parse) {
            let mut seen = vec![];
            for step in kind.plan() {
                assert!(
                    step.after.iter().all(|task| seen.contains(task)),
                    "{} of {}",
                    step.task.as_str(),
                    kind.as_str()
                );
                seen.push(step.task);
            }
            assert_eq!(JobKind::parse(kind.as_str()), Some(kind));
        }
    }
}
