//! The node's API as a client of ours would use it.

use serde_json::Value;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::account::v1::{CreateAccountRequest, CreateApiKeyRequest, Playbook, PutPlaybookRequest, Role};
use steward_proto::admin::v1::admin_service_client::AdminServiceClient;
use steward_proto::blob::v1::blob_service_client::BlobServiceClient;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::event::v1::{Event, ListEventsRequest};
use steward_proto::job::v1::job_service_client::JobServiceClient;
use steward_proto::job::v1::{CancelJobRequest, CreateJobRequest, GetJobRequest, Job, ReadBlobRequest, Task};
use steward_proto::schedule::v1::schedule_service_client::ScheduleServiceClient;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;
use steward_proto::webhook::v1::{CreateEndpointRequest, CreateSourceRequest, Endpoint, ListEndpointsRequest};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::feed::Follow;

/// The largest event a test reads: a webhook's body, escaped.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A channel that carries a key.
pub type Line = InterceptedService<Channel, Bearer>;

/// Puts the key on every request; without one nothing is put.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// All services over one connection, and the requests that tests make most.
#[derive(Clone)]
pub struct Api(Line);

impl Api {
    /// Connects; an empty key means none.
    pub async fn connect(url: &str, key: &str) -> Self {
        Self::try_connect(url, key).await.expect("the node accepts connections")
    }

    /// Connects to a node that may be down.
    pub async fn try_connect(url: &str, key: &str) -> Result<Self, tonic::transport::Error> {
        let bearer = (!key.is_empty()).then(|| format!("Bearer {key}").parse().expect("a key is a header"));
        let channel = Channel::from_shared(url.to_owned()).expect("the node's address is a URL").connect().await?;
        Ok(Self(InterceptedService::new(channel, Bearer(bearer))))
    }

    #[must_use]
    pub fn accounts(&self) -> AccountServiceClient<Line> {
        AccountServiceClient::new(self.0.clone())
    }

    #[must_use]
    pub fn webhooks(&self) -> WebhookServiceClient<Line> {
        WebhookServiceClient::new(self.0.clone())
    }

