//! Prints settings, without secrets. Called by `steward config`.

use std::fmt::Write as _;

use toml::Value;

use super::layers::{Layers, variable};
use super::secret::is_shown;

/// Fields, wherever they stand, whose values are never printed.
const SECRETS: [&str; 1] = ["api_key"];
/// Fields that say where a secret is; what is a secret itself is not printed either.
const REFERENCES: [&str; 4] = ["secrets", "proxy_credentials", "secret_access_key", "key"];
/// What is printed instead.
const MASK: &str = "********";

/// The settings as TOML; with their origins and variables as comments when asked.
pub(crate) fn show(layers: &Layers, origins: bool) -> String {
    let mut out = String::new();
    let mut section = "";
    for (key, (value, origin)) in &layers.values {
        let (head, name) = key.split_once('.').expect("every key stands in a section");
        if head != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}[{head}]").expect("a string takes any text");
            section = head;
        }
        let value = masked(name, value);
        let comment = if origins { format!("  # {origin}; {}", variable(key)) } else { String::new() };
        writeln!(out, "{name} = {value}{comment}").expect("a string takes any text");
    }
    out
}

fn masked(name: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if SECRETS.contains(&name) && !text.is_empty() => Value::String(MASK.to_owned()),
        Value::String(text) if REFERENCES.contains(&name) && !is_shown(text) => Value::String(MASK.to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(name, item)).collect()),
        Value::Table(fields) => {
            Value::Table(fields.iter().map(|(name, value)| (name.clone(), masked(name, value))).collect())
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            value.clone()
        }
    }
}
