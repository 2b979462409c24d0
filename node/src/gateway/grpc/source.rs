//! What `WebhookService` does with sources that are there: settings, secrets, pauses and trials.

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use prost::Message;
use steward_actors::domain::account::limits::BODY_BYTES_MAX;
use steward_actors::domain::account::{Command, Source, SourceAsked, SourceResponse, SourceSettings};
use steward_actors::domain::ids::{AccountId, SourceId};
use steward_actors::domain::webhook::{self as schemes, Scheme};
use steward_actors::egress::Network;
use steward_proto::webhook::v1 as pb;
use tonic::{Request, Response, Status};

use super::webhook::{Webhooks, check_url};
use super::{view, wire};
use crate::gateway::error::{Code, Refused};
use crate::gateway::http::{HOOKS_PATH, Trial, try_out};

/// The longest secret of a source.
const SECRET_BYTES_MAX: usize = 4_096;

/// A request about one source.
trait OfSource: Message {
    /// The account and the source it names.
    fn names(&self) -> (&str, &str);
}

impl Webhooks {
    /// The source with what this node knows of its use.
    pub(super) fn shown(&self, account: &AccountId, id: &SourceId, source: &Source) -> pb::Source {
        let tally = self.0.sources.tallies.of(account, id);
        let last_uses = tally.last_uses(&source.sealed_secrets);
        let secret = |(position, at): (u32, _)| pb::SourceSecret { position, last_used_at_ms: view::or_zero(Some(at)) };
        let count = |(what, count): (&str, u64)| pb::SourceCount { what: what.to_owned(), count };
        pb::Source {
            secrets: (0..).zip(last_uses).map(secret).collect(),
            counts: tally.counts().into_iter().map(count).collect(),
            ..view::source(id, source)
        }
    }

    pub(super) async fn update_source_asked(
        &self,
        request: Request<pb::UpdateSourceRequest>,
    ) -> Result<Response<pb::UpdateSourceResponse>, Status> {
        let source = self.change("UpdateSource", request, |_, _, request| update(request)).await?;
        Ok(Response::new(pb::UpdateSourceResponse { source }))
    }

    pub(super) async fn add_source_secret_asked(
        &self,
        request: Request<pb::AddSourceSecretRequest>,
    ) -> Result<Response<pb::AddSourceSecretResponse>, Status> {
        let asked = |source: &Source, key: &[u8], request: pb::AddSourceSecretRequest| {
            if request.secret.is_empty() {
                return Ok(SourceAsked::AwaitSecret);
            }
            let scheme = schemes::find(&source.scheme).ok_or_else(|| Refused::absent("scheme", &source.scheme))?;
            check_secret("secret", scheme, &request.secret)?;
            Ok(SourceAsked::AddSecret { sealed_secret: self.seal(key, &request.secret)? })
        };
        let source = self.change("AddSourceSecret", request, asked).await?;
        Ok(Response::new(pb::AddSourceSecretResponse { source }))
    }

    pub(super) async fn retire_source_secret_asked(
        &self,
        request: Request<pb::RetireSourceSecretRequest>,
    ) -> Result<Response<pb::RetireSourceSecretResponse>, Status> {
        let asked = |_: &Source, _: &[u8], request: pb::RetireSourceSecretRequest| {
            let position = usize::try_from(request.position).unwrap_or(usize::MAX);
            Ok(SourceAsked::RetireSecret { position })
        };
        let source = self.change("RetireSourceSecret", request, asked).await?;
        Ok(Response::new(pb::RetireSourceSecretResponse { source }))
    }

    pub(super) async fn pause_source_asked(
        &self,
        request: Request<pb::PauseSourceRequest>,
    ) -> Result<Response<pb::PauseSourceResponse>, Status> {
        let source = self.change("PauseSource", request, |_, _, _| Ok(SourceAsked::Pause)).await?;
        Ok(Response::new(pb::PauseSourceResponse { source }))
    }

    pub(super) async fn resume_source_asked(
        &self,
        request: Request<pb::ResumeSourceRequest>,
    ) -> Result<Response<pb::ResumeSourceResponse>, Status> {
        let source = self.change("ResumeSource", request, |_, _, _| Ok(SourceAsked::Resume)).await?;
        Ok(Response::new(pb::ResumeSourceResponse { source }))
    }

