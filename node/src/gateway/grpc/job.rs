//! `JobService`: video and AI work, and the blobs it makes.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use steward_actors::domain::account::Command;
use steward_actors::domain::ids::JobId;
use steward_actors::domain::job::{Job, JobKind, JobOptions, JobState, Priority};
use steward_actors::domain::task::{TASK_KINDS, TaskId, TaskKind};
use steward_actors::task::{Slots, TaskBoard};
use steward_cluster::clock::Timestamp;
use steward_proto::job::v1::job_service_server::JobService;
use steward_proto::job::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::{view, wire};
use crate::gateway::error::{Code, Refused};
use crate::gateway::{Gateway, blob, page};

/// Jobs that one page of a redrive looks at.
const REDRIVE_PAGE: usize = 1_000;

pub(super) struct Jobs {
    pub(super) gateway: Arc<Gateway>,
    pub(super) tasks: Arc<TaskBoard>,
    pub(super) slots: Slots,
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(
        &self,
        request: Request<pb::CreateJobRequest>,
    ) -> Result<Response<pb::CreateJobResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let kind = kind("kind", &request.kind)?;
        let options = options(&request)?;
        let input = wire::job_input(&self.gateway, kind, &request.input_json)?;
        let idempotency = wire::idempotency("CreateJob", &request.idempotency_key, retry_key, &request);
        let command = Command::CreateJob { kind, input, options };
        let answer = self.gateway.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::CreateJobResponse { job_id: answer.id, seq: answer.seq }))
    }

    async fn get_job(&self, request: Request<pb::GetJobRequest>) -> Result<Response<pb::GetJobResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let id: JobId = wire::id("job_id", &request.job_id)?;
        let found = self.gateway.router.reads().job(reader.account(), &id).map_err(Refused::from)?;
        let job = found.ok_or_else(|| Refused::absent("job", id.as_str()))?;
        Ok(Response::new(pb::GetJobResponse { job: Some(view::job(&id, &job)) }))
    }

    async fn list_jobs(&self, request: Request<pb::ListJobsRequest>) -> Result<Response<pb::ListJobsResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let size = page::page_size(request.page_size)?;
        let before = page::start(&request.page_token)?;
        let before = before.map(|text| text.parse().map_err(|_| page::unknown_token())).transpose()?;
        let wanted = Wanted::of(&request)?;
        let found = self.gateway.router.reads().jobs(reader.account(), before, size).map_err(Refused::from)?;
        let next_page_token = next_page(&found, size);
        let jobs = found.iter().filter(|(_, job)| wanted.has(job)).map(|(id, job)| view::listed(id, job)).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token }))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let idempotency = wire::idempotency("CancelJob", "", retry_key, &request);
        let command = Command::CancelJob { job: wire::id("job_id", &request.job_id)? };
        self.gateway.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::CancelJobResponse {}))
    }

    async fn pause_job(&self, request: Request<pb::PauseJobRequest>) -> Result<Response<pb::PauseJobResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let command = Command::PauseJob { job: wire::id("job_id", &request.job_id)? };
        self.gateway.router.execute(&writer, command, &correlation, None).await?;
        Ok(Response::new(pb::PauseJobResponse {}))
    }

    async fn resume_job(
        &self,
        request: Request<pb::ResumeJobRequest>,
    ) -> Result<Response<pb::ResumeJobResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let command = Command::ResumeJob { job: wire::id("job_id", &request.job_id)? };
        self.gateway.router.execute(&writer, command, &correlation, None).await?;
        Ok(Response::new(pb::ResumeJobResponse {}))
    }

    async fn restart_job(
        &self,
        request: Request<pb::RestartJobRequest>,
    ) -> Result<Response<pb::RestartJobResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let idempotency = wire::idempotency("RestartJob", "", retry_key, &request);
        let from = Some(request.from_task.as_str()).filter(|from| !from.is_empty());
        let from = from.map(|from| task("from_task", from)).transpose()?;
        let command = Command::RestartJob { job: wire::id("job_id", &request.job_id)?, from };
        self.gateway.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::RestartJobResponse {}))
    }

    async fn redrive_jobs(
        &self,
        request: Request<pb::RedriveJobsRequest>,
    ) -> Result<Response<pb::RedriveJobsResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.gateway, request)?;
        let writer = caller.account_writer(&self.gateway.auth, &request.account_id)?;
        let before = page::start(&request.page_token)?;
        let before = before.map(|text| text.parse().map_err(|_| page::unknown_token())).transpose()?;
        let wanted = Wanted::failed(&request)?;
        let found = self.gateway.router.reads().jobs(writer.account(), before, REDRIVE_PAGE).map_err(Refused::from)?;
        let mut jobs = 0;
        for (id, _) in found.iter().filter(|(_, job)| wanted.has(job)) {
            if request.dry_run {
                jobs += 1;
                continue;
            }
            let command = Command::RestartJob { job: id.clone(), from: None };
            match self.gateway.router.execute(&writer, command, &correlation, None).await {
                Ok(_) => jobs += 1,
                // Somebody was quicker, or it has just been forgotten.
                Err(refused) if matches!(refused.code, Code::JobState | Code::NotFound) => {}
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok(Response::new(pb::RedriveJobsResponse { jobs, next_page_token: next_page(&found, REDRIVE_PAGE) }))
    }

    async fn explain_task(
        &self,
        request: Request<pb::ExplainTaskRequest>,
    ) -> Result<Response<pb::ExplainTaskResponse>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let id: JobId = wire::id("job_id", &request.job_id)?;
        let task = task("task", &request.task)?;
        let found = self.gateway.router.reads().job(reader.account(), &id).map_err(Refused::from)?;
        let job = found.ok_or_else(|| Refused::absent("job", id.as_str()))?;
        let explained = self.tasks.explain(reader.account(), &id, &job, task, self.slots);
        let explained = explained.ok_or_else(|| Refused::absent("task", &task.to_string()))?;
        Ok(Response::new(pb::ExplainTaskResponse {
            gate: explained.gate.as_str().to_owned(),
            since_ms: view::or_zero(explained.since),
            opens_at_ms: view::or_zero(explained.opens_at),
            message: explained.gate.to_string(),
        }))
    }

    type ReadBlobStream = BoxStream<'static, Result<pb::ReadBlobResponse, Status>>;

    async fn read_blob(&self, request: Request<pb::ReadBlobRequest>) -> Result<Response<Self::ReadBlobStream>, Status> {
        let (caller, _, request) = wire::open(&self.gateway, request)?;
        let reader = caller.account_reader(&self.gateway.auth, &request.account_id)?;
        let opened = blob::open(&self.gateway, &reader, &request.hash).await?;
        let chunks = blob::chunks(opened.file)
            .map_ok(|chunk| pb::ReadBlobResponse { chunk: chunk.into() })
            .map_err(|error| blob::unreadable(&error).status());
        Ok(Response::new(chunks.boxed()))
    }
}

