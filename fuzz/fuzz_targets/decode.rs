//! Any body under any encoding: decoding never panics and never gives more than the limit.

#![no_main]
#![expect(dead_code, reason = "the module is the gateway's; its surroundings here are what it needs of them")]

use ::http::header::{CONTENT_ENCODING, HeaderValue};
use libfuzzer_sys::fuzz_target;

#[path = "../../node/src/gateway/http/decode.rs"]
mod decode;

/// What the decoder needs of the gateway's errors.
mod gateway {
    pub(crate) mod error {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            BodyBroken,
            BodyTooLarge,
            EncodingUnknown,
        }

        #[derive(Debug)]
        pub(crate) struct Refused {
            pub(crate) code: Code,
        }

        impl Refused {
            pub(crate) fn new(code: Code, _message: &str) -> Self {
                Self { code }
            }
        }
    }
}

mod body {
    use crate::gateway::error::{Code, Refused};

    pub(super) fn too_large(_bytes_max: usize) -> Refused {
        Refused::new(Code::BodyTooLarge, "")
    }
}

const BYTES_MAX: usize = 10_000;

fuzz_target!(|input: &[u8]| {
    let [encoding, body @ ..] = input else { return };
    let (name, body) = match encoding % 4 {
        0 => (&b"gzip"[..], body),
        1 => (&b"deflate"[..], body),
        2 => (&b"identity"[..], body),
        _ => body.split_at(body.len().min(8)),
    };
    let Ok(encoding) = HeaderValue::from_bytes(name) else { return };
    let headers = [(CONTENT_ENCODING, encoding)].into_iter().collect();
    if let Ok(Some(decoded)) = decode::decode(&headers, body, BYTES_MAX) {
        assert!(decoded.len() <= BYTES_MAX);
    }
});
