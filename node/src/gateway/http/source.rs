//! Sources in use, by token, with their secrets unsealed, so that a webhook does not read its account's state.
//!
//! Told by the shards when a source is deleted or changed; a look-up that raced with that is not remembered.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use steward_actors::domain::account::{Event, Mark, SourceResponse};
use steward_actors::domain::ids::{AccountId, SourceId};
use steward_actors::domain::webhook::{self, Scheme};
use steward_actors::rate::Rate;
use steward_actors::seal::Sealer;
use steward_actors::shard::Observer;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;
use zeroize::Zeroizing;

use super::admission::Admission;
use super::tally::{LastUse, Tallies, Tally};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::router::Router;

/// Sources remembered at a time.
const SOURCES_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
/// Refused requests of a source that a node keeps in a second.
const KEPT_PER_S: u32 = 16;
/// The longest token looked up.
const TOKEN_LEN_MAX: usize = 128;

/// A source as the webhook path needs it.
pub(crate) struct KnownSource {
    pub(super) account: AccountId,
    pub(super) source: SourceId,
    pub(super) actor: String,
    pub(super) scheme: &'static Scheme,
    pub(super) secrets: Vec<Zeroizing<Vec<u8>>>,
    /// When each of the secrets verified last.
    pub(super) last_uses: Vec<LastUse>,
    /// Whether a secret that the platform brings becomes one of them.
    pub(super) takes_secret: bool,
    /// What seals it.
    pub(super) wrapped_key: Vec<u8>,
    pub(super) admission: Admission,
    /// How many refused requests a second are kept.
    pub(super) keeping: Mutex<Rate>,
    pub(super) token: String,
    pub(super) response: Option<SourceResponse>,
    pub(super) tally: Arc<Tally>,
    pub(super) tolerance: Option<Duration>,
    pub(super) public_url: String,
}

/// A source whose signature held for the request in hand, or that waits for the secret which the request brings. Made by
/// the webhook handler only, after it checked.
pub(crate) struct VerifiedSource(pub(super) Arc<KnownSource>);

impl VerifiedSource {
    pub(crate) fn account(&self) -> &AccountId {
        &self.0.account
    }

    /// The source's name in events.
    pub(crate) fn actor(&self) -> &str {
        &self.0.actor
    }
}

/// A source that refused the request in hand. Made by the webhook handler only.
pub(crate) struct RefusingSource(pub(super) Arc<KnownSource>);

impl RefusingSource {
    pub(crate) fn account(&self) -> &AccountId {
        &self.0.account
    }

    /// The source's name.
    pub(crate) fn actor(&self) -> &str {
        &self.0.actor
    }
}

/// Sources by token.
pub(crate) struct KnownSources {
    inner: Mutex<Inner>,
    pub(crate) tallies: Tallies,
}

struct Inner {
    sources: LruCache<Box<str>, Arc<KnownSource>>,
    changes: u64,
}

impl KnownSources {
    pub(crate) fn new() -> Self {
        let inner = Inner { sources: LruCache::new(SOURCES_MAX), changes: 0 };
        Self { inner: Mutex::new(inner), tallies: Tallies::new() }
    }

    /// The source of a token.
    pub(crate) fn find(
        &self,
        token: &str,
        router: &Router,
        sealer: &Sealer,
        correlation: &CorrelationId,
    ) -> Result<Arc<KnownSource>, Refused> {
        let changes = {
            let mut inner = self.inner.lock();
            if let Some(known) = inner.sources.get(token) {
                return Ok(Arc::clone(known));
            }
            inner.changes
        };
        let span = tracing::info_span!("source", correlation_id = %correlation.0);
        let known = Arc::new(span.in_scope(|| look_up(token, router, sealer, &self.tallies))?);
        let mut inner = self.inner.lock();
        if inner.changes == changes {
            inner.sources.put(token.into(), Arc::clone(&known));
        }
        Ok(known)
    }
}

/// Reads the source from its account, which the token names.
fn look_up(token: &str, router: &Router, sealer: &Sealer, tallies: &Tallies) -> Result<KnownSource, Refused> {
    let unknown = || Refused::new(Code::NotFound, "no source has this token");
    let well_formed = token.len() <= TOKEN_LEN_MAX;
    let (account, _) = token.split_once('.').filter(|_| well_formed).ok_or_else(unknown)?;
    let account = AccountId::parse(account).map_err(|_| unknown())?;
    let (source, kept) = router.reads().source_by_token(&account, token)?.ok_or_else(unknown)?;
    let state = router.account(&account)?.ok_or_else(unknown)?;
    let fault = |message: &'static str| {
        tracing::error!(%account, %source, "{message}");
        Refused::new(Code::Internal, "the source cannot be used; the node's log says more")
    };
    let scheme =
        webhook::find(&kept.scheme).ok_or_else(|| fault("the source's scheme is not known to this version"))?;
    let open = |sealed: &Vec<u8>| sealer.open(&state.wrapped_key, sealed);
    let secrets: Result<Vec<_>, _> = kept.sealed_secrets.iter().map(open).collect();
    let secrets = secrets.map_err(|_| fault("the source's secrets cannot be unsealed with this node key"))?;
    let tolerance = (kept.tolerance_s > 0).then(|| Duration::from_secs(u64::from(kept.tolerance_s)));
    let allow: Result<Vec<_>, _> = kept.settings.allow.iter().map(|network| network.parse()).collect();
    let allow = allow.map_err(|_| fault("the source's networks are not known to this version"))?;
    let rate = Rate::new(kept.settings.rate_per_s).map(Mutex::new);
    let tally = tallies.of(&account, &source);
    Ok(KnownSource {
        actor: format!("source:{source}"),
        account,
        source,
        scheme,
        secrets,
        last_uses: tally.secrets(&kept.sealed_secrets),
        takes_secret: kept.takes_secret(),
        wrapped_key: state.wrapped_key,
        keeping: Mutex::new(Rate::new(KEPT_PER_S).expect("not zero")),
        token: token.to_owned(),
        tolerance,
        admission: Admission { is_paused: kept.is_paused, allow, rate },
        response: kept.settings.response,
        public_url: kept.public_url,
        tally,
    })
}

impl KnownSources {
    fn forget_all(&self) {
        let mut inner = self.inner.lock();
        inner.changes += 1;
        inner.sources.clear();
    }
}

impl Observer for KnownSources {
    fn applied(&self, account: &AccountId, _seq: u64, _at: Timestamp, event: &Event) {
        self.followed(account, event);
    }

    fn followed(&self, account: &AccountId, event: &Event) {
        let (Event::SourceDeleted { source } | Event::SourceChanged { source, .. }) = event else { return };
        if let Event::SourceDeleted { .. } = event {
            self.tallies.forget(account, source);
        }
        let mut inner = self.inner.lock();
        inner.changes += 1;
        let deleted = |known: &KnownSource| known.account == *account && known.source == *source;
        let dead: Vec<Box<str>> =
            inner.sources.iter().filter(|(_, known)| deleted(known)).map(|(token, _)| token.clone()).collect();
        for token in dead {
            inner.sources.pop(&token);
        }
    }

    fn marked(&self, _account: &AccountId, _mark: &Mark) {}

    /// Another node led the shard until now: nothing that is remembered was read under this lead.
    fn led(&self, _shard: ShardId) {
        self.forget_all();
    }

    fn yielded(&self, _is_of_shard: &dyn Fn(&AccountId) -> bool) {
        self.forget_all();
    }
}
