//! What happened to a schedule, to its stored form and back, and as subscribers see it.

use serde_json::{Value, json};
use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::schedule_changed::Change;

use super::decode::{DecodeError, field, id, job_kind, json as decode_json};
use crate::domain::ids::ScheduleId;
use crate::domain::job::Priority;
use crate::domain::schedule::{
    Missed, Overlap, Planned, SKIP_REASONS, ScheduleChange, ScheduleSettings, SkipReason, Skipped, Taken, Ticked,
};

/// A change as it is stored.
pub(super) fn encode(schedule: &ScheduleId, change: &ScheduleChange) -> wire::ScheduleChanged {
    let change = match change {
        ScheduleChange::Created { settings, next } => Change::Created(encode_settings(settings, *next)),
        ScheduleChange::Updated { settings, next } => Change::Updated(encode_settings(settings, *next)),
        ScheduleChange::Paused => Change::Paused(wire::SchedulePaused {}),
        ScheduleChange::Resumed { next } => Change::Resumed(wire::ScheduleResumed { next: next.map(encode_planned) }),
        ScheduleChange::Deleted => Change::Deleted(wire::ScheduleDeleted {}),
        ScheduleChange::Ticked(ticked) => Change::Ticked(encode_ticked(ticked)),
    };
    wire::ScheduleChanged { schedule: schedule.to_string(), change: Some(change) }
}

/// A change from its stored form.
pub(super) fn decode(change: Change) -> Result<ScheduleChange, DecodeError> {
    Ok(match change {
        Change::Created(e) => {
            let next = decode_planned(e.next.as_ref());
            ScheduleChange::Created { settings: decode_settings(e)?, next }
        }
        Change::Updated(e) => {
            let next = decode_planned(e.next.as_ref());
            ScheduleChange::Updated { settings: decode_settings(e)?, next }
        }
        Change::Paused(_) => ScheduleChange::Paused,
        Change::Resumed(e) => ScheduleChange::Resumed { next: decode_planned(e.next.as_ref()) },
        Change::Deleted(_) => ScheduleChange::Deleted,
        Change::Ticked(e) => ScheduleChange::Ticked(decode_ticked(&e)?),
    })
}

fn encode_settings(settings: &ScheduleSettings, next: Option<Planned>) -> wire::ScheduleSet {
    wire::ScheduleSet {
        expression: settings.expression.clone(),
        time_zone: settings.time_zone.clone(),
        job_kind: settings.job.as_str().to_owned(),
        input_json: settings.input.to_string(),
        priority: if settings.priority == Priority::USUAL { 0 } else { settings.priority.number() },
        within_ms: settings.within_ms,
        missed: match settings.missed {
            Missed::All => 1,
            Missed::Latest => 2,
            Missed::None => 3,
        },
        overlap: match settings.overlap {
            Overlap::Allow => 1,
            Overlap::Skip => 2,
        },
        smoothing_ms: settings.smoothing_ms,
        next: next.map(encode_planned),
    }
}

fn decode_settings(e: wire::ScheduleSet) -> Result<ScheduleSettings, DecodeError> {
    let number = |name: &'static str, number: u32| field(name, &number.to_string());
    Ok(ScheduleSettings {
        job: job_kind(&e.job_kind)?,
        input: decode_json("input_json", &e.input_json)?,
        priority: match e.priority {
            0 => Priority::USUAL,
            other => Priority::of_number(other).ok_or_else(|| number("priority", other))?,
        },
        within_ms: e.within_ms,
        missed: match e.missed {
            1 => Missed::All,
            2 => Missed::Latest,
            3 => Missed::None,
            other => return Err(number("missed", other)),
        },
        overlap: match e.overlap {
            1 => Overlap::Allow,
            2 => Overlap::Skip,
            other => return Err(number("overlap", other)),
        },
        smoothing_ms: e.smoothing_ms,
        expression: e.expression,
        time_zone: e.time_zone,
    })
}

