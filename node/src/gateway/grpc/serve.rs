//! The gRPC server: services, health, reflection and limits.

use std::sync::Arc;
use std::time::Duration;

use steward_proto::DESCRIPTORS;
use steward_proto::account::v1::account_service_server::AccountServiceServer;
use steward_proto::admin::v1::admin_service_server::AdminServiceServer;
use steward_proto::blob::v1::blob_service_server::BlobServiceServer;
use steward_proto::event::v1::event_service_server::EventServiceServer;
use steward_proto::job::v1::job_service_server::JobServiceServer;
use steward_proto::schedule::v1::schedule_service_server::ScheduleServiceServer;
use steward_proto::webhook::v1::webhook_service_server::WebhookServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::util::option_layer;

use super::account::Accounts;
use super::admin::{Admin, Operations};
use super::blob::Blobs;
use super::connection::{CallersLayer, incoming};
use super::event::Events;
use super::forward::ForwardLayer;
use super::job::Jobs;
use super::schedule::Schedules;
use super::subscribe::Subscriptions;
use super::subscribe_all::SubscriptionsToAll;
use super::webhook::Webhooks;
use crate::gateway::Gateway;
use crate::gateway::correlation::CorrelationLayer;
use crate::gateway::forward::Forwarder;
use crate::gateway::places::Places;
use crate::metrics::Listener;

/// The largest request: a job's input and some names.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// The largest head of a request.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Requests of one connection at the same time.
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Streams that a client may open and reset at once before its connection is closed.
const PENDING_RESETS_MAX: usize = 64;
/// How often idle connections are asked whether they are there, and how long they may take to say so.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What this node answers itself: for its clients, and for other nodes. `stop` ends its streams.
pub(crate) fn services(
    gateway: Arc<Gateway>,
    operations: Operations,
    subscriptions_max: usize,
    stop: CancellationToken,
) -> Routes {
    // The node as a whole counts as serving from the start.
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
        .expect("the descriptors come from the same build");
    let accounts = AccountServiceServer::new(Accounts(Arc::clone(&gateway)));
    let webhooks = WebhookServiceServer::new(Webhooks(Arc::clone(&gateway)));
    let (tasks, slots) = (Arc::clone(&operations.tasks), operations.slots);
    let jobs = JobServiceServer::new(Jobs { gateway: Arc::clone(&gateway), tasks, slots });
    let blobs = BlobServiceServer::new(Blobs(Arc::clone(&gateway)));
    let schedules = ScheduleServiceServer::new(Schedules(Arc::clone(&gateway)));
    let subscriptions = Subscriptions::new(subscriptions_max, stop);
    let to_all = SubscriptionsToAll::default();
    let events = EventServiceServer::new(Events { gateway: Arc::clone(&gateway), subscriptions, to_all });
    let admin = AdminServiceServer::new(Admin { gateway, operations });
    Routes::new(health)
        .add_service(reflection)
        .add_service(accounts.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(webhooks.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(jobs.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(blobs.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(schedules.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(events.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(admin.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Serves until `stop`, then lets requests in hand finish.
pub(crate) async fn serve(
    listener: TcpListener,
    services: Routes,
    forwarder: Option<Arc<Forwarder>>,
    connections_max: usize,
    stop: CancellationToken,
) {
    let places = Places::new(connections_max, Listener::Grpc);
    let served = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_header_list_size(HEAD_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(CallersLayer)
        .layer(CorrelationLayer)
        .layer(option_layer(forwarder.map(ForwardLayer)))
        .add_routes(services)
        .serve_with_incoming_shutdown(incoming(listener, places), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, "the API stopped serving");
    }
}
