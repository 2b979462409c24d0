//! What these tests share: the sandbox helper, and the test recordings.

use std::path::{Path, PathBuf};

use steward_actors::sandbox::SandboxConfig;

/// The example of this crate that plays `steward sandbox-exec`.
pub(crate) fn sandbox_config() -> SandboxConfig {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.parent().and_then(Path::parent).expect("tests are built in target/<profile>/deps");
    let helper = target.join("examples/sandbox_exec");
    assert!(helper.exists(), "build the helper first: cargo build -p steward-actors --examples");
    SandboxConfig { helper, require: true }
}

/// A recording of `tests/fixtures/media`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/media").join(name).canonicalize().expect(name)
}

/// The folder of installed models, when there is one.
pub(crate) fn models() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.models");
    if !folder.exists() {
        eprintln!("skipped: no models in .models (make test installs them)");
    }
    folder.exists().then_some(folder)
}
