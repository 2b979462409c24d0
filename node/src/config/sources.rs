//! Sources that the settings declare, and what can be wrong with them before their secrets are read.
//!
//! # Decisions
//! - What a source is asked to be is judged by the account's own rules, so that the file and the API refuse the same.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use steward_actors::domain::account::limits::SECRETS_MAX;
use steward_actors::domain::account::{
    Account, Asked, Command, Facts, Source, SourceAsked, SourceResponse, SourceSettings, decide,
};
use steward_actors::domain::ids::{AccountId, SourceId};
use steward_actors::domain::webhook;
use steward_cluster::clock::Timestamp;

use super::error::ConfigError;
use super::secret::{self, SecretReference};
use crate::gateway::grpc::{check_settings, check_url};

/// Sources a file may declare.
const DECLARED_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    pub(crate) sources: Vec<DeclaredSource>,
}

/// A source as it is to be. What it does not state stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredSource {
    pub(crate) account: String,
    pub(crate) source: String,
    pub(crate) scheme: String,
    /// Empty only where the platform brings its secret.
    #[serde(default)]
    pub(crate) secrets: Vec<SecretReference>,
    pub(crate) tolerance_s: Option<u32>,
    pub(crate) public_url: Option<String>,
    pub(crate) rate_per_s: Option<u32>,
    pub(crate) allow: Option<Vec<String>>,
    pub(crate) response: Option<DeclaredResponse>,
}

/// What webhooks of a source are answered with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredResponse {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) content_type: String,
    #[serde(default)]
    pub(crate) body: String,
}

impl DeclaredSource {
    /// Where a field of it stands in the settings.
    pub(crate) fn key(at: usize, field: &str) -> String {
        format!("webhooks.sources[{at}].{field}")
    }

    /// A source's settings with what is stated here.
    pub(crate) fn over(&self, kept: &Source) -> SourceAsked {
        let response = self.response.as_ref().map(|response| SourceResponse {
            status: response.status,
            content_type: response.content_type.clone(),
            body: response.body.clone(),
        });
        SourceAsked::Update {
            tolerance_s: self.tolerance_s.unwrap_or(kept.tolerance_s),
            public_url: self.public_url.clone().unwrap_or_else(|| kept.public_url.clone()),
            settings: SourceSettings {
                rate_per_s: self.rate_per_s.unwrap_or(kept.settings.rate_per_s),
                allow: self.allow.clone().unwrap_or_else(|| kept.settings.allow.clone()),
                response: response.or_else(|| kept.settings.response.clone()),
            },
        }
    }

    /// The first thing that is wrong: a field and a rule.
    fn wrong(&self) -> Result<(), (String, String)> {
        let rule = |field: &str, rule: &dyn ToString| (field.to_owned(), rule.to_string());
        let account = AccountId::parse(&self.account).map_err(|error| rule("account", &error))?;
        let source = SourceId::parse(&self.source).map_err(|error| rule("source", &error))?;
        let scheme = webhook::find(&self.scheme);
        let scheme =
            scheme.ok_or_else(|| rule("scheme", &"must be a known scheme; `steward webhook schemes` lists them"))?;
        let fewest = usize::from(!scheme.brings_secrets());
        if !(fewest..=SECRETS_MAX).contains(&self.secrets.len()) {
            return Err(rule("secrets", &format!("must hold {fewest} to {SECRETS_MAX} secrets")));
        }
        for (at, secret) in self.secrets.iter().enumerate() {
            if !secret.is_well_formed() {
                return Err((format!("secrets[{at}]"), secret::RULE.to_owned()));
            }
        }
        self.check_settings(account, source)
    }

    fn check_settings(&self, account: AccountId, source: SourceId) -> Result<(), (String, String)> {
        if let Some(url) = self.public_url.as_deref().filter(|url| !url.is_empty()) {
            check_url("public_url", url).map_err(|refused| apart(&refused.message))?;
        }
        let mut state = Account::absent(account);
        state.created_at = Some(Timestamp(0));
        let kept = Source {
            scheme: self.scheme.clone(),
            token: String::new(),
            sealed_secrets: vec![],
            tolerance_s: 0,
            public_url: String::new(),
            created_at: Timestamp(0),
            settings: SourceSettings::default(),
            is_paused: false,
            awaits_secret: false,
            next_refused: 0,
        };
        let asked = self.over(&kept);
        if let SourceAsked::Update { settings, .. } = &asked {
            check_settings(settings).map_err(|refused| apart(&refused.message))?;
        }
        state.sources.insert(source.clone(), kept);
        let asked = Asked {
            command: Command::ChangeSource { source, asked },
            actor: String::new(),
            correlation_id: String::new(),
            causation_seq: 0,
            idempotency: None,
        };
        let decided = decide(&state, &Facts::default(), &asked, Timestamp(0));
        decided.map(|_| ()).map_err(|rejection| apart(&rejection.to_string()))
    }
}

/// A refusal names its field first.
fn apart(message: &str) -> (String, String) {
    let (field, rule) = message.split_once(' ').unwrap_or((message, ""));
    (field.to_owned(), rule.to_owned())
}

/// Everything that is wrong with declared sources.
pub(super) fn check(sources: &[DeclaredSource]) -> Vec<ConfigError> {
    let mut broken = vec![];
    if sources.len() > DECLARED_MAX {
        broken.push(ConfigError::Invalid(format!("webhooks.sources must hold at most {DECLARED_MAX} sources")));
    }
    let mut names = BTreeSet::new();
    for (at, declared) in sources.iter().enumerate() {
        if let Err((field, rule)) = declared.wrong() {
            broken.push(ConfigError::Invalid(format!("{} {rule}", DeclaredSource::key(at, &field))));
        }
        if !names.insert((&declared.account, &declared.source)) {
            let (key, account) = (DeclaredSource::key(at, "source"), &declared.account);
            let rule = format!("must be declared once: account {account:?} has {:?} already", declared.source);
            broken.push(ConfigError::Invalid(format!("{key} {rule}")));
        }
    }
    broken
}
