//! Which engines there are, by name: the embedded one and the services of the settings. Built by the composition root.
//!
//! # Decisions
//! - A name that is none of them is refused where a job is asked for, and again by the runner: the inputs of playbooks
//!   come from events, and nodes may differ in their settings.
//! - No queue of calls in front of a service: a transcript has one window at a service at a time and holds a CPU slot
//!   meanwhile, so a node never has more calls in hand than slots.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::service::Service;
use super::{Transcriber, embedded};
use crate::egress::Egress;
use crate::task::runner::ai::ProviderConfig;

/// The name of the embedded engine.
pub const LOCAL: &str = "local";

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `POST {url}/audio/transcriptions`.
    OpenAi,
    /// `POST {url}/inference`: the server that comes with whisper.cpp.
    WhisperCpp,
}

/// A service that turns speech into text.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Its name, its address and its key.
    pub provider: ProviderConfig,
    pub protocol: Protocol,
    /// What it is asked for, and what results say.
    pub model: String,
}

/// The names of all engines, for whoever reads what jobs ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineNames(Vec<String>);

impl EngineNames {
    /// The embedded engine and these.
    #[must_use]
    pub fn new(services: impl Iterator<Item = String>) -> Self {
        Self([LOCAL.to_owned()].into_iter().chain(services).collect())
    }

    /// The engine that an input names; none when it leaves the choice to the settings.
    ///
    /// # Errors
    /// The rule that `engine` breaks.
    pub fn asked<'a>(&self, input: &'a Value) -> Result<Option<&'a str>, String> {
        let Some(asked) = input.get("engine") else { return Ok(None) };
        let known = asked.as_str().filter(|asked| self.0.iter().any(|name| name == asked));
        known.map(Some).ok_or_else(|| format!("must be one of {}", self.0.join(", ")))
    }
}

/// All engines of a node.
#[derive(Clone)]
pub struct Engines {
    names: EngineNames,
    default: String,
    /// Those that can be used.
    ready: BTreeMap<String, Arc<dyn Transcriber>>,
}

impl Engines {
    /// The embedded engine, when its model is in `models`, and the services. Contacts nobody.
    #[must_use]
    pub fn new(models: &Path, services: Vec<EngineConfig>, default: String, egress: &Arc<Egress>) -> Self {
        let names = EngineNames::new(services.iter().map(|service| service.provider.name.clone()));
        let service = |config| -> Arc<dyn Transcriber> { Arc::new(Service::new(config, Arc::clone(egress))) };
        let all = embedded(models).into_iter().chain(services.into_iter().map(service));
        let ready = all.map(|engine| (engine.name().to_owned(), engine)).collect();
        Self { names, default, ready }
    }

    /// The engine for an input; none when it has no model here.
    ///
    /// # Errors
    /// The rule that `engine` breaks.
    pub(in super::super) fn find(&self, input: &Value) -> Result<Option<&Arc<dyn Transcriber>>, String> {
        let name = self.names.asked(input)?.unwrap_or(&self.default);
        Ok(self.ready.get(name))
    }

    /// Whether the engine that jobs get unasked can be used.
    pub(in super::super) fn has_default(&self) -> bool {
        self.ready.contains_key(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_engine_is_told_what_there_is() {
        let names = EngineNames::new(["cloud".to_owned()].into_iter());
        assert_eq!(names.asked(&json!({})), Ok(None));
        assert_eq!(names.asked(&json!({ "engine": "cloud" })), Ok(Some("cloud")));
        for unknown in [json!("clod"), json!(7), json!(null), json!("")] {
            let input = json!({ "engine": unknown });
            let refused = names.asked(&input);
            assert_eq!(refused, Err("must be one of local, cloud".to_owned()), "{unknown}");
        }
    }
}
