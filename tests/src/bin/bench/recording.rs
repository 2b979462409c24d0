//! Recordings and jobs on them: brought to a node, asked for, waited for. Used by the families that work on media.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::account::v1::CreateAccountRequest;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::blob::v1::blob_service_client::BlobServiceClient;
use steward_proto::blob::v1::upload_blob_request::Part;
use steward_proto::blob::v1::{CreateUploadRequest, UploadBegin, UploadBlobRequest};
use steward_proto::job::v1::job_service_client::JobServiceClient;
use steward_proto::job::v1::{CreateJobRequest, GetJobRequest, Job, JobState};
use tonic::Code;

use crate::node::Api;

/// The account of all recordings.
pub(crate) const ACCOUNT: &str = "media";
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ENDS_MAX: Duration = Duration::from_secs(900);
const UPLOAD_CHUNK_BYTES: usize = 128 << 10;

/// Brings a recording to the account, which is made when it is not there.
pub(crate) async fn upload(api: &Api, file: &Path) -> anyhow::Result<String> {
    let account = CreateAccountRequest { account_id: ACCOUNT.to_owned(), ..CreateAccountRequest::default() };
    match AccountServiceClient::new(api.clone()).create_account(account).await {
        Err(status) if status.code() != Code::AlreadyExists => return Err(status).context("the account is refused"),
        Ok(_) | Err(_) => {}
    }
    let bytes = fs::read(file).context("the recording is gone")?;
    let mut blobs = BlobServiceClient::new(api.clone());
    let length = u64::try_from(bytes.len()).context("the recording is too long")?;
    let request =
        CreateUploadRequest { account_id: ACCOUNT.to_owned(), bytes: length, ..CreateUploadRequest::default() };
    let upload_id = blobs.create_upload(request).await.context("the upload is refused")?.into_inner().upload_id;
    let begin = UploadBegin { account_id: ACCOUNT.to_owned(), upload_id, offset: 0 };
    let chunks: Vec<Part> = bytes.chunks(UPLOAD_CHUNK_BYTES).map(|chunk| Part::Chunk(chunk.to_vec())).collect();
    let parts = std::iter::once(Part::Begin(begin)).chain(chunks);
    let messages = futures_util::stream::iter(parts.map(|part| UploadBlobRequest { part: Some(part) }));
    Ok(blobs.upload_blob(messages).await.context("the upload broke")?.into_inner().hash)
}

/// Asks for a job on a recording and waits for it; answers the job, and what its own task made.
pub(crate) async fn done(api: &Api, kind: &str, blob: &str) -> anyhow::Result<(Job, Value)> {
    let mut jobs = JobServiceClient::new(api.clone());
    let request = CreateJobRequest {
        account_id: ACCOUNT.to_owned(),
        kind: kind.to_owned(),
        input_json: json!({ "blob": blob }).to_string(),
        ..CreateJobRequest::default()
    };
    let job_id = jobs.create_job(request).await.context("the job is refused")?.into_inner().job_id;
    let clock = SystemClock::new();
    loop {
        let request = GetJobRequest { account_id: ACCOUNT.to_owned(), job_id: job_id.clone() };
        let found = jobs.get_job(request).await.context("the job cannot be read")?.into_inner();
        let job = found.job.context("the answer has no job")?;
        match job.state() {
            JobState::Succeeded => {
                let made = job.tasks.iter().find(|task| task.kind == kind).context("nothing was made")?;
                let result = serde_json::from_str(&made.result_json).context("the result is no JSON")?;
                return Ok((job, result));
            }
            JobState::Failed | JobState::Cancelled => bail!("the job failed: {}", job.error_message),
            JobState::Running | JobState::Unspecified => {}
        }
        ensure!(clock.monotonic() < ENDS_MAX, "the job does not end");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
