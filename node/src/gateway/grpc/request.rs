//! What `WebhookService` does with requests that are kept: lists the refused ones, judges those of a window once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use steward_actors::domain::account::limits::{BODY_BYTES_MAX, PLAYBOOKS_MAX, REFUSED_MAX};
use steward_actors::domain::account::{
    Asked, Command, Event, Facts, Idempotency, KeptRequest, Source, WebhookAccepted, decide,
};
use steward_actors::domain::ids::{AccountId, SourceId};
use steward_actors::shard::{FeedEntry, Refused as RefusedRequest};
use steward_cluster::clock::Timestamp;
use steward_proto::webhook::v1 as pb;
use tonic::Request;

use super::webhook::Webhooks;
use super::wire;
use crate::gateway::auth::AccountWriter;
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::http::{KnownSource, code_of};
use crate::gateway::page;

/// Events of the feed that one call looks at.
const LOOKED_AT_MAX: usize = 500;

/// One call about the requests of a source.
struct Again {
    writer: AccountWriter,
    correlation: CorrelationId,
    /// The call's name, for a name of each of its commands.
    idempotency: Option<Idempotency>,
    source: SourceId,
    known: Arc<KnownSource>,
    since: Timestamp,
    until: Timestamp,
    is_dry: bool,
    counted: pb::ReprocessRequestsResponse,
    refused: BTreeMap<&'static str, u64>,
}

/// Where a page of accepted requests begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    after: u64,
    /// The event whose request was judged last, and whether it holds: of several events it is judged once.
    judged: Option<(u64, bool)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, holds) = self.judged.unwrap_or_default();
        write!(f, "{}.{at}.{}", self.after, u8::from(holds))
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(str::parse::<u64>);
        let (after, at, holds) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let judged = (at > 0).then_some((at, holds == 1));
        (holds <= 1 && numbers.next().is_none()).then_some(Self { after, judged })
    }
}

impl Webhooks {
    pub(super) fn refused_requests(
        &self,
        request: Request<pb::ListRefusedRequestsRequest>,
    ) -> Result<pb::ListRefusedRequestsResponse, Refused> {
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let (id, source) = self.found_source(writer.account(), &request.source_id)?;
        let size = page::page_size(request.page_size)?;
        let from = page::start(&request.page_token)?;
        let from = from.map(|text| text.parse().map_err(|_| page::unknown_token())).transpose()?.unwrap_or_default();
        let known = self.0.sources.find(&source.token, &self.0.router, &self.0.sealer, &correlation)?;
        let found = self.0.router.reads().refused(writer.account(), (&id, &source), from, size, self.0.clock.now())?;
        let next = found.last().filter(|_| found.len() == size).map(|last| page::token(&(last.number + 1).to_string()));
        let requests = found.iter().map(|refused| self.shown_refused(&known, refused)).collect::<Result<_, _>>()?;
        Ok(pb::ListRefusedRequestsResponse { requests, next_page_token: next.unwrap_or_default() })
    }

    pub(super) async fn reprocess(
        &self,
        request: Request<pb::ReprocessRequestsRequest>,
    ) -> Result<pb::ReprocessRequestsResponse, Refused> {
        let retry_key = wire::retry_key(&request);
        let (caller, correlation, request) = wire::open(&self.0, request)?;
        let writer = caller.account_writer(&self.0.auth, &request.account_id)?;
        let idempotency = wire::idempotency("ReprocessRequests", "", retry_key, &request);
        let (source, state) = self.found_source(writer.account(), &request.source_id)?;
        let known = self.0.sources.find(&state.token, &self.0.router, &self.0.sealer, &correlation)?;
        let until = if request.until_ms == 0 { u64::MAX } else { request.until_ms };
        let again = Again {
            writer,
            correlation,
            idempotency,
            source,
            known,
            since: Timestamp(request.since_ms),
            until: Timestamp(until),
            is_dry: request.dry_run,
            counted: pb::ReprocessRequestsResponse::default(),
            refused: BTreeMap::new(),
        };
        let counted = match request.kind() {
            pb::RequestKind::Unspecified => {
                return Err(Refused::field("kind", "must be REQUEST_KIND_REFUSED or REQUEST_KIND_ACCEPTED"));
            }
            pb::RequestKind::Refused => self.refused_again(again, &state).await?,
            pb::RequestKind::Accepted => self.accepted_again(again, &request.page_token).await?,
        };
        Ok(counted)
    }

