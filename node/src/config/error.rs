//! What can be wrong with settings. Every message names the key and where its value came from.

use std::fmt;
use std::path::PathBuf;

use super::layers::Origin;

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} is not TOML", path.display())]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("unknown key {key} ({origin}); the nearest one is {nearest}")]
    UnknownKey { key: String, origin: Origin, nearest: String },
    #[error("{key} ({origin}) must be {expected}")]
    WrongType { key: String, origin: Origin, expected: &'static str },
    #[error("{0} must have the form key=value")]
    NotAnAssignment(String),
    /// Names the key itself.
    #[error("{0}")]
    Invalid(String),
}

/// Everything that is wrong, so that it can be put right in one go.
#[derive(Debug)]
pub(crate) struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
            if let Some(source) = std::error::Error::source(error) {
                write!(f, ": {source}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}