    pub(super) fn test_source_asked(
        &self,
        request: Request<pb::TestSourceRequest>,
    ) -> Result<Response<pb::TestSourceResponse>, Status> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let source: SourceId = wire::id("source_id", &request.source_id)?;
        let state = self.existing(writer.account())?;
        let found = state.sources.get(&source).ok_or_else(|| Refused::absent("source", source.as_str()))?;
        let known = self.0.sources.find(&found.token, &self.0.router, &self.0.sealer, &correlation)?;
        let head = head(&found.token, &request)?;
        let trial = if known.is_paused() {
            Err(Refused::new(Code::SourcePaused, "the source is paused"))
        } else {
            try_out(&known, &head, request.body.into(), self.0.clock.now(), BODY_BYTES_MAX)
        };
        Ok(Response::new(tested(trial)))
    }

    /// Asks a source to change, and tells what it is then.
    async fn change<T: OfSource>(
        &self,
        operation: &'static str,
        request: Request<T>,
        asked: impl FnOnce(&Source, &[u8], T) -> Result<SourceAsked, Refused>,
    ) -> Result<Option<pb::Source>, Status> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let (account, source) = request.names();
        let writer = caller.account_writer(&self.0.auth, account)?;
        let source: SourceId = wire::id("source_id", source)?;
        let idempotency = wire::idempotency(operation, "", retry_key, &request);
        let state = self.existing(writer.account())?;
        let found = state.sources.get(&source).ok_or_else(|| Refused::absent("source", source.as_str()))?;
        let asked = asked(found, &state.wrapped_key, request)?;
        let command = Command::ChangeSource { source: source.clone(), asked };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(Some(self.source(writer.account(), &source)?))
    }
}

/// A secret of the form its scheme needs.
pub(crate) fn check_secret(field: &str, scheme: &Scheme, secret: &str) -> Result<(), Refused> {
    if secret.len() > SECRET_BYTES_MAX || !schemes::usable_secret(scheme, secret.as_bytes()) {
        return Err(Refused::field(field, "must be a secret of the form the scheme needs"));
    }
    Ok(())
}

/// What has a form of its own: networks and header values.
pub(crate) fn check_settings(settings: &SourceSettings) -> Result<(), Refused> {
    for (at, network) in settings.allow.iter().enumerate() {
        network.parse::<Network>().map_err(|_| {
            Refused::field(format!("allow[{at}]"), "must be an address or a network such as 192.0.2.0/24")
        })?;
    }
    let content_type = settings.response.as_ref().map(|response| HeaderValue::from_str(&response.content_type));
    if content_type.is_some_and(|value| value.is_err()) {
        return Err(Refused::field("response.content_type", "must be what an HTTP header can hold"));
    }
    Ok(())
}

fn update(request: pb::UpdateSourceRequest) -> Result<SourceAsked, Refused> {
    if !request.public_url.is_empty() {
        check_url("public_url", &request.public_url)?;
    }
    let response = request.response.map(|response| SourceResponse {
        status: u16::try_from(response.status).unwrap_or_default(),
        content_type: response.content_type,
        body: response.body,
    });
    let settings = SourceSettings { rate_per_s: request.rate_per_s, allow: request.allow, response };
    check_settings(&settings)?;
    Ok(SourceAsked::Update { tolerance_s: request.tolerance_s, public_url: request.public_url, settings })
}

/// The head of a request that is only told.
fn head(token: &str, request: &pb::TestSourceRequest) -> Result<Parts, Refused> {
    let mut headers = HeaderMap::new();
    for (at, header) in request.headers.iter().enumerate() {
        let bad = || Refused::field(format!("headers[{at}]"), "must be an HTTP header");
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(&header.value).map_err(|_| bad())?);
    }
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let request = ::http::Request::builder().method(Method::POST).uri(format!("{HOOKS_PATH}{token}{query}")).body(());
    let request = request.map_err(|_| Refused::field("query", "must be what a URL can hold"))?;
    let (mut head, ()) = request.into_parts();
    head.headers = headers;
    Ok(head)
}

fn tested(trial: Result<Trial, Refused>) -> pb::TestSourceResponse {
    match trial {
        Err(refused) => {
            let (code, detail) = (refused.code.word().to_owned(), refused.message);
            pb::TestSourceResponse { is_accepted: false, code, detail, events: vec![] }
        }
        Ok(Trial { secret, events }) => {
            let secret = secret.and_then(|secret| u32::try_from(secret).ok()).unwrap_or_default();
            let event = |event: steward_actors::domain::account::WebhookAccepted| pb::TestedEvent {
                r#type: event.type_on_feed(),
                delivery_id: event.delivery_ids.into_iter().next().unwrap_or_default(),
                secret,
            };
            let events = events.into_iter().map(event).collect();
            pb::TestSourceResponse { is_accepted: true, events, ..pb::TestSourceResponse::default() }
        }
    }
}

impl OfSource for pb::UpdateSourceRequest {
    fn names(&self) -> (&str, &str) {
        (&self.account_id, &self.source_id)
    }
}

impl OfSource for pb::AddSourceSecretRequest {
    fn names(&self) -> (&str, &str) {
        (&self.account_id, &self.source_id)
    }
}

impl OfSource for pb::RetireSourceSecretRequest {
    fn names(&self) -> (&str, &str) {
        (&self.account_id, &self.source_id)
    }
}

impl OfSource for pb::PauseSourceRequest {
    fn names(&self) -> (&str, &str) {
        (&self.account_id, &self.source_id)
    }
}

impl OfSource for pb::ResumeSourceRequest {
    fn names(&self) -> (&str, &str) {
        (&self.account_id, &self.source_id)
    }
}
