//! Reads the values a scheme names out of one request; the body is parsed once, and only if asked for.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;
use url::form_urlencoded;

use super::Incoming;
use super::scheme::Place;

/// A request and, once somebody asked for it, its parsed body.
pub(super) struct Reader<'a> {
    pub(super) incoming: Incoming<'a>,
    json: OnceCell<Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(incoming: Incoming<'a>) -> Self {
        Self { incoming, json: OnceCell::new() }
    }

    /// The body as JSON; null when it is not JSON.
    pub(super) fn json(&self) -> &Value {
        self.json.get_or_init(|| serde_json::from_slice(self.incoming.body).unwrap_or_default())
    }

    /// The value at a place, unless it is absent or empty.
    pub(super) fn value(&self, place: Place) -> Option<Cow<'_, [u8]>> {
        match place {
            Place::Header(name) => self.header(name).map(Cow::Borrowed),
            Place::EitherHeader(name, other) => self.header(name).or_else(|| self.header(other)).map(Cow::Borrowed),
            Place::Json(_) | Place::JsonOrigin(_) => text_at(self.json(), place).map(into_bytes),
            Place::Form(field) => self.form_field(field).map(into_bytes),
        }
    }

    /// The value at a place as text, with places in the body taken relative to `item`.
    pub(super) fn text(&self, place: Place, item: &Value) -> Option<String> {
        match place {
            Place::Json(_) | Place::JsonOrigin(_) => text_at(item, place).map(Cow::into_owned),
            Place::Header(_) | Place::EitherHeader(..) | Place::Form(_) => {
                String::from_utf8(self.value(place)?.into_owned()).ok()
            }
        }
    }

    /// A header's value, unless it is absent or empty.
    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.incoming.headers.value(name).map(<[u8]>::trim_ascii).filter(|value| !value.is_empty())
    }

    /// A form field. Only of a body that says it is a form: text inside JSON could otherwise pose as a field.
    fn form_field(&self, field: &str) -> Option<Cow<'a, str>> {
        let content_type = self.header("content-type")?;
        let expected = b"application/x-www-form-urlencoded";
        if !content_type.get(..expected.len())?.eq_ignore_ascii_case(expected) {
            return None;
        }
        let mut fields = form_urlencoded::parse(self.incoming.body);
        fields.find(|(name, value)| name == field && !value.is_empty()).map(|(_, value)| value)
    }
}

/// A scalar of a JSON value as text. Ids are often numbers, so numbers count; nothing else does.
fn text_at(json: &Value, place: Place) -> Option<Cow<'_, str>> {
    let (pointer, origin_only) = match place {
        Place::Json(pointer) => (pointer, false),
        Place::JsonOrigin(pointer) => (pointer, true),
        Place::Header(_) | Place::EitherHeader(..) | Place::Form(_) => return None,
    };
    let text = match json.pointer(pointer)? {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    if !origin_only {
        return Some(text);
    }
    let origin = url::Url::parse(&text).ok()?.origin();
    origin.is_tuple().then(|| Cow::Owned(origin.ascii_serialization()))
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
