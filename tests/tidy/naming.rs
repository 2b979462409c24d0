//! Rule: no file or folder has a name that says nothing about its content.

use crate::Violation;
use crate::tree::{CRATES, Tree};

const EMPTY_NAMES: [&str; 10] =
    ["util", "utils", "common", "types", "manager", "helper", "helpers", "misc", "shared", "stuff"];

pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let mut found = vec![];
    for path in tree.paths.iter().filter(|path| CRATES.contains(&path.split('/').next().unwrap_or_default())) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            found.push(Violation::new(path, 1, format!("`{stem}` says nothing; name it after what it holds")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_empty_names() {
        let tree =
            Tree::of(&[("node/src/util.rs", ""), ("actors/src/common/mod.rs", ""), ("actors/src/typeset.rs", "")]);
        let mut paths: Vec<String> = violations(&tree).into_iter().map(|violation| violation.path).collect();
        paths.sort();
        assert_eq!(paths, ["actors/src/common", "node/src/util.rs"]);
    }
}
