//! `WebhookService`: sources let platforms send webhooks in, endpoints send the account's events out.

use std::sync::Arc;

use ::http::Uri;
use rand::RngExt as _;
use steward_actors::domain::account::limits::SECRETS_MAX;
use steward_actors::domain::account::{Account, Command, SourceCreated};
use steward_actors::domain::ids::{AccountId, EndpointId, SourceId};
use steward_actors::domain::webhook as schemes;
use steward_proto::webhook::v1::webhook_service_server::WebhookService;
use steward_proto::webhook::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::source::check_secret;
use super::{view, wire};
use crate::gateway::Gateway;
use crate::gateway::error::{Code, Refused};

/// Random characters of a source's token.
const TOKEN_CHARS: usize = 24;
/// What tokens are made of: lower-case base32, which people do not misread.
const TOKEN_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The longest URL.
const URL_LEN_MAX: usize = 2_048;

pub(super) struct Webhooks(pub(super) Arc<Gateway>);

impl Webhooks {
    pub(super) fn existing(&self, account: &AccountId) -> Result<Account, Refused> {
        let found = self.0.router.account(account)?;
        found.ok_or_else(|| Refused::absent("account", account.as_str()))
    }

    /// The source as the account's state has it.
    pub(super) fn source(&self, account: &AccountId, id: &SourceId) -> Result<pb::Source, Refused> {
        let state = self.existing(account)?;
        let found = state.sources.get(id).ok_or_else(|| Refused::absent("source", id.as_str()))?;
        Ok(self.shown(account, id, found))
    }

    /// The endpoint as the account's state has it.
    pub(super) fn endpoint(&self, account: &AccountId, id: &EndpointId) -> Result<pb::Endpoint, Refused> {
        let state = self.existing(account)?;
        let found = state.endpoints.get(id).ok_or_else(|| Refused::absent("endpoint", id.as_str()))?;
        Ok(view::endpoint(id, found))
    }

    pub(super) fn seal(&self, wrapped_key: &[u8], secret: &str) -> Result<Vec<u8>, Refused> {
        self.seal_bytes(wrapped_key, secret.as_bytes())
    }

    pub(super) fn seal_bytes(&self, wrapped_key: &[u8], secret: &[u8]) -> Result<Vec<u8>, Refused> {
        self.0.sealer.seal(wrapped_key, secret).map_err(|_| {
            tracing::error!("an account's data key does not open with this node key");
            Refused::new(Code::Internal, "the secret cannot be sealed; the node's log says more")
        })
    }

    fn source_created(&self, account: &AccountId, request: pb::CreateSourceRequest) -> Result<SourceCreated, Refused> {
        let source = wire::id("source_id", &request.source_id)?;
        let scheme = schemes::find(&request.scheme)
            .ok_or_else(|| Refused::field("scheme", "must be a known scheme; `steward webhook schemes` lists them"))?;
        let fewest = usize::from(!scheme.brings_secrets());
        if !(fewest..=SECRETS_MAX).contains(&request.secrets.len()) {
            return Err(Refused::field("secrets", format!("must hold {fewest} to {SECRETS_MAX} secrets")));
        }
        for (at, secret) in request.secrets.iter().enumerate() {
            check_secret(&format!("secrets[{at}]"), scheme, secret)?;
        }
        if !request.public_url.is_empty() {
            check_url("public_url", &request.public_url)?;
        }
        let key = self.existing(account)?.wrapped_key;
        let sealed: Result<Vec<_>, _> = request.secrets.iter().map(|secret| self.seal(&key, secret)).collect();
        Ok(SourceCreated {
            source,
            scheme: scheme.name.to_owned(),
            token: new_token(account),
            sealed_secrets: sealed?,
            tolerance_s: request.tolerance_s,
            public_url: request.public_url,
        })
    }
}

