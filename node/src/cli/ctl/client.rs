//! The connection of `steward ctl`, and its errors in one line.

use anyhow::{Context as _, anyhow};
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::admin::v1::admin_service_client::AdminServiceClient;
use steward_proto::blob::v1::blob_service_client::BlobServiceClient;
use steward_proto::event::v1::event_service_client::EventServiceClient;
use steward_proto::job::v1::job_service_client::JobServiceClient;
use steward_proto::schedule::v1::schedule_service_client::ScheduleServiceClient;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::cli::output::Out;

/// The largest event: a webhook's body and what stands around it, escaped.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) type Line = InterceptedService<Channel, Bearer>;

/// Puts the key on every request.
#[derive(Clone)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection to a node, and where answers go.
pub(super) struct Client {
    line: Line,
    pub(super) out: Out,
    pub(super) json: bool,
}

impl Client {
    pub(super) async fn connect(address: &str, key: &str, json: bool) -> anyhow::Result<Self> {
        let bearer = if key.is_empty() {
            None
        } else {
            let mut value: MetadataValue<Ascii> =
                format!("Bearer {key}").parse().map_err(|_| anyhow!("the key holds characters no key has"))?;
            value.set_sensitive(true);
            Some(value)
        };
        let endpoint = Endpoint::from_shared(address.to_owned()).with_context(|| format!("{address} is no address"))?;
        let channel = endpoint.connect().await.with_context(|| format!("no node answers at {address}"))?;
        Ok(Self { line: InterceptedService::new(channel, Bearer(bearer)), out: Out::stdout(), json })
    }

    pub(super) fn accounts(&self) -> AccountServiceClient<Line> {
        AccountServiceClient::new(self.line.clone())
    }

    pub(super) fn webhooks(&self) -> WebhookServiceClient<Line> {
        WebhookServiceClient::new(self.line.clone())
    }

    pub(super) fn jobs(&self) -> JobServiceClient<Line> {
        JobServiceClient::new(self.line.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn blobs(&self) -> BlobServiceClient<Line> {
        BlobServiceClient::new(self.line.clone())
    }

    pub(super) fn schedules(&self) -> ScheduleServiceClient<Line> {
        ScheduleServiceClient::new(self.line.clone())
    }

    pub(super) fn events(&self) -> EventServiceClient<Line> {
        EventServiceClient::new(self.line.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn admin(&self) -> AdminServiceClient<Line> {
        AdminServiceClient::new(self.line.clone())
    }
}

/// An error of the node as one line: its code, then its text. The details say nothing that the text does not.
pub(super) fn readable(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Status>() {
        Some(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            let code = reason.unwrap_or_else(|| format!("{:?}", status.code()).to_lowercase());
            anyhow!("{code}: {}", status.message())
        }
        None => error,
    }
}
