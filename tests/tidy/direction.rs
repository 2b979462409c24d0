//! Rule: tests → node → actors → cluster → proto. A crate names only itself and those to its right.

use crate::Violation;
use crate::source::Kind;
use crate::tree::{CRATES, Tree};

pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let mut found = vec![];
    for (rank, name) in CRATES.iter().enumerate() {
        let forbidden = &CRATES[rank + 1..];
        let manifest = format!("{name}/Cargo.toml");
        for (at, line) in tree.text(&manifest).unwrap_or_default().lines().enumerate() {
            for other in forbidden.iter().filter(|other| line.contains(&format!("steward-{other}"))) {
                found.push(Violation::new(&manifest, at + 1, format!("{name} depends on {other}")));
            }
        }
        for source in tree.sources.iter().filter(|source| source.crate_name() == *name) {
            for token in source.tokens() {
                let Kind::Word(word) = &token.kind else { continue };
                let other = word.strip_prefix("steward_").filter(|other| forbidden.contains(other));
                found.extend(
                    other.map(|other| Violation::new(&source.path, token.at.0, format!("{name} uses {other}"))),
                );
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_an_upward_use() {
        let tree = Tree::of(&[
            ("cluster/Cargo.toml", "[dependencies]\nsteward-proto.workspace = true\nsteward-actors.workspace = true\n"),
            ("actors/src/a.rs", "use steward_cluster::ids;\nuse steward_node::main;\n"),
        ]);
        let want = [
            Violation::new("cluster/Cargo.toml", 3, "cluster depends on actors"),
            Violation::new("actors/src/a.rs", 2, "actors uses node"),
        ];
        assert_eq!(violations(&tree), want);
    }
}
