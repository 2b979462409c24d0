//! Endpoints: what clients ask of them, checked, sealed and handed on. [`super::webhook`] names the methods.

use rand::{Rng as _, RngExt as _};
use steward_actors::delivery::{self, Credentials, Extras};
use steward_actors::domain::account::limits::{PENDING_MAX, REQUEUED_MAX};
use steward_actors::domain::account::{Account, Command, DeliveryOutcome, Endpoint, EndpointCreated, EndpointSettings};
use steward_actors::domain::ids::{AccountId, EndpointId};
use steward_actors::domain::webhook::sign;
use steward_cluster::clock::Timestamp;
use steward_proto::webhook::v1 as pb;
use tonic::Request;

use super::webhook::{Webhooks, check_url};
use super::{view, wire};
use crate::gateway::auth::AccountWriter;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::Refused;
use crate::gateway::page;

/// How long a replaced secret still signs when the client does not say.
const GRACE_S_DEFAULT: u32 = 24 * 3600;
/// The longest time of grace.
const GRACE_S_MAX: u32 = 30 * 24 * 3600;
/// The highest rate.
const RATE_PER_S_MAX: u32 = 100_000;
/// Attempts that one page of the log looks at, so that a narrow filter does not read it whole.
const LOOKED_AT_MAX: usize = 5_000;
/// Characters of a test's id.
const NONCE_CHARS: usize = 12;

/// The settings of an endpoint as both requests bring them.
struct Asked<'r> {
    filter: &'r str,
    ordering_key: &'r str,
    rate_per_s: u32,
    extras: Option<pb::EndpointExtras>,
}

