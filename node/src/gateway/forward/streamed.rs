//! Requests whose bodies are too large to keep: passed on once, as they come.

use ::http::uri::PathAndQuery;
use ::http::{Request, Response, Uri, Version};
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;
use steward_cluster::ids::NodeId;

use super::headers::{FORWARDED, HOLDER, put_node, take_connection, take_private};
use super::{Body, Forwarder, Leader, Unreachable};
use crate::gateway::correlation::{CorrelationId, REQUEST_ID};
use crate::gateway::error::{Code, Refused};

impl Forwarder {
    /// Who answers for an account, as far as this node knows.
    pub(crate) fn leader_of(&self, account: &AccountId) -> Leader {
        self.whereabouts.leader(shard_of(account, self.shards))
    }

    /// Makes a request at another node, once. `to_holder`: its caller is known, and the node has what it is about.
    pub(crate) async fn stream(
        &self,
        to: NodeId,
        to_holder: bool,
        request: Request<Body>,
        correlation: &CorrelationId,
    ) -> Result<Response<Body>, Refused> {
        let (head, body) = request.into_parts();
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.version_mut() = Version::HTTP_2;
        let path = head.uri.path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        let mut headers = head.headers;
        take_connection(&mut headers);
        take_private(&mut headers);
        put_node(&mut headers, FORWARDED, self.node);
        if to_holder {
            put_node(&mut headers, HOLDER, to);
        }
        headers.insert(REQUEST_ID, correlation.header());
        *request.headers_mut() = headers;
        let mut answer = self.reach.stream(to, request).await.map_err(|error| {
            let cause: &dyn std::error::Error = &error;
            tracing::debug!(node = to.0, error = cause, "a request could not be passed on");
            match error {
                Unreachable::NotSent(_) => Refused::new(Code::NotLed, format!("{to} cannot be reached")),
                Unreachable::Broken(_) => Refused::new(Code::OutcomeUnknown, format!("{to} did not answer")),
            }
        })?;
        take_private(answer.headers_mut());
        Ok(answer)
    }
}
