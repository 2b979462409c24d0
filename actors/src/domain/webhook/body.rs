//! Reads the values a scheme names out of one request; the body is read once, and only if asked for.

use std::borrow::Cow;
use std::cell::OnceCell;

use url::form_urlencoded;

use super::Incoming;
use super::pick::{Row, pick};
use super::scheme::{Items, Place};
use super::soap;

/// A request and, once somebody asked for them, the values of its JSON body.
pub(super) struct Reader<'a> {
    pub(super) incoming: Incoming<'a>,
    pointers: Vec<&'static str>,
    items: Items,
    rows: OnceCell<Vec<Row>>,
    fields: OnceCell<Vec<Field<'a>>>,
}

/// The name and the value of a field of a form.
type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

impl<'a> Reader<'a> {
    /// A reader of these places; others in the body read as absent.
    pub(super) fn new(incoming: Incoming<'a>, places: impl Iterator<Item = Place>, items: Items) -> Self {
        let mut pointers = Vec::new();
        for place in places {
            if let Place::Json(pointer) | Place::JsonOrigin(pointer) = place
                && !pointers.contains(&pointer)
            {
                pointers.push(pointer);
            }
        }
        Self { incoming, pointers, items, rows: OnceCell::new(), fields: OnceCell::new() }
    }

    /// The values of each item of the body. Many schemes name headers only: their bodies are never parsed.
    pub(super) fn rows(&self) -> &[Row] {
        self.rows.get_or_init(|| match (self.pointers.as_slice(), self.items) {
            ([], _) => vec![Row::new()],
            (pointers, Items::Soap) => soap::rows(self.incoming.body, pointers),
            (pointers, Items::One | Items::Array | Items::Under(_)) => pick(self.incoming.body, pointers, self.items),
        })
    }

    /// The value at a place, unless it is absent or empty.
    pub(super) fn value(&self, place: Place) -> Option<Cow<'_, [u8]>> {
        match place {
            Place::Header(name) => self.header(name).map(Cow::Borrowed),
            Place::EitherHeader(name, other) => self.header(name).or_else(|| self.header(other)).map(Cow::Borrowed),
            Place::Json(pointer) => self.at(self.rows().first()?, pointer).map(|text| Cow::Borrowed(text.as_bytes())),
            Place::JsonOrigin(pointer) => {
                let origin = url::Url::parse(self.at(self.rows().first()?, pointer)?).ok()?.origin();
                origin.is_tuple().then(|| Cow::Owned(origin.ascii_serialization().into_bytes()))
            }
            Place::Form(field) => self.form_field(field).map(|value| Cow::Borrowed(value.as_bytes())),
        }
    }

    /// The value at a place as text, with places in the body taken from one item of it.
    pub(super) fn text(&self, place: Place, row: &Row) -> Option<String> {
        match place {
            Place::Json(pointer) => self.at(row, pointer).map(str::to_owned),
            Place::JsonOrigin(_) | Place::Header(_) | Place::EitherHeader(..) | Place::Form(_) => {
                String::from_utf8(self.value(place)?.into_owned()).ok()
            }
        }
    }

    fn at<'r>(&self, row: &'r Row, pointer: &str) -> Option<&'r str> {
        let index = self.pointers.iter().position(|known| *known == pointer)?;
        row.get(index)?.as_deref()
    }

    /// A header's value, unless it is absent or empty.
    pub(super) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.incoming.headers.value(name).map(<[u8]>::trim_ascii).filter(|value| !value.is_empty())
    }

    /// Whether the body says that it is a form.
    pub(super) fn is_form(&self) -> bool {
        let expected = b"application/x-www-form-urlencoded";
        let start = self.header("content-type").and_then(|content_type| content_type.get(..expected.len()));
        start.is_some_and(|start| start.eq_ignore_ascii_case(expected))
    }

    /// The fields of the form, in its order. None of a body that does not say it is a form: text inside JSON could otherwise
    /// pose as a field.
    pub(super) fn fields(&self) -> &[Field<'a>] {
        let parse = || if self.is_form() { form_urlencoded::parse(self.incoming.body).collect() } else { vec![] };
        self.fields.get_or_init(parse)
    }

    fn form_field(&self, field: &str) -> Option<&str> {
        let mut fields = self.fields().iter();
        fields.find(|(name, value)| name == field && !value.is_empty()).map(|(_, value)| value.as_ref())
    }
}
