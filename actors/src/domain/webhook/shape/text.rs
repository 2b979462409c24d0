//! Texts, times and links as a shape has them: bounded, on one line, of one form. Called by `row` and the platforms.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::super::scheme::StampForm;
use super::super::stamp;

/// The longest id or address taken over, and where names and titles are cut.
pub(super) const TEXT_BYTES_MAX: usize = 256;
/// The longest link taken over.
pub(super) const LINK_BYTES_MAX: usize = 2048;
/// Where the words for kind and action are cut.
const WORD_BYTES_MAX: usize = 64;
/// The last moment that has four digits for its year.
const WHEN_MS_MAX: u64 = 253_402_300_799_999;

/// The text of a scalar, on one line, unless it is empty. Numbers count as text, because ids are often numbers.
pub(super) fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().lines().next().unwrap_or_default().trim_end().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A text of which no part may be missing.
pub(super) fn whole(value: &Value) -> Option<String> {
    scalar(value).filter(|text| text.len() <= TEXT_BYTES_MAX)
}

/// A text for people, cut where it gets long.
pub(super) fn cut(value: &Value) -> Option<String> {
    scalar(value).map(|text| start(&text, TEXT_BYTES_MAX).to_owned())
}

/// What can be an address: local part and domain around one `@`.
pub(super) fn email(value: &Value) -> Option<String> {
    whole(value).filter(|text| {
        let parts = text.split_once('@');
        let is_part = |part: &str| !part.is_empty() && !part.contains(|c: char| c == '@' || c.is_whitespace());
        parts.is_some_and(|(local, domain)| is_part(local) && is_part(domain))
    })
}

/// An `https` link, as a browser would write it.
pub(super) fn link(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| text.len() <= LINK_BYTES_MAX)?;
    let url = url::Url::parse(text).ok()?;
    let is_plain = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    (is_plain && url.as_str().len() <= LINK_BYTES_MAX).then(|| url.into())
}

/// A word for a kind or an action: lower case, with `_` for what is neither letter nor digit and between words.
pub(super) fn word(text: &str) -> Option<String> {
    let mut word = String::new();
    let mut after_lower = false;
    for c in start(text.trim(), WORD_BYTES_MAX).chars() {
        if c.is_ascii_uppercase() && after_lower {
            word.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        word.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    (!word.is_empty()).then(|| start(&word, WORD_BYTES_MAX).to_owned())
}

/// A time of this form as RFC 3339 in UTC, with milliseconds.
pub(super) fn when(value: &Value, form: StampForm) -> Option<String> {
    let text = scalar(value)?;
    // Slack writes microseconds behind its seconds.
    let (text, fraction) = match form {
        StampForm::UnixSeconds => text.split_once('.').unwrap_or((&text, "")),
        StampForm::Rfc3339 => (text.as_str(), text.get(19..).and_then(|rest| rest.strip_prefix('.')).unwrap_or("")),
        StampForm::UnixMillis => (text.as_str(), ""),
    };
    let at = stamp::parse(text.as_bytes(), form)?.0.checked_add(millis(fraction))?;
    let at = (at <= WHEN_MS_MAX).then(|| UNIX_EPOCH + Duration::from_millis(at))?;
    Some(humantime::format_rfc3339_millis(at).to_string())
}

/// The milliseconds of a fraction of a second, whatever follows its digits.
fn millis(fraction: &str) -> u64 {
    let digits = fraction.chars().map_while(|c| c.to_digit(10)).map(u64::from);
    digits.zip([100, 10, 1]).map(|(digit, weight)| digit * weight).sum()
}

/// As many of the first bytes as make whole characters.
fn start(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_one_line_and_bounded() {
        let long = "é".repeat(200);
        assert_eq!(cut(&json!(" Fix it \nand more")), Some("Fix it".to_owned()));
        assert_eq!(cut(&json!(long)).map(|text| text.len()), Some(256));
        assert_eq!(cut(&json!(format!("x{long}"))).map(|text| text.len()), Some(255), "no half characters");
        assert_eq!(whole(&json!(long)), None, "part of an id is another id");
        assert_eq!(whole(&json!(12_345_678_901_u64)), Some("12345678901".to_owned()));
        for nothing in [json!(""), json!(" \n "), json!(null), json!(true), json!([1]), json!({"a": 1})] {
            assert_eq!(scalar(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn addresses_have_two_sides() {
        assert_eq!(email(&json!("a@b.example")), Some("a@b.example".to_owned()));
        for bad in ["a", "@b", "a@", "a@b@c", "a b@c", "Ann <a@b.example>"] {
            assert_eq!(email(&json!(bad)), None, "{bad}");
        }
    }

    #[test]
    fn links_are_https_without_a_user() {
        assert_eq!(link(&json!("https://a.example/b?c#d")), Some("https://a.example/b?c#d".to_owned()));
        let long = format!("https://a.example/{}", "x".repeat(LINK_BYTES_MAX));
        let grows = format!("https://a.example/{}", " x".repeat(LINK_BYTES_MAX / 4));
        for bad in
            ["http://a.example/", "javascript:alert(1)", "/b", "https://u:p@a.example/", "https://", &long, &grows]
        {
            assert_eq!(link(&json!(bad)), None, "{bad}");
        }
    }

    #[test]
    fn words_are_lower_case() {
        for (text, want) in [
            ("propertyChange", "property_change"),
            ("OpportunityLineItem", "opportunity_line_item"),
            ("a.b-c", "a_b_c"),
        ] {
            assert_eq!(word(text).as_deref(), Some(want));
        }
        assert_eq!(word(&"aB".repeat(99)).map(|word| word.len()), Some(64));
        assert_eq!(word(" "), None);
    }

    #[test]
    fn times_of_three_forms_become_one() {
        let at = Some("2026-09-21T14:13:20.123Z".to_owned());
        for (value, form) in [
            (json!(1_790_000_000_123_u64), StampForm::UnixMillis),
            (json!("1790000000.123456"), StampForm::UnixSeconds),
            (json!("2026-09-21T14:13:20.123999Z"), StampForm::Rfc3339),
            (json!("2026-09-21T07:13:20.123-07:00"), StampForm::Rfc3339),
        ] {
            assert_eq!(when(&value, form), at, "{value}");
        }
        assert_eq!(when(&json!(1_790_000_000), StampForm::UnixSeconds).as_deref(), Some("2026-09-21T14:13:20.000Z"));
        assert_eq!(
            when(&json!("9999-12-31T23:59:59.999Z"), StampForm::Rfc3339).as_deref(),
            Some("9999-12-31T23:59:59.999Z")
        );
        for (bad, form) in [
            (json!("9999-12-31T23:59:59-01:00"), StampForm::Rfc3339),
            (json!(253_402_300_800_u64), StampForm::UnixSeconds),
            (json!(u64::MAX), StampForm::UnixMillis),
            (json!(-1), StampForm::UnixSeconds),
            (json!("soon"), StampForm::Rfc3339),
        ] {
            assert_eq!(when(&bad, form), None, "{bad}");
        }
    }
}
