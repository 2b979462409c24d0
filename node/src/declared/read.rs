//! Turns declarations into what can be compared with a source: names parsed, secrets read.

use steward_actors::domain::ids::{AccountId, SourceId};
use steward_actors::domain::webhook::{self, Scheme};

use crate::config::{Config, ConfigError, ConfigErrors, DeclaredSource, Secret};
use crate::gateway::grpc::check_secret;

/// A declared source with its secrets at hand.
pub(crate) struct Declared {
    account: AccountId,
    pub(super) source: SourceId,
    pub(super) scheme: &'static Scheme,
    pub(super) secrets: Vec<Secret>,
    pub(super) stated: DeclaredSource,
}

impl Declared {
    /// Whose it is.
    pub(crate) fn account(&self) -> &AccountId {
        &self.account
    }
}

/// Reads the secrets of all declared sources, once per start.
///
/// # Errors
/// Every secret that is not there or cannot be used, by its key.
pub(crate) fn read(config: &Config) -> Result<Vec<Declared>, ConfigErrors> {
    let (mut declared, mut broken) = (vec![], vec![]);
    for (at, stated) in config.webhooks.sources.iter().enumerate() {
        let scheme = webhook::find(&stated.scheme).expect("the settings were checked");
        let mut secrets = vec![];
        for (position, reference) in stated.secrets.iter().enumerate() {
            let key = DeclaredSource::key(at, &format!("secrets[{position}]"));
            let usable = |secret: &Secret| check_secret(&key, scheme, secret).map_err(|refused| refused.message);
            let found = reference.read().map_err(|rule| format!("{key} {rule}"));
            match found.and_then(|secret| usable(&secret).map(|()| secret)) {
                Ok(secret) => secrets.push(secret),
                Err(message) => broken.push(ConfigError::Invalid(message)),
            }
        }
        declared.push(Declared {
            account: AccountId::parse(&stated.account).expect("the settings were checked"),
            source: SourceId::parse(&stated.source).expect("the settings were checked"),
            scheme,
            secrets,
            stated: stated.clone(),
        });
    }
    if broken.is_empty() { Ok(declared) } else { Err(ConfigErrors(broken)) }
}
