//! `WebhookService`: sources let platforms send webhooks in, endpoints send the account's events out.

use std::sync::Arc;

use ::http::Uri;
use rand::{Rng as _, RngExt as _};
use steward_actors::domain::account::limits::SECRETS_MAX;
use steward_actors::domain::account::{Account, Command, EndpointCreated, SourceCreated};
use steward_actors::domain::ids::{AccountId, EndpointId, SourceId};
use steward_actors::domain::webhook::{self as schemes, sign};
use steward_proto::webhook::v1::webhook_service_server::WebhookService;
use steward_proto::webhook::v1::{self as pb};
use tonic::{Request, Response, Status};

use super::{view, wire};
use crate::gateway::Gateway;
use crate::gateway::error::{Code, Refused};

/// Random characters of a source's token.
const TOKEN_CHARS: usize = 24;
/// What tokens are made of: lower-case base32, which people do not misread.
const TOKEN_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The longest secret of a source.
const SOURCE_SECRET_BYTES_MAX: usize = 4_096;
/// The longest URL.
const URL_LEN_MAX: usize = 2_048;

pub(super) struct Webhooks(pub(super) Arc<Gateway>);

impl Webhooks {
    fn existing(&self, account: &AccountId) -> Result<Account, Refused> {
        let found = self.0.router.account(account)?;
        found.ok_or_else(|| Refused::absent("account", account.as_str()))
    }

    /// The source as the account's state has it.
    fn source(&self, account: &AccountId, id: &SourceId) -> Result<pb::Source, Refused> {
        let state = self.existing(account)?;
        let found = state.sources.get(id).ok_or_else(|| Refused::absent("source", id.as_str()))?;
        Ok(view::source(id, found))
    }

    /// The endpoint as the account's state has it.
    fn endpoint(&self, account: &AccountId, id: &EndpointId) -> Result<pb::Endpoint, Refused> {
        let state = self.existing(account)?;
        let found = state.endpoints.get(id).ok_or_else(|| Refused::absent("endpoint", id.as_str()))?;
        Ok(view::endpoint(id, found))
    }

    fn seal(&self, wrapped_key: &[u8], secret: &str) -> Result<Vec<u8>, Refused> {
        self.0.sealer.seal(wrapped_key, secret.as_bytes()).map_err(|_| {
            tracing::error!("an account's data key does not open with this node key");
            Refused::new(Code::Internal, "the secret cannot be sealed; the node's log says more")
        })
    }

    fn source_created(&self, account: &AccountId, request: pb::CreateSourceRequest) -> Result<SourceCreated, Refused> {
        let source = wire::id("source_id", &request.source_id)?;
        let scheme = schemes::find(&request.scheme)
            .ok_or_else(|| Refused::field("scheme", "must be a known scheme; `steward webhook schemes` lists them"))?;
        if !(1..=SECRETS_MAX).contains(&request.secrets.len()) {
            return Err(Refused::field("secrets", format!("must hold 1 to {SECRETS_MAX} secrets")));
        }
        for (at, secret) in request.secrets.iter().enumerate() {
            if secret.len() > SOURCE_SECRET_BYTES_MAX || !schemes::usable_secret(scheme, secret.as_bytes()) {
                let rule = "must be a secret of the form the scheme needs";
                return Err(Refused::field(format!("secrets[{at}]"), rule));
            }
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
        let sources = account.sources.iter().map(|(id, source)| view::source(id, source)).collect();
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

    async fn create_endpoint(
        &self,
        request: Request<pb::CreateEndpointRequest>,
    ) -> Result<Response<pb::CreateEndpointResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let endpoint: EndpointId = wire::id("endpoint_id", &request.endpoint_id)?;
        check_url("url", &request.url)?;
        let patterns = wire::patterns("patterns", &request.patterns)?;
        let secret = signing_secret(request.secret)?;
        let key = self.existing(writer.account())?.wrapped_key;
        let sealed_secret = self.seal(&key, &secret)?;
        let created = EndpointCreated { endpoint: endpoint.clone(), url: request.url, patterns, sealed_secret };
        self.0.router.execute(&writer, Command::CreateEndpoint(created), &correlation, None).await?;
        let endpoint = self.endpoint(writer.account(), &endpoint)?;
        Ok(Response::new(pb::CreateEndpointResponse { endpoint: Some(endpoint), secret }))
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
fn new_token(account: &AccountId) -> String {
    let mut rng = rand::rng();
    let letter = |_| char::from(TOKEN_ALPHABET[rng.random_range(0..TOKEN_ALPHABET.len())]);
    let random: String = (0..TOKEN_CHARS).map(letter).collect();
    format!("{account}.{random}")
}

/// The client's secret when it is of the right form, or a new one.
fn signing_secret(given: String) -> Result<String, Refused> {
    if given.is_empty() {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        return Ok(sign::secret(&key));
    }
    if sign::is_secret(&given) {
        return Ok(given);
    }
    Err(Refused::field("secret", "must be whsec_ and base64 of 24 to 64 bytes, or empty"))
}

/// What can be told about a URL without resolving it. What it resolves to is judged when it is dialled.
fn check_url(field: &'static str, url: &str) -> Result<(), Refused> {
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
    fn urls_and_secrets_have_one_form() {
        for good in ["https://a.example/x?y=1", "http://a:8080/"] {
            assert!(check_url("url", good).is_ok(), "{good}");
        }
        for bad in ["", "a.example", "/x", "ftp://a/", "https://u:p@a/", "https://", "https://a/#x"] {
            assert!(check_url("url", bad).is_err(), "{bad}");
        }
        let made = signing_secret(String::new()).unwrap();
        assert_eq!(signing_secret(made.clone()).unwrap(), made);
        for bad in ["whsec_", "whsec_c2hvcnQ=", "secret", "whsec_!"] {
            assert!(signing_secret(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
