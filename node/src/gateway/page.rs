//! Pages: their sizes and the tokens that lead to the next one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Refused;

/// Entries of a page when the client does not say.
pub(crate) const PAGE_DEFAULT: usize = 100;
/// The largest page.
pub(crate) const PAGE_MAX: usize = 500;

/// Entries of a page by the client's wish; 0 means it has none.
pub(crate) fn page_size(asked: u32) -> Result<usize, Refused> {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => Ok(PAGE_DEFAULT),
        size if size <= PAGE_MAX => Ok(size),
        _ => Err(Refused::field("page_size", format!("must be at most {PAGE_MAX}"))),
    }
}

/// A token that says where the next page starts. Opaque to clients.
pub(crate) fn token(start: &str) -> String {
    URL_SAFE_NO_PAD.encode(start)
}

/// Where a page starts; none for the first.
pub(crate) fn start(token: &str) -> Result<Option<String>, Refused> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(Some).ok_or_else(unknown_token)
}

/// A token that is none of ours.
pub(crate) fn unknown_token() -> Refused {
    Refused::field("page_token", "must be the next_page_token of an earlier answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_limit_and_tokens_come_back() {
        assert_eq!(page_size(0).unwrap(), PAGE_DEFAULT);
        assert_eq!(page_size(500).unwrap(), 500);
        assert!(page_size(501).unwrap_err().message.contains("page_size must be at most 500"));
        assert_eq!(start(&token("acme")).unwrap().as_deref(), Some("acme"));
        assert_eq!(start("").unwrap(), None);
        assert!(start("!").is_err());
    }
}
