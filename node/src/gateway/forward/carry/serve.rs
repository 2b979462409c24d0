//! The side that answers: calls that came together are worked on apart, and answered as they are done.

use std::pin::Pin;
use std::sync::Arc;

use ::http::{Request, Response};
use futures_util::future::BoxFuture;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt as _, Limited};
use steward_actors::supervisor;
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::call_service_server::{CallService, CallServiceServer};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::form;
use super::{ANSWER_BYTES_MAX, AT_WORK_MAX, MESSAGE_BYTES_MAX, MESSAGE_CALLS_MAX, WAITING_MAX};
use crate::gateway::forward::Body;

/// Answers a request that another node passed on.
type Handler = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Answers other nodes.
pub(crate) struct CallServer {
    handler: Handler,
    stop: CancellationToken,
}

impl CallServer {
    /// As the internal port serves it. Streams end with `stop`, after what came before is answered.
    pub(crate) fn service(handler: Handler, stop: CancellationToken) -> CallServiceServer<Self> {
        CallServiceServer::new(Self { handler, stop })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl CallService for CallServer {
    type CarryStream = Pin<Box<dyn Stream<Item = Result<pb::Answers, Status>> + Send>>;

    async fn carry(
        &self,
        request: tonic::Request<Streaming<pb::Calls>>,
    ) -> Result<tonic::Response<Self::CarryStream>, Status> {
        let (answers, answered) = mpsc::channel(WAITING_MAX);
        let working = work(request.into_inner(), Arc::clone(&self.handler), answers, self.stop.clone());
        supervisor::spawn("calls", working);
        Ok(tonic::Response::new(Box::pin(stream::unfold(answered, next))))
    }
}

/// Starts what comes until the stream or the node ends.
async fn work(
    mut inbound: Streaming<pb::Calls>,
    handler: Handler,
    answers: mpsc::Sender<pb::Answer>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(AT_WORK_MAX));
    loop {
        let message = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            message = inbound.message() => message,
        };
        // However it ends, the other side knows what it has no answer to.
        let Ok(Some(message)) = message else { return };
        for call in message.calls {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            let (handler, answers) = (Arc::clone(&handler), answers.clone());
            supervisor::spawn("call", async move {
                let answer = answer(handler, call).await;
                // When the stream is gone, so is whoever waited.
                answers.send(answer).await.ok();
                drop(place);
            });
        }
    }
}

async fn answer(handler: Handler, call: pb::Call) -> pb::Answer {
    let id = call.id;
    let nothing = pb::Answer { id, ..pb::Answer::default() };
    let request = match form::request(call) {
        Ok(request) => request,
        Err(error) => {
            let cause: &dyn std::error::Error = &error;
            tracing::warn!(error = cause, "another node sent what is no request");
            return nothing;
        }
    };
    let (head, body) = handler(request).await.into_parts();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => form::answer(id, &head, body.to_bytes()),
        Err(error) => {
            tracing::warn!(error = &*error, "an answer for another node is too long or broke off");
            nothing
        }
    }
}

async fn next(
    mut answered: mpsc::Receiver<pb::Answer>,
) -> Option<(Result<pb::Answers, Status>, mpsc::Receiver<pb::Answer>)> {
    let mut answers = Vec::with_capacity(MESSAGE_CALLS_MAX);
    let count = answered.recv_many(&mut answers, MESSAGE_CALLS_MAX).await;
    (count > 0).then(|| (Ok(pb::Answers { answers }), answered))
}
