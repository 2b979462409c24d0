//! What Twilio signs beside the URL.
//!
//! Of a form it signs the fields, decoded: sorted by name, each name followed by its different values, sorted. Of any other
//! body it signs nothing, but puts its SHA-256 into the URL, which is signed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::body::Reader;

/// A byte of no text: what Twilio signs is text, so nothing it signed has this in it.
const NEVER_SIGNED: u8 = 0xff;

/// Feeds what is signed of the body. For one that no signature covers that is something no signature matches.
pub(super) fn body(reader: &Reader<'_>, update: &mut impl FnMut(&[u8])) {
    let (url, body) = (reader.incoming.url, reader.incoming.body);
    if names_hash(url) {
        if !is_hashed(url, reader.incoming.sent()) {
            update(&[NEVER_SIGNED]);
        }
    } else if reader.is_form() {
        let mut fields: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in reader.fields() {
            fields.entry(name.as_ref()).or_default().insert(value.as_ref());
        }
        for (name, values) in fields {
            for value in values {
                update(name.as_bytes());
                update(value.as_bytes());
            }
        }
    } else if !body.is_empty() {
        update(&[NEVER_SIGNED]);
    }
}

/// Whether the URL was signed for a body that is hashed, and so for no form and no empty body.
fn names_hash(url: &str) -> bool {
    hashes(url).next().is_some()
}

/// Whether the URL names the hash of the body, and names it once.
fn is_hashed(url: &str, body: &[u8]) -> bool {
    let mut hashes = hashes(url);
    match (hashes.next(), hashes.next()) {
        (Some(hash), None) => hash.eq_ignore_ascii_case(&hex::encode(Sha256::digest(body))),
        (None, _) | (Some(_), Some(_)) => false,
    }
}

fn hashes(url: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "bodySHA256").map(|(_, hash)| hash)
}

/// The URL with its default port when it has none, and without it when it has it; some proxies of the sender add it. None
/// for a URL with a port of its own.
pub(super) fn other_port(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let port = match parsed.scheme() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = url.find("://")? + 3;
    let end = url.get(authority..)?.find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    let (before, after) = url.split_at_checked(end)?;
    match before.strip_suffix(port) {
        Some(without) => Some(format!("{without}{after}")),
        None if parsed.port().is_none() => Some(format!("{before}{port}{after}")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_port_is_added_or_taken_away() {
        let other = |url| other_port(url).unwrap_or_default();
        assert_eq!(other("https://a.example/b?c=:443"), "https://a.example:443/b?c=:443");
        assert_eq!(other("https://a.example:443/b"), "https://a.example/b");
        assert_eq!(other("http://a.example"), "http://a.example:80");
        assert_eq!(other("https://a.example:8443/b"), "");
        assert_eq!(other("https://[::1]/b"), "https://[::1]:443/b");
        assert_eq!(other("no url"), "");
    }

    #[test]
    fn a_body_is_hashed_by_one_name_only() {
        let hash = hex::encode(Sha256::digest(b"{}"));
        assert!(is_hashed(&format!("https://a.example/?x=1&bodySHA256={hash}"), b"{}"));
        assert!(!is_hashed(&format!("https://a.example/?bodySHA256={hash}"), b"{ }"));
        assert!(!is_hashed(&format!("https://a.example/?bodySHA256={hash}&bodySHA256={hash}"), b"{}"));
        assert!(!is_hashed("https://a.example/", b"{}"));
    }
}
