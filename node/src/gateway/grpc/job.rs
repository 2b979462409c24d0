//! `JobService`: video and AI work, and the blobs it makes.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use steward_actors::domain::account::Command;
use steward_actors::domain::ids::JobId;
use steward_actors::domain::job::JobKind;
use steward_proto::job::v1::job_service_server::JobService;
use steward_proto::job::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::{view, wire};
use crate::gateway::error::Refused;
use crate::gateway::{Gateway, blob, page};

pub(super) struct Jobs(pub(super) Arc<Gateway>);

#[tonic::async_trait]
impl JobService for Jobs {
    async fn create_job(
        &self,
        request: Request<pb::CreateJobRequest>,
    ) -> Result<Response<pb::CreateJobResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let kind = JobKind::parse(&request.kind).ok_or_else(|| {
            let kinds =
                "call, probe, normalize, thumbnail, transcript, summarize, index, chat, embed, search or answer";
            Refused::field("kind", format!("must be one of {kinds}"))
        })?;
        let input = wire::object("input_json", &request.input_json)?;
        let idempotency = wire::idempotency("CreateJob", &request.idempotency_key, retry_key, &request);
        let command = Command::CreateJob { kind, input };
        let answer = self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::CreateJobResponse { job_id: answer.id, seq: answer.seq }))
    }

    async fn get_job(&self, request: Request<pb::GetJobRequest>) -> Result<Response<pb::GetJobResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let id: JobId = wire::id("job_id", &request.job_id)?;
        let found = self.0.router.reads().job(reader.account(), &id).map_err(Refused::from)?;
        let job = found.ok_or_else(|| Refused::absent("job", id.as_str()))?;
        Ok(Response::new(pb::GetJobResponse { job: Some(view::job(&id, &job)) }))
    }

    async fn list_jobs(&self, request: Request<pb::ListJobsRequest>) -> Result<Response<pb::ListJobsResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let size = page::page_size(request.page_size)?;
        let before = page::start(&request.page_token)?;
        let before = before.map(|text| text.parse().map_err(|_| page::unknown_token())).transpose()?;
        let found = self.0.router.reads().jobs(reader.account(), before, size).map_err(Refused::from)?;
        let last = found.last().filter(|_| found.len() == size);
        let next_page_token = last.map(|(_, job)| page::token(&job.seq.to_string())).unwrap_or_default();
        let jobs = found.iter().map(|(id, job)| view::job(id, job)).collect();
        Ok(Response::new(pb::ListJobsResponse { jobs, next_page_token }))
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Result<Response<pb::CancelJobResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("CancelJob", "", retry_key, &request);
        let command = Command::CancelJob { job: wire::id("job_id", &request.job_id)? };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::CancelJobResponse {}))
    }

    type ReadBlobStream = BoxStream<'static, Result<pb::ReadBlobResponse, Status>>;

    async fn read_blob(&self, request: Request<pb::ReadBlobRequest>) -> Result<Response<Self::ReadBlobStream>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let opened = blob::open(&self.0, &reader, &request.hash).await?;
        let chunks = blob::chunks(opened.file)
            .map_ok(|chunk| pb::ReadBlobResponse { chunk: chunk.into() })
            .map_err(|error| blob::unreadable(&error).status());
        Ok(Response::new(chunks.boxed()))
    }
}
