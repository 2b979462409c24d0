//! Headers and credentials of an endpoint, as they are sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::domain::account::limits::{EXTRA_BYTES_MAX, EXTRA_HEADERS_MAX};
use crate::egress::certificate_config;

/// Headers that frame the request or say who sent it: an endpoint may not have its own.
const TAKEN: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

/// What goes along with every request to an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// How the endpoint knows us.
    pub credentials: Credentials,
}

/// How an endpoint knows us, beside the signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer {
        token: String,
    },
    /// A client certificate and its key, both PEM, and who signed the endpoint's own when that is no public authority.
    Certificate {
        chain_pem: String,
        key_pem: String,
        ca_pem: String,
    },
}

impl Extras {
    /// As they are sealed; empty when there are none.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if *self == Self::default() { vec![] } else { serde_json::to_vec(self).expect("extras are plain data") }
    }

    /// As they were sealed.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if bytes.is_empty() { Ok(Self::default()) } else { serde_json::from_slice(bytes) }
    }

    /// Whether they can be used.
    ///
    /// # Errors
    /// The field and the rule it breaks.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Credentials::Certificate { chain_pem, key_pem, ca_pem } = &self.credentials {
            let config = certificate_config(chain_pem, key_pem, ca_pem);
            config.map_err(|error| ("certificate", format!("must be usable: {error}")))?;
        }
        self.headers().map(drop)
    }

    /// The headers they become.
    ///
    /// # Errors
    /// The field and the rule it breaks.
    pub(super) fn headers(&self) -> Result<HeaderMap, (&'static str, String)> {
        if self.headers.len() > EXTRA_HEADERS_MAX {
            return Err(("headers", format!("must hold at most {EXTRA_HEADERS_MAX} headers")));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            if TAKEN.contains(&name.as_str()) {
                return Err(("headers", format!("must not hold {name}, which belongs to the request itself")));
            }
            let invalid = || ("headers", format!("must hold names and values that HTTP allows; {name:?} does not"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
            headers.append(name, value);
        }
        if self.encode().len() > EXTRA_BYTES_MAX {
            return Err(("headers", format!("must, with the credentials, have at most {EXTRA_BYTES_MAX} bytes")));
        }
        let credentials = match &self.credentials {
            Credentials::None | Credentials::Certificate { .. } => return Ok(headers),
            Credentials::Basic { user, password } => format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            Credentials::Bearer { token } => format!("Bearer {token}"),
        };
        let mut value = HeaderValue::from_str(&credentials)
            .map_err(|_| ("credentials", "must hold characters that HTTP allows".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_one_header_and_taken_names_are_refused() {
        let with = |credentials| Extras { credentials, ..Extras::default() }.headers().unwrap();
        let basic = Credentials::Basic { user: "u".to_owned(), password: "p:q".to_owned() };
        assert_eq!(with(basic)[header::AUTHORIZATION], "Basic dTpwOnE=");
        assert_eq!(with(Credentials::Bearer { token: "t".to_owned() })[header::AUTHORIZATION], "Bearer t");
        let named = |name: &str, value: &str| {
            let headers = vec![(name.to_owned(), value.to_owned())];
            Extras { headers, ..Extras::default() }.headers()
        };
        assert_eq!(named("X-Team", "crm").unwrap()["x-team"], "crm");
        for (name, value) in [("Host", "a"), ("WEBHOOK-ID", "a"), ("a b", "c"), ("x", "a\r\nb: c"), ("", "x")] {
            assert_eq!(named(name, value).unwrap_err().0, "headers", "{name}: {value}");
        }
        let many = vec![("x-a".to_owned(), String::new()); EXTRA_HEADERS_MAX + 1];
        assert!(Extras { headers: many, ..Extras::default() }.headers().is_err());
    }

    #[test]
    fn what_is_sealed_opens_to_the_same() {
        let [chain_pem, key_pem, ca_pem] = ["c", "k", ""].map(str::to_owned);
        let credentials = Credentials::Certificate { chain_pem, key_pem, ca_pem };
        let extras = Extras { headers: vec![("x-a".to_owned(), "b".to_owned())], credentials };
        assert_eq!(Extras::decode(&extras.encode()).unwrap(), extras);
        assert_eq!(Extras::default().encode(), b"");
        assert_eq!(Extras::decode(b"").unwrap(), Extras::default());
    }
}