    #[must_use]
    pub fn jobs(&self) -> JobServiceClient<Line> {
        JobServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    #[must_use]
    pub fn blobs(&self) -> BlobServiceClient<Line> {
        BlobServiceClient::new(self.0.clone())
    }

    pub fn schedules(&self) -> ScheduleServiceClient<Line> {
        ScheduleServiceClient::new(self.0.clone())
    }

    #[must_use]
    pub fn events(&self) -> EventServiceClient<Line> {
        EventServiceClient::new(self.0.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Line> {
        AdminServiceClient::new(self.0.clone())
    }

    pub async fn create_account(&self, account: &str) {
        let request = CreateAccountRequest { account_id: account.to_owned(), ..CreateAccountRequest::default() };
        self.accounts().create_account(request).await.expect("the account is created");
    }

    /// Makes a source; returns the path to post to.
    pub async fn create_source(&self, account: &str, source: &str, scheme: &str, secret: &str) -> String {
        let request = CreateSourceRequest {
            account_id: account.to_owned(),
            source_id: source.to_owned(),
            scheme: scheme.to_owned(),
            secrets: vec![secret.to_owned()],
            tolerance_s: 0,
            public_url: String::new(),
        };
        let created = self.webhooks().create_source(request).await.expect("the source is created");
        created.into_inner().source.expect("the answer has the source").path
    }

    /// Makes a key; returns its id and its text.
    pub async fn create_key(&self, account: &str, role: Role, expires_at_ms: u64) -> (String, String) {
        let (account_id, label) = (account.to_owned(), String::new());
        let request = CreateApiKeyRequest { account_id, role: role.into(), label, expires_at_ms };
        let created = self.accounts().create_api_key(request).await.expect("the key is created").into_inner();
        (created.key.expect("the answer has the key").key_id, created.secret)
    }

    pub async fn put_playbook(&self, account: &str, on: &str, job_kind: &str, input: &Value) {
        let playbook = Playbook {
            playbook_id: "playbook".to_owned(),
            on: on.to_owned(),
            job_kind: job_kind.to_owned(),
            input_json: input.to_string(),
        };
        let request = PutPlaybookRequest { account_id: account.to_owned(), playbook: Some(playbook) };
        self.accounts().put_playbook(request).await.expect("the playbook is put");
    }

    pub async fn create_endpoint(&self, account: &str, endpoint: &str, url: &str, pattern: &str, secret: &str) {
        let request = CreateEndpointRequest {
            account_id: account.to_owned(),
            endpoint_id: endpoint.to_owned(),
            url: url.to_owned(),
            patterns: vec![pattern.to_owned()],
            secret: secret.to_owned(),
            ..CreateEndpointRequest::default()
        };
        self.webhooks().create_endpoint(request).await.expect("the endpoint is created");
    }

    /// The endpoint of this name.
    pub async fn endpoint(&self, account: &str, endpoint: &str) -> Endpoint {
        let request = ListEndpointsRequest { account_id: account.to_owned() };
        let listed = self.webhooks().list_endpoints(request).await.expect("endpoints are listed").into_inner();
        listed.endpoints.into_iter().find(|found| found.endpoint_id == endpoint).expect("the endpoint is there")
    }

    /// The whole feed, page by page; checked to be gapless.
    pub async fn feed(&self, account: &str) -> Vec<Event> {
        let mut events: Vec<Event> = vec![];
        loop {
            let after_seq = events.last().map_or(0, |last| last.seq);
            let request =
                ListEventsRequest { account_id: account.to_owned(), after_seq, types: vec![], page_size: 500 };
            let page = self.events().list_events(request).await.expect("events are listed").into_inner();
            for event in page.events {
                let wanted = events.last().map_or(1, |last| last.seq + 1);
                assert_eq!(event.seq, wanted, "the feed of {account} has a gap");
                events.push(event);
            }
            if page.at_end {
                return events;
            }
        }
    }

    /// The events of one type.
    pub async fn feed_of(&self, account: &str, event_type: &str) -> Vec<Event> {
        let mut events = self.feed(account).await;
        events.retain(|event| event.r#type == event_type);
        events
    }

    /// Follows the feed after this event number.
    pub async fn follow(&self, account: &str, after_seq: u64) -> Follow {
        Follow::open(self.events(), account, after_seq).await
    }

    /// Asks for a job; returns its id.
    pub async fn create_job(&self, account: &str, kind: &str, input: &Value) -> String {
        let request = CreateJobRequest {
            account_id: account.to_owned(),
            kind: kind.to_owned(),
            input_json: input.to_string(),
            ..CreateJobRequest::default()
        };
        self.jobs().create_job(request).await.expect("the job is created").into_inner().job_id
    }

    pub async fn job(&self, account: &str, job: &str) -> Job {
        let request = GetJobRequest { account_id: account.to_owned(), job_id: job.to_owned() };
        let found = self.jobs().get_job(request).await.expect("the job is there");
        found.into_inner().job.expect("the answer has the job")
    }

    pub async fn cancel_job(&self, account: &str, job: &str) {
        let request = CancelJobRequest { account_id: account.to_owned(), job_id: job.to_owned() };
        self.jobs().cancel_job(request).await.expect("the job is cancelled");
    }

    pub async fn blob(&self, account: &str, hash: &str) -> Vec<u8> {
        let request = ReadBlobRequest { account_id: account.to_owned(), hash: hash.to_owned() };
        let mut stream = self.jobs().read_blob(request).await.expect("the blob is there").into_inner();
        let mut bytes = vec![];
        while let Some(part) = stream.message().await.expect("the blob is read") {
            bytes.extend_from_slice(&part.chunk);
        }
        bytes
    }

    /// A task of a job, and its result; null when it has none.
    ///
    /// # Panics
    /// When the job has no such task.
    #[track_caller]
    #[must_use]
    pub fn task(job: &Job, kind: &str) -> (Task, Value) {
        let found = job.tasks.iter().find(|task| task.kind == kind);
        let task = found.unwrap_or_else(|| panic!("the job has no task {kind}: {job:?}")).clone();
        let result = serde_json::from_str(&task.result_json).unwrap_or(Value::Null);
        (task, result)
    }
}