    /// Refused requests whose signature holds by now become events, and are kept as refused no longer.
    async fn refused_again(&self, mut again: Again, state: &Source) -> Result<pb::ReprocessRequestsResponse, Refused> {
        let limit = usize::try_from(REFUSED_MAX).unwrap_or(usize::MAX);
        let (reads, now) = (self.0.router.reads(), self.0.clock.now());
        let found = reads.refused(again.writer.account(), (&again.source, state), 0, limit, now)?;
        let (mut done, mut seen) = (vec![], BTreeSet::new());
        let window = again.since..again.until;
        for refused in found.into_iter().filter(|refused| window.contains(&refused.at)) {
            let Some(mut webhooks) = again.judge(self, &refused.sealed_request, None)? else { continue };
            done.push(refused.number);
            if let Some(first) = webhooks.first_mut() {
                first.kept = KeptRequest::Here(refused.sealed_request);
            }
            let mut is_new = vec![];
            for webhook in &webhooks {
                let is_known =
                    self.0.router.reads().is_delivered(again.writer.account(), webhook, self.0.clock.now())?;
                is_new.push(!is_known && seen.insert(webhook.delivery_ids.clone()));
            }
            let (new, all) = (is_new.iter().filter(|is_new| **is_new).count(), webhooks.len());
            if !again.is_dry && new > 0 {
                let key = again.key(&format!("refused:{}", refused.number));
                let command = Command::AcceptWebhooks(webhooks);
                self.0.router.execute(&again.writer, command, &again.correlation, key).await?;
            }
            again.counted.events += u64::try_from(new).unwrap_or(u64::MAX);
            again.counted.repeated += u64::try_from(all - new).unwrap_or(u64::MAX);
        }
        if !again.is_dry && !done.is_empty() {
            let command = Command::ForgetRefused { source: again.source.clone(), numbers: done };
            self.0.router.execute(&again.writer, command, &again.correlation, again.key("forget")).await?;
        }
        Ok(again.told())
    }

    /// The playbooks of today follow accepted webhooks whose signature still holds.
    async fn accepted_again(
        &self,
        mut again: Again,
        page_token: &str,
    ) -> Result<pb::ReprocessRequestsResponse, Refused> {
        let reads = self.0.router.reads();
        let account = again.writer.account().clone();
        let place = page::start(page_token)?;
        let place = place.map(|text| Place::parse(&text).ok_or_else(page::unknown_token)).transpose()?;
        let Place { after, mut judged } = place.unwrap_or_default();
        let first = reads.seek_time(&account, again.since)?;
        let entries = reads.events(&account, after.max(first.saturating_sub(1)), LOOKED_AT_MAX)?;
        let mut next = entries.last().filter(|_| entries.len() == LOOKED_AT_MAX).map(|last| last.seq);
        for entry in entries {
            if entry.at >= again.until {
                next = None;
                break;
            }
            let Event::WebhookAccepted(webhook) = entry.event else { continue };
            if webhook.source != again.source {
                continue;
            }
            let at = if let KeptRequest::At(seq) = webhook.kept { seq } else { entry.seq };
            let holds = match judged.filter(|(seq, _)| *seq == at) {
                Some((_, holds)) => holds,
                None => {
                    let Some(holds) = self.holds(&mut again, at, &webhook)? else {
                        again.counted.unkept += 1;
                        continue;
                    };
                    judged = Some((at, holds));
                    holds
                }
            };
            if holds {
                again.counted.events += 1;
                again.counted.jobs += self.follow_again(&again, entry.seq, webhook).await?;
            }
        }
        let token = |after| page::token(&Place { after, judged }.to_string());
        again.counted.next_page_token = next.map(token).unwrap_or_default();
        Ok(again.told())
    }

    /// Whether the request kept at an event holds; none when it is not kept.
    fn holds(&self, again: &mut Again, at: u64, webhook: &WebhookAccepted) -> Result<Option<bool>, Refused> {
        let reads = self.0.router.reads();
        let account = again.writer.account().clone();
        let (kept, body) = if let KeptRequest::At(_) = webhook.kept {
            match reads.events(&account, at.saturating_sub(1), 1)?.pop() {
                Some(FeedEntry { seq, event: Event::WebhookAccepted(first), .. }) if seq == at => {
                    (first.kept, first.body)
                }
                Some(_) | None => return Ok(None),
            }
        } else {
            (webhook.kept.clone(), webhook.body.clone())
        };
        let sealed: Option<Bytes> = match kept {
            KeptRequest::Here(sealed) => Some(sealed),
            KeptRequest::Beside => reads.request_beside(&account, at)?,
            KeptRequest::Nowhere | KeptRequest::At(_) => None,
        };
        let Some(sealed) = sealed else { return Ok(None) };
        Ok(Some(again.judge(self, &sealed, Some(&body))?.is_some()))
    }

