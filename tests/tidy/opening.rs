//! Rule: every Rust file opens with `//!`, saying what it is for.

use crate::Violation;
use crate::tree::Tree;

/// Fewer words say nothing.
const WORDS_MIN: usize = 3;

pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let silent = tree.sources.iter().filter(|source| !speaks(&source.text));
    silent.map(|source| Violation::new(&source.path, 1, "the file does not open with what it is for")).collect()
}

fn speaks(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("//! ").is_some_and(|words| words.split_whitespace().count() >= WORDS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_a_silent_file() {
        let tree = Tree::of(&[("node/src/a.rs", "//! What it is for.\n"), ("node/src/b.rs", "use a::b;\n")]);
        let found = violations(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "node/src/b.rs");
    }
}
