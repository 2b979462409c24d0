//! What the command line prints: lines, tables and JSON on stdout; complaints on stderr.

use std::fmt::Display;
use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Blanks before and after what stands in a column.
const COLUMN_PADDING: (u16, u16) = (0, 2);

/// stdout. A reader that left (`| head`) is an error that ends the command quietly.
pub(super) struct Out(io::Stdout);

impl Out {
    pub(super) fn stdout() -> Self {
        Self(io::stdout())
    }

    pub(super) fn line(&mut self, text: impl Display) -> anyhow::Result<()> {
        writeln!(self.0, "{text}")?;
        Ok(self.0.flush()?)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(bytes)?;
        Ok(self.0.flush()?)
    }

    /// Rows as a table, one column per name; or as a JSON list.
    pub(super) fn rows(&mut self, json: bool, rows: &[Value], columns: &[&str]) -> anyhow::Result<()> {
        if json {
            return self.line(serde_json::to_string_pretty(rows)?);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(columns.iter().map(|name| name.to_uppercase()));
        for row in rows {
            table.add_row(columns.iter().map(|name| cell(&row[*name])));
        }
        for column in table.column_iter_mut() {
            column.set_padding(COLUMN_PADDING);
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        self.line(lines.join("\n"))
    }

    /// One thing, as `name: value` lines; or as a JSON object.
    pub(super) fn one(&mut self, json: bool, thing: &Value) -> anyhow::Result<()> {
        if json {
            return self.line(serde_json::to_string_pretty(thing)?);
        }
        let Some(fields) = thing.as_object() else { return self.line(cell(thing)) };
        let width = fields.keys().map(String::len).max().unwrap_or(0) + 1;
        for (name, value) in fields {
            let label = format!("{name}:");
            match value {
                Value::Array(items) if items.iter().any(Value::is_object) => {
                    self.line(&label)?;
                    for item in items {
                        self.line(format!("  {item}"))?;
                    }
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_) => self.line(format!("{label:width$} {}", cell(value)))?,
            }
        }
        Ok(())
    }
}

/// A value as people read it. Much of it was said by others, whose control characters would speak to the terminal.
fn cell(value: &Value) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(shown).collect(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Whether the reader of our output left.
pub(super) fn reader_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One line on stderr, with the whole chain of causes.
pub(super) fn complain(error: &anyhow::Error) {
    writeln!(io::stderr(), "steward: {error:#}").ok(); // Nobody listens: the exit code says it too.
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_said_does_not_speak_to_the_terminal() {
        assert_eq!(cell(&json!("a\u{1b}[2Jb\r\u{9b}c\nd")), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\nd");
        assert_eq!(cell(&json!(["a", 1, null])), "a, 1, ");
    }
}
