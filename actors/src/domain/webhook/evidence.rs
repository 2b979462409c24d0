//! Gathers the credentials of a request, before any of them is believed.

use std::borrow::Cow;

use super::Refusal;
use super::body::Reader;
use super::jwt::Token;
use super::scheme::{Fixed, Layout, Part, Place, Scheme, SignatureAt, StampAt};
use super::verify::bad;

/// Signatures tried per request; the largest number any scheme documents.
pub(super) const SIGNATURES_MAX: usize = 100;

/// A value that holds signatures, and the number of the one secret they were made with, where the scheme tells.
pub(super) type Sent<'r> = (Option<usize>, Cow<'r, [u8]>);

/// The credentials of a request, all present but not yet believed.
pub(super) struct Evidence<'r> {
    pub(super) signatures: Vec<Sent<'r>>,
    pub(super) stamp: Option<Cow<'r, [u8]>>,
    pub(super) token: Option<Token<'r>>,
}

impl<'r> Evidence<'r> {
    pub(super) fn gather(scheme: &Scheme, reader: &'r Reader<'_>) -> Result<Self, Refusal> {
        let missing = |field| Refusal::MissingHeader { field };
        let mut signatures = signatures(scheme, reader)?;
        for part in scheme.signed {
            if let Part::Value(place) = part {
                reader.value(*place).ok_or_else(|| missing(place.field()))?;
            }
        }
        let stamp = match (scheme.stamp.map(|stamp| stamp.at), signatures.first()) {
            (Some(StampAt::Place(place)), _) if signs_stamp(scheme) => {
                Some(reader.value(place).ok_or_else(|| missing(place.field()))?)
            }
            (Some(StampAt::Pair(key)), Some((_, first))) => {
                let Some(value) = pair(first, scheme.layout, key) else {
                    return Err(bad(scheme, "has no timestamp in it"));
                };
                Some(Cow::Owned(value.to_vec()))
            }
            // A time inside the signed body or token counts only once the signature is known to be right.
            _ => None,
        };
        for Fixed { header, pair: key, value } in scheme.fixed {
            let whole = reader.header(header).ok_or_else(|| missing(header))?;
            let is_right = match key {
                None => whole.eq_ignore_ascii_case(value.as_bytes()),
                Some(key) => pairs(whole, b',').any(|pair| pair == (key.as_bytes(), value.as_bytes())),
            };
            if !is_right {
                return Err(Refusal::BadSignature { field: header, why: "is not a version this scheme knows" });
            }
        }
        let mut token = None;
        if let (Layout::Jwt(algorithm), SignatureAt::Place(Place::Header(name))) = (scheme.layout, scheme.signature) {
            let read = reader.header(name).and_then(|value| Token::read(value, algorithm));
            let read = read.ok_or_else(|| bad(scheme, "is no token of the algorithm this scheme requires"))?;
            signatures = vec![(None, Cow::Borrowed(read.signature))];
            token = Some(read);
        }
        Ok(Self { signatures, stamp, token })
    }
}

/// The values that hold signatures: at least one, or for every event one.
fn signatures<'r>(scheme: &Scheme, reader: &'r Reader<'_>) -> Result<Vec<Sent<'r>>, Refusal> {
    let found: Vec<_> = match scheme.signature {
        SignatureAt::Place(place) => reader.value(place).map(|value| (None, value)).into_iter().collect(),
        SignatureAt::Numbered(prefix) => (1..=SIGNATURES_MAX)
            .map_while(|number| reader.header(&format!("{prefix}{number}")))
            .map(|value| (None, Cow::Borrowed(value)))
            .collect(),
        SignatureAt::Each(headers) => {
            let found = headers.iter().map(|name| reader.header(name)).enumerate();
            found.filter_map(|(index, value)| Some((Some(index), Cow::Borrowed(value?)))).collect()
        }
        SignatureAt::EveryItem(place) => {
            let of = |row| reader.text(place, row).map(|text| (None, Cow::Owned(text.into_bytes())));
            reader.rows().iter().map(of).collect::<Option<_>>().unwrap_or_default()
        }
    };
    if found.is_empty() { Err(Refusal::MissingHeader { field: scheme.signature_field() }) } else { Ok(found) }
}

/// The signatures inside one value.
pub(super) fn signature_texts(value: &[u8], layout: Layout) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match layout {
        Layout::Bare | Layout::Jwt(_) => Box::new(std::iter::once(value)),
        Layout::Prefixed(prefix) => Box::new(value.strip_prefix(prefix.as_bytes()).into_iter()),
        Layout::Pairs { separator, signature } => {
            Box::new(pairs(value, separator).filter(move |(key, _)| *key == signature.as_bytes()).map(|(_, text)| text))
        }
        Layout::Versioned(version) => Box::new(
            value
                .split(u8::is_ascii_whitespace)
                .filter_map(move |entry| entry.strip_prefix(version.as_bytes())?.strip_prefix(b",")),
        ),
    }
}

fn pairs(value: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(move |byte| *byte == separator).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((entry.get(..at)?.trim_ascii(), entry.get(at + 1..)?.trim_ascii()))
    })
}

fn pair<'v>(value: &'v [u8], layout: Layout, key: &str) -> Option<&'v [u8]> {
    let Layout::Pairs { separator, .. } = layout else { return None };
    pairs(value, separator).find(|(name, _)| *name == key.as_bytes()).map(|(_, text)| text)
}

fn signs_stamp(scheme: &Scheme) -> bool {
    scheme.signed.iter().any(|part| matches!(part, Part::Stamp))
}
