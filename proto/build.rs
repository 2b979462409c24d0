//! Generates the types and services from the `.proto` files beside this one. Needs `protoc`.

use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script its folder by the environment")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let areas = ["account", "webhook", "job", "blob", "schedule", "event", "admin", "record", "peer"];
    let mut files: Vec<String> = areas.iter().map(|area| format!("steward/{area}/v1/{area}.proto")).collect();
    files.extend(["call", "feed", "work"].map(|file| format!("steward/peer/v1/{file}.proto")));
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .bytes(".steward.record.v1")
        .bytes(".steward.peer.v1")
        .file_descriptor_set_path(out.join("steward.bin"))
        .compile_protos(&files, &[".".to_owned()])?;
    println!("cargo::rerun-if-changed=steward");
    Ok(())
}
