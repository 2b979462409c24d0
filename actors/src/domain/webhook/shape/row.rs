//! What a row of a platform's table can say, and how it is read. The platforms beside it hold the rows.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::{Shape, text};

/// JSON pointers; the first that leads to something of use counts.
type Places = &'static [&'static str];

/// Where the parts of one sort of event stand.
pub(super) struct Row {
    /// Of which event types: one, or with a last `*` all that begin so. The first row that fits counts.
    pub(super) on: &'static str,
    pub(super) kind: Word,
    pub(super) action: Word,
    pub(super) id: Places,
    pub(super) title: Places,
    pub(super) who_id: Places,
    pub(super) who_name: Places,
    /// A name in pieces, for when there is no whole one.
    pub(super) who_name_pieces: Places,
    pub(super) who_email: Places,
    pub(super) when: &'static [(&'static str, StampForm)],
    pub(super) link: Places,
}

/// Where a word for kind or action comes from.
pub(super) enum Word {
    Unsaid,
    Is(&'static str),
    /// The body's word; the other one when it has none.
    At(&'static str, &'static str),
    /// The event type up to its first dot.
    First,
    /// The event type from its first dot on.
    Rest,
    /// The event type from its last dot on.
    Last,
    /// The event type.
    Whole,
}

/// A row that says nothing, for the rest of others.
pub(super) const NOTHING: Row = Row {
    on: "*",
    kind: Word::Unsaid,
    action: Word::Unsaid,
    id: &[],
    title: &[],
    who_id: &[],
    who_name: &[],
    who_name_pieces: &[],
    who_email: &[],
    when: &[],
    link: &[],
};

/// What the first row that fits reads; nothing when none does.
pub(super) fn read(rows: &[Row], event_type: &str, body: &Value) -> Shape {
    let fits = |row: &&Row| match row.on.strip_suffix('*') {
        Some(start) => event_type.starts_with(start),
        None => event_type == row.on,
    };
    rows.iter().find(fits).map(|row| row.read(event_type, body)).unwrap_or_default()
}

impl Row {
    fn read(&self, event_type: &str, body: &Value) -> Shape {
        let when = self.when.iter().find_map(|(place, form)| text::when(body.pointer(place)?, *form));
        Shape {
            who_id: first(body, self.who_id, text::whole),
            who_name: first(body, self.who_name, text::cut).or_else(|| self.name_in_pieces(body)),
            who_email: first(body, self.who_email, text::email),
            kind: self.kind.of(event_type, body),
            action: self.action.of(event_type, body),
            id: first(body, self.id, text::whole),
            title: first(body, self.title, text::cut),
            when,
            link: first(body, self.link, text::link),
        }
    }

    fn name_in_pieces(&self, body: &Value) -> Option<String> {
        let pieces = self.who_name_pieces.iter().filter_map(|place| text::scalar(body.pointer(place)?));
        text::cut(&Value::String(pieces.collect::<Vec<_>>().join(" ")))
    }
}

impl Word {
    fn of(&self, event_type: &str, body: &Value) -> Option<String> {
        match self {
            Self::Unsaid => None,
            Self::Is(word) => Some((*word).to_owned()),
            Self::At(place, other) => {
                body.pointer(place).and_then(Value::as_str).and_then(text::word).or_else(|| text::word(other))
            }
            Self::First => text::word(event_type.split('.').next()?),
            Self::Rest => text::word(event_type.split_once('.')?.1),
            Self::Last => text::word(event_type.rsplit_once('.')?.1),
            Self::Whole => text::word(event_type),
        }
    }
}

fn first(body: &Value, places: Places, read: fn(&Value) -> Option<String>) -> Option<String> {
    places.iter().find_map(|place| read(body.pointer(place)?))
}
