//! `ScheduleService`: jobs that an account's clock asks for.

use std::sync::Arc;

use steward_actors::domain::account::Command;
use steward_actors::domain::account::limits::SMOOTHING_MS_MAX;
use steward_actors::domain::ids::{AccountId, ScheduleId};
use steward_actors::domain::schedule::{
    Missed, Overlap, Planned, Rhythm, RhythmError, Schedule, ScheduleSettings, smoothing_offset_ms,
};
use steward_cluster::clock::Timestamp;
use steward_proto::schedule::v1::schedule_service_server::ScheduleService;
use steward_proto::schedule::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::job::{kind, priority};
use super::{view, wire};
use crate::gateway::Gateway;
use crate::gateway::auth::AccountWriter;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::Refused;

/// Most ticks that are told at a time.
const TICKS_MAX: u32 = 100;
/// Ticks of a preview that does not say how many.
const TICKS_DEFAULT: u32 = 5;

pub(super) struct Schedules(pub(super) Arc<Gateway>);

impl Schedules {
    fn found(&self, account: &AccountId, id: &ScheduleId) -> Result<Schedule, Refused> {
        let owner = self.0.router.account(account)?.ok_or_else(|| Refused::absent("account", account.as_str()))?;
        owner.schedules.get(id).cloned().ok_or_else(|| Refused::absent("schedule", id.as_str()))
    }

    /// Executes a command about a schedule, and shows what it then is.
    async fn done(
        &self,
        writer: &AccountWriter,
        id: &ScheduleId,
        command: Command,
        correlation: &CorrelationId,
    ) -> Result<pb::Schedule, Refused> {
        self.0.router.execute(writer, command, correlation, None).await?;
        Ok(shown(id, &self.found(writer.account(), id)?))
    }
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn create_schedule(
        &self,
        request: Request<pb::CreateScheduleRequest>,
    ) -> Result<Response<pb::CreateScheduleResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let id: ScheduleId = wire::id("schedule_id", &request.schedule_id)?;
        let settings = settings(&self.0, request.settings.clone().unwrap_or_default())?;
        let idempotency = wire::idempotency("CreateSchedule", &request.idempotency_key, retry_key, &request);
        let command = Command::CreateSchedule { schedule: id.clone(), settings };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        let schedule = Some(shown(&id, &self.found(writer.account(), &id)?));
        Ok(Response::new(pb::CreateScheduleResponse { schedule }))
    }

    async fn get_schedule(
        &self,
        request: Request<pb::GetScheduleRequest>,
    ) -> Result<Response<pb::GetScheduleResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let id: ScheduleId = wire::id("schedule_id", &request.schedule_id)?;
        check_ticks(request.ticks)?;
        let schedule = self.found(reader.account(), &id)?;
        let rhythm = Rhythm::parse(&schedule.settings.expression, &schedule.settings.time_zone).map_err(refused)?;
        let offset_ms = schedule.settings.offset_ms(reader.account(), &id);
        let first = schedule.next.map(|next| next.tick);
        let ticks = ticks(&rhythm, first, offset_ms, request.ticks);
        Ok(Response::new(pb::GetScheduleResponse { schedule: Some(shown(&id, &schedule)), ticks }))
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Result<Response<pb::ListSchedulesResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let owner = self.0.router.account(reader.account()).map_err(Refused::from)?;
        let owner = owner.ok_or_else(|| Refused::absent("account", reader.account().as_str()))?;
        let schedules = owner.schedules.iter().map(|(id, schedule)| shown(id, schedule)).collect();
        Ok(Response::new(pb::ListSchedulesResponse { schedules }))
    }

    async fn update_schedule(
        &self,
        request: Request<pb::UpdateScheduleRequest>,
    ) -> Result<Response<pb::UpdateScheduleResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let id: ScheduleId = wire::id("schedule_id", &request.schedule_id)?;
        let settings = settings(&self.0, request.settings.unwrap_or_default())?;
        let command = Command::UpdateSchedule { schedule: id.clone(), settings };
        let schedule = Some(self.done(&writer, &id, command, &correlation).await?);
        Ok(Response::new(pb::UpdateScheduleResponse { schedule }))
    }

    async fn pause_schedule(
        &self,
        request: Request<pb::PauseScheduleRequest>,
    ) -> Result<Response<pb::PauseScheduleResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let id: ScheduleId = wire::id("schedule_id", &request.schedule_id)?;
        let command = Command::PauseSchedule { schedule: id.clone() };
        let schedule = Some(self.done(&writer, &id, command, &correlation).await?);
        Ok(Response::new(pb::PauseScheduleResponse { schedule }))
    }

    async fn resume_schedule(
        &self,
        request: Request<pb::ResumeScheduleRequest>,
    ) -> Result<Response<pb::ResumeScheduleResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let id: ScheduleId = wire::id("schedule_id", &request.schedule_id)?;
        let command = Command::ResumeSchedule { schedule: id.clone() };
        let schedule = Some(self.done(&writer, &id, command, &correlation).await?);
        Ok(Response::new(pb::ResumeScheduleResponse { schedule }))
    }

    async fn delete_schedule(
        &self,
        request: Request<pb::DeleteScheduleRequest>,
    ) -> Result<Response<pb::DeleteScheduleResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("DeleteSchedule", "", retry_key, &request);
        let command = Command::DeleteSchedule { schedule: wire::id("schedule_id", &request.schedule_id)? };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::DeleteScheduleResponse {}))
    }

    async fn preview_schedule(
        &self,
        request: Request<pb::PreviewScheduleRequest>,
    ) -> Result<Response<pb::PreviewScheduleResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        check_ticks(request.ticks)?;
        let rhythm = Rhythm::parse(&request.expression, &request.time_zone).map_err(refused)?;
        if request.smoothing_ms > SMOOTHING_MS_MAX {
            return Err(Refused::field("smoothing_ms", format!("must be at most {SMOOTHING_MS_MAX}, a day")).into());
        }
        let offset_ms = if request.schedule_id.is_empty() {
            0
        } else {
            let id: ScheduleId = wire::id("schedule_id", &request.schedule_id)?;
            smoothing_offset_ms(reader.account(), &id, request.smoothing_ms)
        };
        let after = if request.after_ms == 0 { self.0.clock.now() } else { Timestamp(request.after_ms) };
        let count = if request.ticks == 0 { TICKS_DEFAULT } else { request.ticks };
        let ticks = ticks(&rhythm, rhythm.next_after(after), offset_ms, count);
        Ok(Response::new(pb::PreviewScheduleResponse { ticks }))
    }
}