#[tonic::async_trait]
impl WebhookService for Webhooks {
    async fn create_source(
        &self,
        request: Request<pb::CreateSourceRequest>,
    ) -> Result<Response<pb::CreateSourceResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("CreateSource", "", retry_key, &request);
        let created = self.source_created(writer.account(), request)?;
        let id = created.source.clone();
        self.0.router.execute(&writer, Command::CreateSource(created), &correlation, idempotency).await?;
        let source = self.source(writer.account(), &id)?;
        Ok(Response::new(pb::CreateSourceResponse { source: Some(source) }))
    }

    async fn list_sources(
        &self,
        request: Request<pb::ListSourcesRequest>,
    ) -> Result<Response<pb::ListSourcesResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        // The path of a source lets its holder send webhooks, so reading it needs what making it needs.
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let account = self.existing(writer.account())?;
        let sources = account.sources.iter().map(|(id, source)| self.shown(writer.account(), id, source)).collect();
        Ok(Response::new(pb::ListSourcesResponse { sources }))
    }

    async fn delete_source(
        &self,
        request: Request<pb::DeleteSourceRequest>,
    ) -> Result<Response<pb::DeleteSourceResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("DeleteSource", "", retry_key, &request);
        let command = Command::DeleteSource { source: wire::id("source_id", &request.source_id)? };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::DeleteSourceResponse {}))
    }

    async fn update_source(
        &self,
        request: Request<pb::UpdateSourceRequest>,
    ) -> Result<Response<pb::UpdateSourceResponse>, Status> {
        self.update_source_asked(request).await
    }

    async fn add_source_secret(
        &self,
        request: Request<pb::AddSourceSecretRequest>,
    ) -> Result<Response<pb::AddSourceSecretResponse>, Status> {
        self.add_source_secret_asked(request).await
    }

    async fn retire_source_secret(
        &self,
        request: Request<pb::RetireSourceSecretRequest>,
    ) -> Result<Response<pb::RetireSourceSecretResponse>, Status> {
        self.retire_source_secret_asked(request).await
    }

    async fn pause_source(
        &self,
        request: Request<pb::PauseSourceRequest>,
    ) -> Result<Response<pb::PauseSourceResponse>, Status> {
        self.pause_source_asked(request).await
    }

    async fn resume_source(
        &self,
        request: Request<pb::ResumeSourceRequest>,
    ) -> Result<Response<pb::ResumeSourceResponse>, Status> {
        self.resume_source_asked(request).await
    }

    async fn test_source(
        &self,
        request: Request<pb::TestSourceRequest>,
    ) -> Result<Response<pb::TestSourceResponse>, Status> {
        self.test_source_asked(request)
    }

    async fn list_refused_requests(
        &self,
        request: Request<pb::ListRefusedRequestsRequest>,
    ) -> Result<Response<pb::ListRefusedRequestsResponse>, Status> {
        Ok(Response::new(self.refused_requests(request)?))
    }

    async fn reprocess_requests(
        &self,
        request: Request<pb::ReprocessRequestsRequest>,
    ) -> Result<Response<pb::ReprocessRequestsResponse>, Status> {
        Ok(Response::new(self.reprocess(request).await?))
    }

    async fn create_endpoint(
        &self,
        request: Request<pb::CreateEndpointRequest>,
    ) -> Result<Response<pb::CreateEndpointResponse>, Status> {
        Ok(Response::new(self.make_endpoint(request).await?))
    }

    async fn list_endpoints(
        &self,
        request: Request<pb::ListEndpointsRequest>,
    ) -> Result<Response<pb::ListEndpointsResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let account = self.existing(reader.account())?;
        let endpoints = account.endpoints.iter().map(|(id, endpoint)| view::endpoint(id, endpoint)).collect();
        Ok(Response::new(pb::ListEndpointsResponse { endpoints }))
    }

    async fn get_endpoint(
        &self,
        request: Request<pb::GetEndpointRequest>,
    ) -> Result<Response<pb::GetEndpointResponse>, Status> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let (_, id, found) = self.found(reader.account(), &request.endpoint_id)?;
        Ok(Response::new(pb::GetEndpointResponse { endpoint: Some(view::endpoint(&id, &found)) }))
    }

    async fn update_endpoint(
        &self,
        request: Request<pb::UpdateEndpointRequest>,
    ) -> Result<Response<pb::UpdateEndpointResponse>, Status> {
        Ok(Response::new(self.change_endpoint(request).await?))
    }

    async fn rotate_endpoint_secret(
        &self,
        request: Request<pb::RotateEndpointSecretRequest>,
    ) -> Result<Response<pb::RotateEndpointSecretResponse>, Status> {
        Ok(Response::new(self.rotate_secret(request).await?))
    }

    async fn pause_endpoint(
        &self,
        request: Request<pb::PauseEndpointRequest>,
    ) -> Result<Response<pb::PauseEndpointResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let id: EndpointId = wire::id("endpoint_id", &request.endpoint_id)?;
        let command = Command::PauseEndpoint { endpoint: id.clone() };
        let endpoint = self.done(&writer, &id, command, &correlation).await?;
        Ok(Response::new(pb::PauseEndpointResponse { endpoint: Some(endpoint) }))
    }

    async fn resume_endpoint(
        &self,
        request: Request<pb::ResumeEndpointRequest>,
    ) -> Result<Response<pb::ResumeEndpointResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let id: EndpointId = wire::id("endpoint_id", &request.endpoint_id)?;
        let command = Command::ResumeEndpoint { endpoint: id.clone() };
        let endpoint = self.done(&writer, &id, command, &correlation).await?;
        Ok(Response::new(pb::ResumeEndpointResponse { endpoint: Some(endpoint) }))
    }

    async fn test_endpoint(
        &self,
        request: Request<pb::TestEndpointRequest>,
    ) -> Result<Response<pb::TestEndpointResponse>, Status> {
        Ok(Response::new(self.test(request).await?))
    }

    async fn list_deliveries(
        &self,
        request: Request<pb::ListDeliveriesRequest>,
    ) -> Result<Response<pb::ListDeliveriesResponse>, Status> {
        Ok(Response::new(self.deliveries(request)?))
    }

    async fn resend_delivery(
        &self,
        request: Request<pb::ResendDeliveryRequest>,
    ) -> Result<Response<pb::ResendDeliveryResponse>, Status> {
        self.resend(request).await?;
        Ok(Response::new(pb::ResendDeliveryResponse {}))
    }

    async fn recover_deliveries(
        &self,
        request: Request<pb::RecoverDeliveriesRequest>,
    ) -> Result<Response<pb::RecoverDeliveriesResponse>, Status> {
        Ok(Response::new(self.recover(request).await?))
    }

    async fn redrive_deliveries(
        &self,
        request: Request<pb::RedriveDeliveriesRequest>,
    ) -> Result<Response<pb::RedriveDeliveriesResponse>, Status> {
        Ok(Response::new(self.redrive(request).await?))
    }

    async fn delete_endpoint(
        &self,
        request: Request<pb::DeleteEndpointRequest>,
    ) -> Result<Response<pb::DeleteEndpointResponse>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("DeleteEndpoint", "", retry_key, &request);
        let command = Command::DeleteEndpoint { endpoint: wire::id("endpoint_id", &request.endpoint_id)? };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Response::new(pb::DeleteEndpointResponse {}))
    }
}

