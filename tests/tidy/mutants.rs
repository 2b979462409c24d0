//! Rule: every patch of `tests/mutants/` applies to the tree and is named in `scripts/mutants`, which runs too rarely to
//! find out.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Violation;

const FOLDER: &str = "tests/mutants";
const SCRIPT: &str = "scripts/mutants";

pub(crate) fn violations(root: &Path) -> Vec<Violation> {
    let script = fs::read_to_string(root.join(SCRIPT)).unwrap_or_default();
    let patches = fs::read_dir(root.join(FOLDER)).into_iter().flatten().flatten();
    let mut found = vec![];
    for patch in patches.map(|entry| entry.path()) {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        let path = format!("{FOLDER}/{name}.patch");
        if !script.contains(&format!("mutant {name} ")) {
            found.push(Violation::new(&path, 1, format!("{SCRIPT} does not run it")));
        }
        let output = Command::new("git").current_dir(root).args(["apply", "--check", &path]).output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => found.push(Violation::new(&path, 1, String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => found.push(Violation::new(&path, 1, error.to_string())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_does_not_apply_or_is_not_run_is_found() {
        let root = tempfile::tempdir().unwrap();
        for folder in [FOLDER, "scripts"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let patch = |from: &str| format!("--- a/guard.rs\n+++ b/guard.rs\n@@ -1 +1 @@\n-{from}\n+broken\n");
        fs::write(root.path().join("guard.rs"), "guard\n").unwrap();
        fs::write(root.path().join(SCRIPT), "mutant good -p a\nmutant stale -p a\n").unwrap();
        for (name, from) in [("good", "guard"), ("stale", "guard of old"), ("forgotten", "guard")] {
            fs::write(root.path().join(FOLDER).join(format!("{name}.patch")), patch(from)).unwrap();
        }
        let mut found: Vec<String> = violations(root.path()).into_iter().map(|violation| violation.path).collect();
        found.sort();
        assert_eq!(found, ["tests/mutants/forgotten.patch", "tests/mutants/stale.patch"]);
    }
}
