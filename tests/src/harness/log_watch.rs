//! Reads a node's log: what a test waits for, and what nobody expected.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Lines shown when a test fails.
const TAIL_LINES: usize = 40;

/// The log's lines. One that is no JSON is of a panic or of a command line's complaint, and stands as text.
pub(super) fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned())))
        .collect()
}

/// From where on a line needs a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    Warn,
    /// Among nodes that are killed and cut off, warnings are what everybody expects.
    Error,
}

/// Lines that need a human and that no expectation names.
pub(super) fn unexpected(log: &Path, alarm: Alarm, expected: &[String]) -> Vec<String> {
    let alarming = |line: &Value| match line["level"].as_str() {
        Some(level) => level == "ERROR" || (level == "WARN" && alarm == Alarm::Warn),
        None => true,
    };
    let known = |line: &String| expected.iter().any(|text| line.contains(text.as_str()));
    lines(log).iter().filter(|line| alarming(line)).map(Value::to_string).filter(|line| !known(line)).collect()
}

/// The end of the log, for whoever reads a failed test.
pub(super) fn tail(log: &Path) -> String {
    let lines = lines(log);
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}