fn check_ticks(ticks: u32) -> Result<(), Refused> {
    if ticks <= TICKS_MAX { Ok(()) } else { Err(Refused::field("ticks", format!("must be at most {TICKS_MAX}"))) }
}

fn refused(wrong: RhythmError) -> Refused {
    Refused::field(wrong.field, wrong.rule)
}

/// Ticks from one on.
fn ticks(rhythm: &Rhythm, first: Option<Timestamp>, offset_ms: u64, count: u32) -> Vec<pb::Tick> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let ticks = std::iter::successors(first, |tick| rhythm.next_after(*tick)).take(count);
    ticks.map(|tick| told(rhythm, Planned { tick, due: Timestamp(tick.0.saturating_add(offset_ms)) })).collect()
}

fn told(rhythm: &Rhythm, planned: Planned) -> pb::Tick {
    pb::Tick { tick_ms: planned.tick.0, due_ms: planned.due.0, local_time: rhythm.local(planned.tick) }
}

fn settings(gateway: &Gateway, asked: pb::ScheduleSettings) -> Result<ScheduleSettings, Refused> {
    let missed = match asked.missed() {
        pb::MissedTicks::Unspecified if asked.missed != 0 => {
            return Err(Refused::field("missed", "must be all, latest or none".to_owned()));
        }
        pb::MissedTicks::All => Missed::All,
        pb::MissedTicks::Unspecified | pb::MissedTicks::Latest => Missed::Latest,
        pb::MissedTicks::None => Missed::None,
    };
    let overlap = match asked.overlap() {
        pb::Overlap::Unspecified if asked.overlap != 0 => {
            return Err(Refused::field("overlap", "must be allow or skip".to_owned()));
        }
        pb::Overlap::Unspecified | pb::Overlap::Allow => Overlap::Allow,
        pb::Overlap::Skip => Overlap::Skip,
    };
    let job = kind("job_kind", &asked.job_kind)?;
    Ok(ScheduleSettings {
        job,
        input: wire::job_input(gateway, job, &asked.input_json)?,
        priority: priority(asked.priority)?,
        within_ms: asked.within_ms,
        missed,
        overlap,
        smoothing_ms: asked.smoothing_ms,
        expression: asked.expression,
        time_zone: asked.time_zone,
    })
}

fn shown(id: &ScheduleId, schedule: &Schedule) -> pb::Schedule {
    let settings = &schedule.settings;
    let missed = match settings.missed {
        Missed::All => pb::MissedTicks::All,
        Missed::Latest => pb::MissedTicks::Latest,
        Missed::None => pb::MissedTicks::None,
    };
    let overlap = match settings.overlap {
        Overlap::Allow => pb::Overlap::Allow,
        Overlap::Skip => pb::Overlap::Skip,
    };
    // A zone that this release does not know has no local times.
    let rhythm = Rhythm::parse(&settings.expression, &settings.time_zone).ok();
    let told = |next: Planned| rhythm.as_ref().map(|rhythm| told(rhythm, next));
    pb::Schedule {
        schedule_id: id.to_string(),
        settings: Some(pb::ScheduleSettings {
            expression: settings.expression.clone(),
            time_zone: settings.time_zone.clone(),
            job_kind: settings.job.as_str().to_owned(),
            input_json: settings.input.to_string(),
            priority: settings.priority.number(),
            within_ms: settings.within_ms,
            missed: missed.into(),
            overlap: overlap.into(),
            smoothing_ms: settings.smoothing_ms,
        }),
        created_at_ms: schedule.created_at.0,
        paused: schedule.is_paused,
        next: schedule.next.and_then(told),
        last_tick_ms: view::or_zero(schedule.last_tick),
        last_job_id: schedule.last_job.as_ref().map(ToString::to_string).unwrap_or_default(),
        taken_total: schedule.taken,
        skipped_total: schedule.skipped,
    }
}