impl Webhooks {
    pub(super) async fn make_endpoint(
        &self,
        request: Request<pb::CreateEndpointRequest>,
    ) -> Result<pb::CreateEndpointResponse, Refused> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let endpoint: EndpointId = wire::id("endpoint_id", &request.endpoint_id)?;
        check_url("url", &request.url)?;
        let patterns = wire::patterns("patterns", &request.patterns)?;
        let secret = signing_secret(request.secret)?;
        let key = self.existing(writer.account())?.wrapped_key;
        let (filter, ordering_key) = (request.filter.as_str(), request.ordering_key.as_str());
        let asked = Asked { filter, ordering_key, rate_per_s: request.rate_per_s, extras: request.extras };
        let settings = self.settings(&key, asked, vec![])?;
        let sealed_secret = self.seal(&key, &secret)?;
        let created = EndpointCreated { endpoint: endpoint.clone(), url: request.url, patterns, sealed_secret };
        self.0.router.execute(&writer, Command::CreateEndpoint(created, settings), &correlation, None).await?;
        let public_key = sign::public_key(&secret).unwrap_or_default();
        let endpoint = Some(self.endpoint(writer.account(), &endpoint)?);
        Ok(pb::CreateEndpointResponse { endpoint, secret, public_key })
    }

    pub(super) async fn change_endpoint(
        &self,
        request: Request<pb::UpdateEndpointRequest>,
    ) -> Result<pb::UpdateEndpointResponse, Refused> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let (account, id, found) = self.found(writer.account(), &request.endpoint_id)?;
        check_url("url", &request.url)?;
        let patterns = wire::patterns("patterns", &request.patterns)?;
        let (filter, ordering_key) = (request.filter.as_str(), request.ordering_key.as_str());
        let asked = Asked { filter, ordering_key, rate_per_s: request.rate_per_s, extras: request.extras };
        let settings = self.settings(&account.wrapped_key, asked, found.settings.sealed_extras)?;
        let command = Command::UpdateEndpoint { endpoint: id.clone(), url: request.url, patterns, settings };
        let endpoint = self.done(&writer, &id, command, &correlation).await?;
        Ok(pb::UpdateEndpointResponse { endpoint: Some(endpoint) })
    }

    pub(super) async fn rotate_secret(
        &self,
        request: Request<pb::RotateEndpointSecretRequest>,
    ) -> Result<pb::RotateEndpointSecretResponse, Refused> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let (account, id, _) = self.found(writer.account(), &request.endpoint_id)?;
        if request.grace_s > GRACE_S_MAX {
            return Err(Refused::field("grace_s", format!("must be at most {GRACE_S_MAX}")));
        }
        let grace_s = if request.grace_s == 0 { GRACE_S_DEFAULT } else { request.grace_s };
        let secret = signing_secret(request.secret)?;
        let sealed_secret = self.seal(&account.wrapped_key, &secret)?;
        let grace_ms = u64::from(grace_s) * 1_000;
        let command = Command::RotateEndpointSecret { endpoint: id.clone(), sealed_secret, grace_ms };
        let endpoint = self.done(&writer, &id, command, &correlation).await?;
        let public_key = sign::public_key(&secret).unwrap_or_default();
        Ok(pb::RotateEndpointSecretResponse { endpoint: Some(endpoint), secret, public_key })
    }

    pub(super) async fn test(
        &self,
        request: Request<pb::TestEndpointRequest>,
    ) -> Result<pb::TestEndpointResponse, Refused> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let (account, id, found) = self.found(writer.account(), &request.endpoint_id)?;
        let letter = |_| char::from(b'a' + rand::rng().random_range(0..26));
        let nonce: String = (0..NONCE_CHARS).map(letter).collect();
        Ok(match self.0.tester.test(&account, &id, &found, &nonce).await {
            DeliveryOutcome::Delivered { status, latency_ms, response } => pb::TestEndpointResponse {
                succeeded: true,
                status: u32::from(status),
                latency_ms,
                error: String::new(),
                response,
            },
            DeliveryOutcome::Failed { status, error, latency_ms, response, .. } => pb::TestEndpointResponse {
                succeeded: false,
                status: u32::from(status.unwrap_or_default()),
                latency_ms,
                error,
                response,
            },
            DeliveryOutcome::Gone => {
                pb::TestEndpointResponse { status: 410, error: "the receiver is gone".to_owned(), ..Default::default() }
            }
            DeliveryOutcome::Forgotten => pb::TestEndpointResponse::default(),
        })
    }

    pub(super) fn deliveries(
        &self,
        request: Request<pb::ListDeliveriesRequest>,
    ) -> Result<pb::ListDeliveriesResponse, Refused> {
        let (caller, _, request) = wire::open(&self.0, request)?;
        let reader = caller.account_reader(&self.0.auth, &request.account_id)?;
        let (_, id, _) = self.found(reader.account(), &request.endpoint_id)?;
        let size = page::page_size(request.page_size)?;
        let before = page::start(&request.page_token)?;
        let before: Option<u64> = before.map(|text| text.parse().map_err(|_| page::unknown_token())).transpose()?;
        let until_ms = if request.until_ms == 0 { u64::MAX } else { request.until_ms };
        let fits = |delivery: &pb::Delivery| {
            (request.result == 0 || delivery.result == request.result)
                && (request.event_seq == 0 || delivery.event_seq == request.event_seq)
                && (request.since_ms..until_ms).contains(&delivery.at_ms)
        };
        let (mut before, mut deliveries, mut looked_at) = (before.unwrap_or(u64::MAX), vec![], 0);
        loop {
            let page = self.0.router.reads().attempts(reader.account(), &id, before, size)?;
            looked_at += page.len();
            let is_last = page.len() < size;
            for entry in &page {
                before = entry.seq;
                deliveries.extend(view::delivery(entry).filter(fits));
                if deliveries.len() == size {
                    break;
                }
            }
            let is_too_old = page.last().is_some_and(|entry| entry.at.0 < request.since_ms);
            let is_full = deliveries.len() == size;
            if is_full || is_last || is_too_old || looked_at >= LOOKED_AT_MAX {
                let goes_on = is_full || !(is_last || is_too_old);
                let next_page_token = if goes_on { page::token(&before.to_string()) } else { String::new() };
                return Ok(pb::ListDeliveriesResponse { deliveries, next_page_token });
            }
        }
    }

    pub(super) async fn resend(&self, request: Request<pb::ResendDeliveryRequest>) -> Result<(), Refused> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("ResendDelivery", "", retry_key, &request);
        let (account, endpoint, _) = self.found(writer.account(), &request.endpoint_id)?;
        let found = self.0.router.reads().events(&account.id, request.event_seq.saturating_sub(1), 1)?.pop();
        if found.is_some_and(|entry| entry.seq == request.event_seq && !delivery::is_deliverable(&entry.event)) {
            return Err(Refused::field("event_seq", "must not be an event about a delivery or an endpoint"));
        }
        let command = Command::RequeueDeliveries { endpoint, event_seqs: vec![request.event_seq] };
        self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        Ok(())
    }

    pub(super) async fn recover(
        &self,
        request: Request<pb::RecoverDeliveriesRequest>,
    ) -> Result<pb::RecoverDeliveriesResponse, Refused> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let (account, id, found) = self.found(writer.account(), &request.endpoint_id)?;
        let idempotency = wire::idempotency("RecoverDeliveries", "", retry_key, &request);
        let reads = self.0.router.reads();
        let before = |at_ms: u64| reads.seek_time(&account.id, Timestamp(at_ms)).map(|seq| seq - 1);
        let after = if request.since_ms > 0 { before(request.since_ms)? } else { request.after_seq };
        let through = match (request.until_ms, request.through_seq) {
            (0, 0) => found.cursor,
            (0, through) => through,
            (until_ms, _) => before(until_ms)?,
        };
        let (after_seq, through_seq) = (after.max(account.first_seq - 1), through.min(found.cursor));
        let events = delivery::wanted_between(&reads, &account.id, &found, after_seq, through_seq)?;
        if !request.dry_run {
            let command = Command::RecoverDeliveries { endpoint: id, after_seq, through_seq };
            self.0.router.execute(&writer, command, &correlation, idempotency).await?;
        }
        Ok(pb::RecoverDeliveriesResponse { after_seq, through_seq, events })
    }

    pub(super) async fn redrive(
        &self,
        request: Request<pb::RedriveDeliveriesRequest>,
    ) -> Result<pb::RedriveDeliveriesResponse, Refused> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let (account, id, _) = self.found(writer.account(), &request.endpoint_id)?;
        let through_seq = if request.through_seq == 0 { account.last_seq } else { request.through_seq };
        let from = request.after_seq.saturating_add(1).max(account.first_seq);
        let dead = self.0.router.reads().dead(&account.id, &id, from, through_seq, PENDING_MAX)?;
        if !request.dry_run {
            for event_seqs in dead.chunks(REQUEUED_MAX) {
                let command = Command::RequeueDeliveries { endpoint: id.clone(), event_seqs: event_seqs.to_vec() };
                self.0.router.execute(&writer, command, &correlation, None).await?;
            }
        }
        Ok(pb::RedriveDeliveriesResponse { events: u64::try_from(dead.len()).unwrap_or(u64::MAX) })
    }

    /// The account and one of its endpoints.
    pub(super) fn found(&self, account: &AccountId, id: &str) -> Result<(Account, EndpointId, Endpoint), Refused> {
        let id: EndpointId = wire::id("endpoint_id", id)?;
        let state = self.existing(account)?;
        let found = state.endpoints.get(&id).cloned().ok_or_else(|| Refused::absent("endpoint", id.as_str()))?;
        Ok((state, id, found))
    }

    /// Executes a command about an endpoint and shows what it is then.
    pub(super) async fn done(
        &self,
        writer: &AccountWriter,
        id: &EndpointId,
        command: Command,
        correlation: &CorrelationId,
    ) -> Result<pb::Endpoint, Refused> {
        self.0.router.execute(writer, command, correlation, None).await?;
        self.endpoint(writer.account(), id)
    }

    fn settings(&self, wrapped_key: &[u8], asked: Asked<'_>, sealed: Vec<u8>) -> Result<EndpointSettings, Refused> {
        delivery::check_sieve(asked.filter, asked.ordering_key).map_err(|(field, rule)| Refused::field(field, rule))?;
        if asked.rate_per_s > RATE_PER_S_MAX {
            return Err(Refused::field("rate_per_s", format!("must be at most {RATE_PER_S_MAX}")));
        }
        let sealed_extras = match asked.extras {
            None => sealed,
            Some(extras) => {
                let extras = extras_of(extras);
                extras.check().map_err(|(field, rule)| Refused::field(format!("extras.{field}"), rule))?;
                let bytes = extras.encode();
                if bytes.is_empty() { bytes } else { self.seal_bytes(wrapped_key, &bytes)? }
            }
        };
        let (filter, ordering_key) = (asked.filter.to_owned(), asked.ordering_key.to_owned());
        Ok(EndpointSettings { filter, ordering_key, rate_per_s: asked.rate_per_s, sealed_extras })
    }
}

fn extras_of(extras: pb::EndpointExtras) -> Extras {
    use pb::endpoint_extras::Credentials as Given;
    let credentials = match extras.credentials {
        None => Credentials::None,
        Some(Given::Basic(given)) => Credentials::Basic { user: given.user, password: given.password },
        Some(Given::BearerToken(token)) => Credentials::Bearer { token },
        Some(Given::Certificate(given)) => {
            Credentials::Certificate { chain_pem: given.chain_pem, key_pem: given.key_pem, ca_pem: given.ca_pem }
        }
    };
    let mut headers: Vec<_> = extras.headers.into_iter().collect();
    headers.sort_unstable();
    Extras { headers, credentials }
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
    let rule = "must be whsec_ and base64 of 24 to 64 bytes, whsk_ and base64 of an Ed25519 private key, or empty";
    Err(Refused::field("secret", rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_two_forms() {
        let made = signing_secret(String::new()).unwrap();
        assert_eq!(signing_secret(made.clone()).unwrap(), made);
        assert!(signing_secret("whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()).is_ok());
        for bad in ["whsec_", "whsec_c2hvcnQ=", "secret", "whsec_!", "whsk_c2hvcnQ="] {
            assert!(signing_secret(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