/// A token names its account, so that it is found without an index over all accounts.
pub(crate) fn new_token(account: &AccountId) -> String {
    let mut rng = rand::rng();
    let letter = |_| char::from(TOKEN_ALPHABET[rng.random_range(0..TOKEN_ALPHABET.len())]);
    let random: String = (0..TOKEN_CHARS).map(letter).collect();
    format!("{account}.{random}")
}

/// What can be told about a URL without resolving it. What it resolves to is judged when it is dialled.
pub(crate) fn check_url(field: &'static str, url: &str) -> Result<(), Refused> {
    let rule =
        format!("must be an http or https URL with a host, without credentials, of at most {URL_LEN_MAX} characters");
    let parsed: Option<Uri> = url.parse().ok().filter(|_| url.len() <= URL_LEN_MAX && !url.contains('#'));
    let fits = parsed.is_some_and(|uri| {
        let web = matches!(uri.scheme_str(), Some("https" | "http"));
        web && uri
            .authority()
            .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
    });
    if fits { Ok(()) } else { Err(Refused::field(field, rule)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_account_and_differ() {
        let account = AccountId::parse("acme").unwrap();
        let (one, other) = (new_token(&account), new_token(&account));
        assert!(one.starts_with("acme.") && one.len() == 5 + TOKEN_CHARS, "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn urls_have_one_form() {
        for good in ["https://a.example/x?y=1", "http://a:8080/"] {
            assert!(check_url("url", good).is_ok(), "{good}");
        }
        for bad in ["", "a.example", "/x", "ftp://a/", "https://u:p@a/", "https://", "https://a/#x"] {
            assert!(check_url("url", bad).is_err(), "{bad}");
        }
    }
}
