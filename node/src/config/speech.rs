//! Settings of speech: the services that turn it into text, beside what runs on the node itself.

use serde::{Deserialize, Serialize};
use steward_actors::task::runner::video::speech::{LOCAL, Protocol};

use super::secret::SecretReference;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Speech {
    pub(crate) default_engine: String,
    pub(crate) engines: Vec<SpeechEngine>,
}

/// A service that turns speech into text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpeechEngine {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) protocol: SpeechProtocol,
    pub(crate) url: String,
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) key: SecretReference,
}

/// What such a service speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SpeechProtocol {
    #[default]
    Openai,
    WhisperCpp,
}

impl From<SpeechProtocol> for Protocol {
    fn from(protocol: SpeechProtocol) -> Self {
        match protocol {
            SpeechProtocol::Openai => Self::OpenAi,
            SpeechProtocol::WhisperCpp => Self::WhisperCpp,
        }
    }
}

impl Default for Speech {
    fn default() -> Self {
        Self { default_engine: LOCAL.to_owned(), engines: vec![] }
    }
}
