//! Merges the layers of settings, key by key, remembering where each value came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::{ConfigError, ConfigErrors};
use super::nearest::nearest;
use super::sections::Config;

/// What variables that are settings start with.
const PREFIX: &str = "STEWARD_";
/// Variables that start like settings but belong to the command line.
const NOT_SETTINGS: [&str; 3] = ["STEWARD_CONFIG", "STEWARD_ADDRESS", "STEWARD_KEY"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    /// `steward dev` sets it.
    Dev,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Dev => f.write_str("steward dev"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Settings by full key, each with its origin.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(super) values: BTreeMap<String, (Value, Origin)>,
    errors: Vec<ConfigError>,
}

impl Layers {
    /// The defaults; later layers replace single keys.
    pub(crate) fn defaults() -> Self {
        let defaults = Table::try_from(Config::default()).expect("the defaults are a table");
        let values = flatten(&defaults).into_iter().map(|(key, value)| (key, (value, Origin::Default))).collect();
        Self { values, errors: vec![] }
    }

    /// Adds what `steward dev` does differently.
    pub(crate) fn dev(mut self) -> Self {
        self.set_text("node.data_dir", "steward-dev", &Origin::Dev);
        self.set_text("log.format", "pretty", &Origin::Dev);
        self
    }

    /// Adds a file.
    pub(crate) fn file(mut self, path: &Path) -> Self {
        let origin = Origin::File(path.to_owned());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) => {
                self.errors.push(ConfigError::File { path: path.to_owned(), source });
                return self;
            }
        };
        match text.parse::<Table>() {
            Ok(table) => flatten(&table).into_iter().for_each(|(key, value)| self.set(key, value, &origin)),
            Err(source) => {
                self.errors.push(ConfigError::Toml { path: path.to_owned(), source: Box::new(source) });
            }
        }
        self
    }

    /// Adds variables of the form `STEWARD_SECTION_KEY`.
    pub(crate) fn environment(mut self, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        for (name, text) in variables {
            let (Some(name), Some(text)) = (name.to_str(), text.to_str()) else { continue };
            if !name.starts_with(PREFIX) || NOT_SETTINGS.contains(&name) {
                continue;
            }
            let origin = Origin::Environment(name.to_owned());
            let found = self.values.keys().find(|key| variable(key) == name).cloned();
            match found {
                Some(key) => self.set_text(&key, text, &origin),
                None => {
                    let variables: Vec<String> = self.values.keys().map(|key| variable(key)).collect();
                    let nearest = nearest(name, variables.iter().map(String::as_str)).to_owned();
                    self.errors.push(ConfigError::UnknownKey { key: name.to_owned(), origin, nearest });
                }
            }
        }
        self
    }

    /// Adds a flag with a name of its own, when it was given.
    pub(crate) fn flag(mut self, flag: &str, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.set_text(key, value, &Origin::Flag(flag.to_owned()));
        }
        self
    }

    /// Adds `--set key=value` flags.
    pub(crate) fn assignments(mut self, assignments: &[String]) -> Self {
        for assignment in assignments {
            match assignment.split_once('=') {
                Some((key, value)) => self.set_text(key.trim(), value.trim(), &Origin::Flag("--set".to_owned())),
                None => self.errors.push(ConfigError::NotAnAssignment(assignment.clone())),
            }
        }
        self
    }

    /// The typed settings, or everything that is wrong with them.
    pub(crate) fn load(&mut self) -> Result<Config, ConfigErrors> {
        let errors = std::mem::take(&mut self.errors);
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let mut sections = Table::new();
        for (key, (value, _)) in &self.values {
            let (section, name) = key.split_once('.').expect("every key stands in a section");
            let section = sections.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().expect("sections are tables").insert(name.to_owned(), value.clone());
        }
        let config: Config = sections
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Invalid(error.to_string().trim().replace('\n', " ")))?;
        let mut broken = super::check::check(&config);
        broken.extend(super::sources::check(&config.webhooks.sources));
        if broken.is_empty() { Ok(config) } else { Err(ConfigErrors(broken)) }
    }

    fn set_text(&mut self, key: &str, text: &str, origin: &Origin) {
        let parsed = match self.values.get(key) {
            None | Some((Value::String(_), _)) => Some(Value::String(text.to_owned())),
            Some((Value::Integer(_), _)) => text.parse().ok().map(Value::Integer),
            Some((Value::Boolean(_), _)) => text.parse().ok().map(Value::Boolean),
            Some((Value::Array(_), _)) => list(text),
            Some((Value::Float(_) | Value::Datetime(_) | Value::Table(_), _)) => None,
        };
        // A text that does not parse is kept, so that the type check names the key.
        self.set(key.to_owned(), parsed.unwrap_or_else(|| Value::String(text.to_owned())), origin);
    }

    fn set(&mut self, key: String, value: Value, origin: &Origin) {
        let origin = origin.clone();
        match self.values.get_mut(&key) {
            None => {
                let nearest = nearest(&key, self.values.keys().map(String::as_str)).to_owned();
                self.errors.push(ConfigError::UnknownKey { key, origin, nearest });
            }
            Some((known, _)) if !known.same_type(&value) => {
                let expected = known.type_str();
                self.errors.push(ConfigError::WrongType { key, origin, expected });
            }
            Some(known) => *known = (value, origin),
        }
    }
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// A list as TOML writes it, or its items separated by commas.
fn list(text: &str) -> Option<Value> {
    if text.trim_start().starts_with('[') {
        return format!("list = {text}").parse::<Table>().ok()?.remove("list");
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
}

/// Values by full key. Sections are one level deep; what is deeper is a value.
fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut flat = vec![];
    for (section, value) in table {
        match value {
            Value::Table(keys) => {
                flat.extend(keys.iter().map(|(name, value)| (format!("{section}.{name}"), value.clone())));
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => flat.push((section.clone(), value.clone())),
        }
    }
    flat
}
