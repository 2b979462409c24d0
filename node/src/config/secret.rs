//! Where a secret stands that a setting needs: in a file, in a variable, or on purpose in the setting itself.
//!
//! # Decisions
//! - A bare text is refused: a secret in clear needs the word `text:`, so that nobody writes one into a file by accident.

use std::fs::File;
use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The form of a reference.
pub(super) const RULE: &str = "must be \"file:PATH\", \"env:NAME\" or, in clear, \"text:SECRET\"";
/// The largest file that is read for a secret.
const SECRET_FILE_BYTES_MAX: u64 = 16 * 1024;
const FILE: &str = "file:";
const VARIABLE: &str = "env:";
const TEXT: &str = "text:";

/// Names a secret; holds it only when it was written in clear.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretReference(String);

/// A secret, wiped when it is dropped.
pub(crate) type Secret = Zeroizing<String>;

impl std::fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if is_shown(&self.0) { &self.0 } else { "********" })
    }
}

/// Whether a reference may be printed: it says where the secret is, not what it is.
pub(super) fn is_shown(reference: &str) -> bool {
    reference.is_empty() || reference.starts_with(FILE) || reference.starts_with(VARIABLE)
}

impl SecretReference {
    /// Whether none is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says where to look.
    pub(super) fn is_well_formed(&self) -> bool {
        [FILE, VARIABLE, TEXT].iter().any(|form| self.0.strip_prefix(form).is_some_and(|rest| !rest.is_empty()))
    }

    /// The secret, without the line ends behind it. An error says why there is none, and never the secret.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        let read = if let Some(path) = self.0.strip_prefix(FILE) {
            read_file(path).map_err(|error| format!("cannot be read from the file {path}: {error}"))?
        } else if let Some(name) = self.0.strip_prefix(VARIABLE) {
            read_variable(name).ok_or_else(|| format!("names the variable {name}, which is not set to a text"))?
        } else if let Some(text) = self.0.strip_prefix(TEXT) {
            Zeroizing::new(text.to_owned())
        } else {
            return Err(RULE.to_owned());
        };
        let secret = read.trim_end_matches(['\r', '\n']);
        if secret.is_empty() { Err("is empty".to_owned()) } else { Ok(Zeroizing::new(secret.to_owned())) }
    }
}

fn read_file(path: &str) -> io::Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= SECRET_FILE_BYTES_MAX) {
        return Ok(text);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {SECRET_FILE_BYTES_MAX} bytes")))
}

#[expect(clippy::disallowed_methods, reason = "a setting names the variable")]
fn read_variable(name: &str) -> Option<Secret> {
    std::env::var(name).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> SecretReference {
        SecretReference(text.to_owned())
    }

    #[test]
    fn secrets_are_read_from_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "whsec_1\r\n").unwrap();
        let file = format!("file:{}", path.display());
        assert_eq!(reference(&file).read().unwrap().as_str(), "whsec_1");
        assert_eq!(reference("text:a b").read().unwrap().as_str(), "a b");
        // Cargo sets it for tests.
        assert_eq!(reference("env:CARGO_PKG_NAME").read().unwrap().as_str(), "steward-node");
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(reference(&file).read().unwrap_err(), "is empty");
        let length = usize::try_from(SECRET_FILE_BYTES_MAX).unwrap() + 1;
        std::fs::write(&path, "x".repeat(length)).unwrap();
        assert!(reference(&file).read().unwrap_err().ends_with("it has more than 16384 bytes"));
        let missing = reference("file:/does/not/exist").read().unwrap_err();
        assert!(missing.starts_with("cannot be read from the file /does/not/exist: "), "{missing}");
        let unset = "names the variable SURELY_NOT_SET, which is not set to a text";
        assert_eq!(reference("env:SURELY_NOT_SET").read().unwrap_err(), unset);
    }

    #[test]
    fn a_bare_text_is_no_reference_and_is_never_shown() {
        for bad in ["", "s3cret", "file:", "env:", "text:", "File:/x"] {
            assert!(!reference(bad).is_well_formed(), "{bad}");
        }
        assert_eq!(reference("s3cret").read().unwrap_err(), RULE);
        for hidden in ["s3cret", "text:s3cret"] {
            assert_eq!(format!("{:?}", reference(hidden)), "********");
        }
        assert_eq!(format!("{:?}", reference("env:GH")), "env:GH");
    }
}