/// Which jobs of a list are wanted.
#[derive(Default)]
struct Wanted {
    state: Option<JobState>,
    kind: Option<JobKind>,
    error_code: String,
    ended: Option<(u64, u64)>,
}

impl Wanted {
    fn of(request: &pb::ListJobsRequest) -> Result<Self, Refused> {
        let state = match request.state() {
            pb::JobState::Unspecified if request.state != 0 => {
                return Err(Refused::field("state", "must be one of the states of a job".to_owned()));
            }
            pb::JobState::Unspecified => None,
            pb::JobState::Running => Some(JobState::Running),
            pb::JobState::Succeeded => Some(JobState::Succeeded),
            pb::JobState::Failed => Some(JobState::Failed),
            pb::JobState::Cancelled => Some(JobState::Cancelled),
        };
        Ok(Self { state, kind: some_kind(&request.kind)?, ..Self::default() })
    }

    fn failed(request: &pb::RedriveJobsRequest) -> Result<Self, Refused> {
        let before = if request.ended_before_ms == 0 { u64::MAX } else { request.ended_before_ms };
        Ok(Self {
            state: Some(JobState::Failed),
            kind: some_kind(&request.kind)?,
            error_code: request.error_code.clone(),
            ended: Some((request.ended_after_ms, before)),
        })
    }

    fn has(&self, job: &Job) -> bool {
        let code = job.failure.as_ref().map(|failure| failure.code.as_str()).unwrap_or_default();
        let ended_at = job.ended_at.unwrap_or_default().0;
        self.state.is_none_or(|state| state == job.state)
            && self.kind.is_none_or(|kind| kind == job.kind)
            && (self.error_code.is_empty() || self.error_code == code)
            && self.ended.is_none_or(|(after, before)| (after..before).contains(&ended_at))
    }
}

/// The token of the page behind this one; empty when there is none.
fn next_page(found: &[(JobId, Job)], size: usize) -> String {
    let last = found.last().filter(|_| found.len() == size);
    last.map(|(_, job)| page::token(&job.seq.to_string())).unwrap_or_default()
}

/// The kind of a job, in a field.
pub(super) fn kind(field: &'static str, name: &str) -> Result<JobKind, Refused> {
    JobKind::parse(name).ok_or_else(|| {
        let kinds = TASK_KINDS.into_iter().map(TaskKind::as_str).filter(|kind| JobKind::parse(kind).is_some());
        let kinds: Vec<&str> = std::iter::once("call").chain(kinds).collect();
        Refused::field(field, format!("must be one of {}", kinds.join(", ")))
    })
}

fn some_kind(name: &str) -> Result<Option<JobKind>, Refused> {
    if name.is_empty() { Ok(None) } else { kind("kind", name).map(Some) }
}

fn task(field: &'static str, name: &str) -> Result<TaskId, Refused> {
    TaskId::parse(name).ok_or_else(|| Refused::field(field, "must be the name of a task, such as normalize".to_owned()))
}

/// A priority; 0 is the usual one.
pub(super) fn priority(number: u32) -> Result<Priority, Refused> {
    match number {
        0 => Ok(Priority::USUAL),
        number => Priority::of_number(number)
            .ok_or_else(|| Refused::field("priority", "must be 1 to 5, or 0 for the usual one".to_owned())),
    }
}

fn options(request: &pb::CreateJobRequest) -> Result<JobOptions, Refused> {
    let priority = priority(request.priority)?;
    let time = |ms: u64| Some(Timestamp(ms)).filter(|_| ms != 0);
    Ok(JobOptions { priority, start_at: time(request.start_at_ms), deadline_at: time(request.deadline_at_ms) })
}
