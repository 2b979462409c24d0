//! The request of a job and what became of it later, to their stored form and back.

use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::job_changed::Change;

use super::decode::{DecodeError, field, id, job_kind, json, task, task_kind, time};
use super::encode::ms;
use crate::domain::account::{Event, JobChange};
use crate::domain::ids::{JobId, PlaybookId};
use crate::domain::job::{JobKind, JobOptions, Priority, Split};
use crate::domain::task::{TaskKind, TaskLimits};

/// A request as it is stored. What it does not say has no bytes.
pub(super) fn encode_requested(
    job: &JobId,
    kind: JobKind,
    input: &serde_json::Value,
    playbook: Option<&PlaybookId>,
    options: JobOptions,
) -> wire::JobRequested {
    let JobOptions { priority, start_at, deadline_at } = options;
    wire::JobRequested {
        job: job.to_string(),
        kind: kind.as_str().to_owned(),
        input_json: input.to_string(),
        playbook: playbook.map(PlaybookId::to_string).unwrap_or_default(),
        priority: if priority == Priority::USUAL { 0 } else { priority.number() },
        start_at_ms: ms(start_at),
        deadline_at_ms: ms(deadline_at),
    }
}

/// A request from its stored form.
pub(super) fn decode_requested(e: &wire::JobRequested) -> Result<Event, DecodeError> {
    let playbook = Some(e.playbook.as_str()).filter(|playbook| !playbook.is_empty());
    let priority = match e.priority {
        0 => Priority::USUAL,
        number => Priority::of_number(number).ok_or_else(|| field("priority", &number.to_string()))?,
    };
    Ok(Event::JobRequested {
        job: id("job", &e.job)?,
        kind: job_kind(&e.kind)?,
        input: json("input_json", &e.input_json)?,
        playbook: playbook.map(|playbook| id("playbook", playbook)).transpose()?,
        options: JobOptions { priority, start_at: time(e.start_at_ms), deadline_at: time(e.deadline_at_ms) },
    })
}

/// A change as it is stored.
pub(super) fn encode_changed(job: &JobId, change: JobChange) -> wire::JobChanged {
    let change = match change {
        JobChange::Paused => Change::Paused(wire::JobPaused {}),
        JobChange::Resumed => Change::Resumed(wire::JobResumed {}),
        JobChange::Split(Split { chunks, has_sound }) => {
            Change::Split(wire::JobSplit { chunks: chunks.into(), has_sound })
        }
        JobChange::Restarted { from } => {
            let from_task = from.map(|from| from.to_string()).unwrap_or_default();
            Change::Restarted(wire::JobRestarted { from_task })
        }
    };
    wire::JobChanged { job: job.to_string(), change: Some(change) }
}

/// A change from its stored form.
pub(super) fn decode_change(change: &Change) -> Result<JobChange, DecodeError> {
    Ok(match change {
        Change::Paused(_) => JobChange::Paused,
        Change::Resumed(_) => JobChange::Resumed,
        Change::Split(e) => {
            let chunks = u16::try_from(e.chunks).map_err(|_| field("chunks", &e.chunks.to_string()))?;
            JobChange::Split(Split { chunks, has_sound: e.has_sound })
        }
        Change::Restarted(e) => {
            let from = Some(e.from_task.as_str()).filter(|from| !from.is_empty());
            JobChange::Restarted { from: from.map(task).transpose()? }
        }
    })
}

/// Limits as they are stored.
pub(super) fn encode_limits(limits: &TaskLimits) -> wire::TaskLimitsSet {
    let limit = |(kind, max): (&TaskKind, &u32)| wire::KindLimit { kind: kind.as_str().to_owned(), running_max: *max };
    let by_kind = limits.running_max_by_kind.iter().map(limit);
    wire::TaskLimitsSet {
        weight: limits.weight,
        running_max: limits.running_max.unwrap_or_default(),
        running_max_by_kind: by_kind.collect(),
        open_jobs_max: limits.open_jobs_max.unwrap_or_default(),
    }
}

/// Limits from their stored form.
pub(super) fn decode_limits(e: &wire::TaskLimitsSet) -> Result<TaskLimits, DecodeError> {
    let by_kind = e.running_max_by_kind.iter().map(|limit| Ok((task_kind(&limit.kind)?, limit.running_max)));
    Ok(TaskLimits {
        weight: e.weight,
        running_max: Some(e.running_max).filter(|max| *max != 0),
        running_max_by_kind: by_kind.collect::<Result<_, DecodeError>>()?,
        open_jobs_max: Some(e.open_jobs_max).filter(|max| *max != 0),
    })
}

/// The name subscribers know a change by.
pub(super) fn change_type(change: JobChange) -> &'static str {
    match change {
        JobChange::Paused => "job.paused",
        JobChange::Resumed => "job.resumed",
        JobChange::Split(_) => "job.split",
        JobChange::Restarted { .. } => "job.restarted",
    }
}

/// What subscribers see of when a job runs; nothing when nothing was asked for.
pub(super) fn options_json(options: JobOptions) -> serde_json::Value {
    let mut shown = serde_json::Map::new();
    let JobOptions { priority, start_at, deadline_at } = options;
    if priority != Priority::USUAL {
        shown.insert("priority".to_owned(), priority.number().into());
    }
    for (name, at) in [("start_at_ms", start_at), ("deadline_at_ms", deadline_at)] {
        if let Some(Timestamp(at)) = at {
            shown.insert(name.to_owned(), at.into());
        }
    }
    shown.into()
}
