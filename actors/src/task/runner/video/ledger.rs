//! Which pieces of a task are finished: a checkpoint that names files and their hashes, and the files themselves.
//!
//! The checkpoint travels through the log, so it is small; the files stay in the job's scratch folder. A piece counts
//! after a restart only when its file still has the recorded hash.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure;
use crate::task::runner::{Reporter, TaskError};

/// Hex digits kept of a hash: enough to notice damage, and short in the log.
const HASH_DIGITS: usize = 16;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    source: String,
    /// What determines the pieces; with another recipe they are worthless.
    recipe: String,
    /// File name to hash.
    done: BTreeMap<String, String>,
}

/// The finished pieces of one task.
#[derive(Debug)]
pub(super) struct Ledger {
    note: Note,
    folder: PathBuf,
}

impl Ledger {
    /// Takes over what an earlier attempt left, as far as it is for the same work and still intact.
    pub(super) async fn resume(
        checkpoint: Option<&Value>,
        folder: &Path,
        source: &str,
        recipe: &str,
    ) -> Result<Self, TaskError> {
        let noted = checkpoint.and_then(|value| Note::deserialize(value).ok()).unwrap_or_default();
        let fits = noted.source == source && noted.recipe == recipe;
        let noted = if fits { noted.done } else { BTreeMap::new() };
        let mut done = BTreeMap::new();
        for (name, hash) in noted {
            if hash_of(folder.join(&name)).await.is_ok_and(|found| found == hash) {
                done.insert(name, hash);
            }
        }
        let note = Note { source: source.to_owned(), recipe: recipe.to_owned(), done };
        Ok(Self { note, folder: folder.to_owned() })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.note.done.contains_key(name)
    }

    /// Where a piece lies once it is finished; until then it is written under [`part`].
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the written part a finished piece, durably, and says so.
    pub(super) async fn finish(&mut self, name: &str, reporter: &Reporter) -> Result<(), TaskError> {
        let (from, to) = (self.folder.join(part(name)), self.folder.join(name));
        let settled = async {
            let hash = hash_of(from.clone()).await?;
            File::open(&from)?.sync_all()?;
            fs::rename(&from, &to)?;
            File::open(&self.folder)?.sync_all()?;
            Ok(hash)
        };
        let hash = settled.await.map_err(|error: io::Error| failure::storage(&error))?;
        self.note.done.insert(name.to_owned(), hash);
        reporter.checkpoint(serde_json::to_value(&self.note).expect("a note is plain data")).await;
        Ok(())
    }
}

/// The name a piece has while it is written.
pub(super) fn part(name: &str) -> String {
    format!("{name}.part")
}

async fn hash_of(path: PathBuf) -> io::Result<String> {
    let hash = move || {
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(hasher.finalize().to_hex()[..HASH_DIGITS].to_owned())
    };
    tokio::task::spawn_blocking(hash).await.expect("hashing a file does not panic")
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::task::runner::Report;

    #[tokio::test]
    async fn only_intact_pieces_of_the_same_work_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (reporter, mut reports) = Reporter::new(CancellationToken::new());
        let mut first = Ledger::resume(None, dir.path(), "source", "recipe").await.unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(part(name)), name).unwrap();
            first.finish(name, &reporter).await.unwrap();
        }
        let mut last = None;
        while let Ok(report) = reports.try_recv() {
            let Report::Checkpoint(note) = report else { panic!("{report:?}") };
            last = Some(note);
        }
        fs::write(dir.path().join("b"), "damaged").unwrap();
        fs::remove_file(dir.path().join("c")).unwrap();
        let resumed = Ledger::resume(last.as_ref(), dir.path(), "source", "recipe").await.unwrap();
        assert_eq!((resumed.has("a"), resumed.has("b"), resumed.has("c")), (true, false, false));
        let other = Ledger::resume(last.as_ref(), dir.path(), "source", "another recipe").await.unwrap();
        assert_eq!(other.note.done.len(), 0);
        let garbage = Value::from("not a note");
        assert_eq!(Ledger::resume(Some(&garbage), dir.path(), "source", "recipe").await.unwrap().note.done.len(), 0);
    }
}
