//! The operator's key: a file that the first start makes and only its owner reads.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

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
            write_new(path, &new_operator_key()).map_err(failed)?;
            std::fs::read_to_string(path).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    match Key::parse(text.trim()) {
        Some(Key::Operator { hash }) => Ok(hash),
        Some(Key::Account { .. }) | None => Err(OperatorKeyError::Form { path: path.to_owned() }),
    }
}

/// The file appears whole. Several nodes that share it may start together: the first one makes it, the others take that.
fn write_new(path: &Path, key: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", Uuid::now_v7()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&draft)?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nodes_that_start_together_share_one_key() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("operator.key");
            let hashes: BTreeSet<String> = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| open_operator_key(&path).unwrap())).collect();
                starts.into_iter().map(|start| start.join().unwrap().to_hex().to_string()).collect()
            });
            assert_eq!(hashes.len(), 1);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "drafts are left");
        }
    }
}