    /// Says how many jobs follow.
    async fn follow_again(&self, again: &Again, seq: u64, webhook: WebhookAccepted) -> Result<u64, Refused> {
        let account = again.writer.account();
        let command = Command::FollowAgain(webhook);
        let is_job = |event: &Event| matches!(event, Event::JobRequested { .. });
        let jobs = if again.is_dry {
            let state = self.existing(account)?;
            let (actor, correlation_id) = (String::new(), String::new());
            let asked = Asked { command, actor, correlation_id, causation_seq: seq, idempotency: None };
            let decided = decide(&state, &Facts::default(), &asked, self.0.clock.now())?;
            decided.events.iter().filter(|event| is_job(event)).count()
        } else {
            let key = again.key(&format!("accepted:{seq}"));
            let answer = self.0.router.execute_after(&again.writer, seq, command, &again.correlation, key).await?;
            if answer.seq == 0 {
                return Ok(0); // No playbook follows it.
            }
            let follow = self.0.router.reads().events(account, answer.seq - 1, PLAYBOOKS_MAX)?;
            follow.iter().take_while(|entry| entry.causation_seq == seq).filter(|entry| is_job(&entry.event)).count()
        };
        Ok(u64::try_from(jobs).unwrap_or(u64::MAX))
    }

    fn found_source(&self, account: &AccountId, id: &str) -> Result<(SourceId, Source), Refused> {
        let id: SourceId = wire::id("source_id", id)?;
        let state = self.existing(account)?;
        let found = state.sources.get(&id).cloned().ok_or_else(|| Refused::absent("source", id.as_str()))?;
        Ok((id, found))
    }

    fn shown_refused(&self, known: &KnownSource, refused: &RefusedRequest) -> Result<pb::RefusedRequest, Refused> {
        let request = known.read_kept(&self.0.sealer, &refused.sealed_request)?;
        let content_type = request.headers.iter().find(|(name, _)| name == "content-type");
        Ok(pb::RefusedRequest {
            number: refused.number,
            at_ms: refused.at.0,
            code: code_of(refused.refused_for).word().to_owned(),
            content_type: content_type
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default(),
            body_bytes: request.body.map_or(0, |body| u64::try_from(body.len()).unwrap_or(u64::MAX)),
            header_names: request.headers.into_iter().map(|(name, _)| name).collect(),
        })
    }
}

impl Again {
    /// The events of a request; none when its signature does not hold.
    fn judge(
        &mut self,
        webhooks: &Webhooks,
        sealed: &[u8],
        body: Option<&Bytes>,
    ) -> Result<Option<Vec<WebhookAccepted>>, Refused> {
        self.counted.requests += 1;
        match self.known.judge_again(&webhooks.0.sealer, sealed, body, BODY_BYTES_MAX) {
            Ok(trial) => {
                self.counted.verified += 1;
                Ok(Some(trial.events))
            }
            Err(refused) if refused.code == Code::Internal => Err(refused),
            Err(refused) => {
                *self.refused.entry(refused.code.word()).or_default() += 1;
                Ok(None)
            }
        }
    }

    /// A name for one of the call's commands, so that a call that is made again does each once.
    fn key(&self, of: &str) -> Option<Idempotency> {
        let call = self.idempotency.as_ref()?;
        Some(Idempotency { key: format!("{}:{of}", call.key), fingerprint: call.fingerprint })
    }

    fn told(mut self) -> pb::ReprocessRequestsResponse {
        let count = |(what, count): (&str, u64)| pb::SourceCount { what: what.to_owned(), count };
        self.counted.refused = self.refused.into_iter().map(count).collect();
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_nothing_else_is_one() {
        for judged in [None, Some((7, true)), Some((7, false))] {
            let place = Place { after: 9, judged };
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for bad in ["", "1", "1.2", "1.2.3", "1.2.1.0", "a.b.c", "-1.0.0"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
