//! Looks for declared sources whose account is led here, and takes them step by step to what is declared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use steward_actors::domain::account::{Account, Command, Rejection, Source, SourceAsked, SourceCreated};
use steward_actors::seal::{SealError, Sealer};
use steward_actors::shard::{ExecuteError, ReadError};
use steward_actors::supervisor;
use steward_cluster::ids::{ShardId, Term};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::plan::{self, Step};
use super::read::Declared;
use crate::gateway::grpc::new_token;
use crate::router::Router;

/// How often it looks: for accounts that appeared, shards that are led since then, and what did not go through.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Commands for one source and look; a whole new set of secrets takes fewer.
const STEPS_MAX: usize = 12;
/// How long one command is waited for before the next look.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Why a source is not as declared after a look.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("the account does not exist yet")]
    NoAccount,
    #[error("the source has the scheme {0}, which cannot be changed: delete the source or declare that scheme")]
    OtherScheme(String),
    #[error(transparent)]
    Read(#[from] ReadError), // It says everything.
    #[error(transparent)]
    Seal(#[from] SealError), // The same.
    #[error(transparent)]
    Execute(#[from] ExecuteError), // The same.
    #[error("a command took longer than {} s", STEP_MAX.as_secs())]
    Slow,
    #[error("something else changes the source all the time")]
    Restless,
}

/// Keeps declared sources until the handle is dropped; none are no work.
pub(crate) fn keep(declared: Vec<Declared>, router: Router, sealer: Arc<Sealer>) -> Option<AbortOnDropHandle<()>> {
    let keeper = Keeper { router, sealer, settled: BTreeMap::new(), told: BTreeMap::new() };
    let is_needed = !declared.is_empty();
    is_needed.then(|| AbortOnDropHandle::new(supervisor::spawn("declared sources", keeper.run(declared))))
}

struct Keeper {
    router: Router,
    sealer: Arc<Sealer>,
    /// The lead under which each declaration was done with.
    settled: BTreeMap<usize, Term>,
    /// What was last said about each one that is not done with.
    told: BTreeMap<usize, String>,
}

impl Keeper {
    async fn run(mut self, declared: Vec<Declared>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look(&declared).await;
        }
    }

    /// Looks at the sources that were not done with under the lead this node has.
    async fn look(&mut self, declared: &[Declared]) {
        let rows = self.router.shards();
        let led: BTreeMap<ShardId, Term> =
            rows.iter().filter(|row| row.role == "leader").map(|row| (row.shard, row.term)).collect();
        let mut done = 0;
        for (at, declared) in declared.iter().enumerate() {
            let term = led.get(&self.router.shard_of(declared.account())).copied();
            let Some(term) = term.filter(|term| self.settled.get(&at) != Some(term)) else { continue };
            match self.settle(declared).await {
                Ok(()) => {
                    self.settled.insert(at, term);
                    self.told.remove(&at);
                    done += 1;
                }
                Err(unsettled) => self.tell(at, declared, &unsettled),
            }
        }
        if done > 0 {
            tracing::info!(sources = done, "declared sources were looked at");
        }
    }

    /// Brings a source to what is declared.
    async fn settle(&self, declared: &Declared) -> Result<(), Unsettled> {
        for _ in 0..STEPS_MAX {
            let Some((command, what)) = self.next(declared)? else { return Ok(()) };
            let done = timeout(STEP_MAX, self.router.declare(declared, command)).await;
            done.map_err(|_| Unsettled::Slow)??;
            let (account, source) = (declared.account(), &declared.source);
            tracing::info!(%account, %source, what, "a declared source was changed");
        }
        Err(Unsettled::Restless)
    }

    /// The next command, and what it does.
    fn next(&self, declared: &Declared) -> Result<Option<(Command, &'static str)>, Unsettled> {
        let account = self.router.account(declared.account())?.ok_or(Unsettled::NoAccount)?;
        let step = match account.sources.get(&declared.source) {
            None => Some(Step::Create),
            Some(source) if source.scheme != declared.scheme.name => {
                return Err(Unsettled::OtherScheme(source.scheme.clone()));
            }
            Some(source) => plan::next(declared, source, &self.open(&account, source)?),
        };
        step.map(|step| self.command(&account, declared, step)).transpose()
    }

    fn command(
        &self,
        account: &Account,
        declared: &Declared,
        step: Step,
    ) -> Result<(Command, &'static str), Unsettled> {
        let seal = |at: usize| self.sealer.seal(&account.wrapped_key, declared.secrets[at].as_bytes());
        let (asked, what) = match step {
            Step::Create => {
                let sealed: Result<Vec<_>, _> = (0..declared.secrets.len()).map(seal).collect();
                let created = SourceCreated {
                    source: declared.source.clone(),
                    scheme: declared.scheme.name.to_owned(),
                    token: new_token(declared.account()),
                    sealed_secrets: sealed?,
                    tolerance_s: declared.stated.tolerance_s.unwrap_or_default(),
                    public_url: declared.stated.public_url.clone().unwrap_or_default(),
                };
                return Ok((Command::CreateSource(created), "made"));
            }
            Step::Update(asked) => (asked, "settings"),
            Step::AddSecret(at) => (SourceAsked::AddSecret { sealed_secret: seal(at)? }, "secret added"),
            Step::RetireSecret(position) => (SourceAsked::RetireSecret { position }, "secret retired"),
        };
        Ok((Command::ChangeSource { source: declared.source.clone(), asked }, what))
    }

    fn open(&self, account: &Account, source: &Source) -> Result<Vec<Zeroizing<Vec<u8>>>, SealError> {
        source.sealed_secrets.iter().map(|sealed| self.sealer.open(&account.wrapped_key, sealed)).collect()
    }

    /// Says once why a source is not as declared; the next look tries again.
    fn tell(&mut self, at: usize, declared: &Declared, unsettled: &Unsettled) {
        let text = unsettled.to_string();
        let is_new = self.told.get(&at) != Some(&text);
        let (account, source) = (declared.account(), &declared.source);
        match unsettled {
            Unsettled::NoAccount | Unsettled::Execute(ExecuteError::Rejected(Rejection::NotYet { .. })) if is_new => {
                tracing::info!(%account, %source, why = text, "a declared source waits");
            }
            Unsettled::Execute(
                ExecuteError::NotLed { .. } | ExecuteError::Overloaded { .. } | ExecuteError::OutcomeUnknown { .. },
            ) => tracing::debug!(%account, %source, why = text, "a declared source is looked at again"),
            Unsettled::NoAccount
            | Unsettled::OtherScheme(_)
            | Unsettled::Read(_)
            | Unsettled::Seal(_)
            | Unsettled::Execute(_)
            | Unsettled::Slow
            | Unsettled::Restless => {
                if is_new {
                    tracing::warn!(%account, %source, why = text, "a declared source cannot be brought to its settings");
                }
            }
        }
        self.told.insert(at, text);
    }
}
