//! The wall clock of one node, set by a test through libfaketime. Its monotonic clock is that of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::node::Node;

/// Where Debian keeps the library, below the folder of the architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that can be moved while the node runs.
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
    _folder: TempDir,
}

impl WallClock {
    /// The clock of a node from its next start on.
    ///
    /// # Panics
    /// When `scripts/setup --tests` did not run.
    #[must_use]
    pub fn of(node: &mut Node) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let clock = Self { file: folder.path().join("offset"), _folder: folder };
        clock.is_ahead_by(0);
        let library = library().expect("libfaketime is installed by `scripts/setup --tests`");
        for (name, value) in [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.display().to_string()),
            // How long the file's word is kept, in seconds.
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ] {
            node.environment(name, &value);
        }
        clock
    }

    /// Moves it away from that of the machine; within two seconds the node sees it.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn is_ahead_by(&self, seconds: i64) {
        // Put in place at once: half a word would be another time.
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{seconds:+}\n")).expect("the folder can be written");
        fs::rename(&draft, &self.file).expect("the folder can be written");
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir(Path::new("/usr/lib")).ok()?;
    folders.filter_map(|folder| Some(folder.ok()?.path().join(LIBRARY))).find(|library| library.exists())
}