fn encode_planned(planned: Planned) -> wire::PlannedTick {
    wire::PlannedTick { tick_ms: planned.tick.0, due_ms: planned.due.0 }
}

fn decode_planned(e: Option<&wire::PlannedTick>) -> Option<Planned> {
    e.map(|e| Planned { tick: Timestamp(e.tick_ms), due: Timestamp(e.due_ms) })
}

fn encode_ticked(ticked: &Ticked) -> wire::ScheduleTicked {
    let taken = |taken: &Taken| wire::TakenTick { tick_ms: taken.tick.0, job: taken.job.to_string() };
    let skipped = |skipped: &Skipped| wire::SkippedTicks {
        reason: number_of(skipped.reason),
        count: skipped.count,
        first_ms: skipped.first.0,
        last_ms: skipped.last.0,
    };
    wire::ScheduleTicked {
        taken: ticked.taken.iter().map(taken).collect(),
        skipped: ticked.skipped.iter().map(skipped).collect(),
        next: ticked.next.map(encode_planned),
    }
}

fn decode_ticked(e: &wire::ScheduleTicked) -> Result<Ticked, DecodeError> {
    let taken = |e: &wire::TakenTick| Ok(Taken { tick: Timestamp(e.tick_ms), job: id("job", &e.job)? });
    let skipped = |e: &wire::SkippedTicks| {
        let reason = SKIP_REASONS.into_iter().find(|reason| number_of(*reason) == e.reason);
        let reason = reason.ok_or_else(|| field("reason", &e.reason.to_string()))?;
        Ok(Skipped { reason, count: e.count, first: Timestamp(e.first_ms), last: Timestamp(e.last_ms) })
    };
    Ok(Ticked {
        taken: e.taken.iter().map(taken).collect::<Result<_, DecodeError>>()?,
        skipped: e.skipped.iter().map(skipped).collect::<Result<_, DecodeError>>()?,
        next: decode_planned(e.next.as_ref()),
    })
}

fn number_of(reason: SkipReason) -> u32 {
    match reason {
        SkipReason::Missed => 1,
        SkipReason::Overlap => 2,
        SkipReason::OpenJobs => 3,
        SkipReason::Unreadable => 4,
    }
}

/// The name subscribers know a change by.
pub(super) fn change_type(change: &ScheduleChange) -> &'static str {
    match change {
        ScheduleChange::Created { .. } => "schedule.created",
        ScheduleChange::Updated { .. } => "schedule.updated",
        ScheduleChange::Paused => "schedule.paused",
        ScheduleChange::Resumed { .. } => "schedule.resumed",
        ScheduleChange::Deleted => "schedule.deleted",
        ScheduleChange::Ticked(_) => "schedule.ticked",
    }
}

/// What subscribers see of it.
pub(super) fn change_json(schedule: &ScheduleId, change: &ScheduleChange) -> Value {
    let mut shown = match change {
        ScheduleChange::Created { settings, .. } | ScheduleChange::Updated { settings, .. } => json!(settings),
        ScheduleChange::Paused | ScheduleChange::Resumed { .. } | ScheduleChange::Deleted => json!({}),
        ScheduleChange::Ticked(ticked) => {
            let taken = |taken: &Taken| json!({"tick_ms": taken.tick, "job": taken.job});
            let skipped = |skipped: &Skipped| {
                let Skipped { reason, count, first, last } = skipped;
                json!({"reason": reason.as_str(), "count": count, "first_tick_ms": first, "last_tick_ms": last})
            };
            json!({
                "taken": ticked.taken.iter().map(taken).collect::<Vec<_>>(),
                "skipped": ticked.skipped.iter().map(skipped).collect::<Vec<_>>(),
            })
        }
    };
    shown["schedule"] = json!(schedule);
    if let Some(next) = change.next() {
        shown["next_tick_ms"] = json!(next.tick);
        shown["next_due_ms"] = json!(next.due);
    }
    shown
}
