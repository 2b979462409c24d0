//! The operator's key: a file that the first start makes and only its owner reads.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::key::{Key, new_operator_key};

/// Read and write for the owner, nothing for others.
const OWNER_ONLY: u32 = 0o600;

/// Why the operator's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorKeyError {
    #[error("cannot read or make the operator's key file {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the operator's key file {} does not hold one key of the form stw_operator.<64 hex digits>", path.display())]
    Form { path: PathBuf },
}

/// The hash of the operator's key, which is made when there is none.
pub(crate) fn open_operator_key(path: &Path) -> Result<blake3::Hash, OperatorKeyError> {
    let failed = |source| OperatorKeyError::File { path: path.to_owned(), source };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = new_operator_key();
            write_new(path, &key).map_err(failed)?;
            key
        }
        Err(error) => return Err(failed(error)),
    };
    match Key::parse(text.trim()) {
        Some(Key::Operator { hash }) => Ok(hash),
        Some(Key::Account { .. }) | None => Err(OperatorKeyError::Form { path: path.to_owned() }),
    }
}

fn write_new(path: &Path, key: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    writeln!(file, "{key}")?;
    file.sync_all()
}
