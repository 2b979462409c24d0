//! Rule: no test is ignored or sleeps, and nothing is left as `todo!` or `unimplemented!`.

use proc_macro2::Delimiter;

use crate::Violation;
use crate::source::{Kind, Source};
use crate::tree::Tree;

/// The demo and the benchmarks are programs; they wait on purpose.
const PROGRAMS: &str = "tests/src/bin/";

/// Here a test waits for another process, which cannot announce itself: looking again and again, with a limit.
const LOOKING: [&str; 2] = ["tests/src/harness/wait.rs", "node/tests/e2e/harness.rs"];

pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    tree.sources.iter().flat_map(violations_in).collect()
}

fn violations_in(source: &Source) -> Vec<Violation> {
    let mut found = vec![];
    for (at, token) in source.tokens().iter().enumerate() {
        let Kind::Word(word) = &token.kind else { continue };
        let before = |back: usize| at.checked_sub(back).map(|at| &source.tokens()[at]);
        let next = source.tokens().get(at + 1);
        let called = next.is_some_and(|next| next.is_open(Delimiter::Parenthesis));
        let is_macro = next.is_some_and(|next| next.is_mark('!'));
        let defined = before(1).is_some_and(|token| token.is_word("fn"));
        let attribute = before(1).is_some_and(|token| token.is_open(Delimiter::Bracket))
            && before(2).is_some_and(|token| token.is_mark('#'));
        let what = match word.as_str() {
            "ignore" if attribute => "a test is ignored",
            "todo" | "unimplemented" if is_macro => "something is left to do",
            "sleep" | "sleep_until" if called && !defined && waits(source, token.at) => "a test sleeps",
            _ => continue,
        };
        found.push(Violation::new(&source.path, token.at.0, what));
    }
    found
}

fn waits(source: &Source, at: (usize, usize)) -> bool {
    let looks = LOOKING.iter().any(|file| source.path == *file);
    source.in_test(at) && !source.path.starts_with(PROGRAMS) && !looks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_each() {
        let test = "#[cfg(test)]\nmod tests {\n#[test]\n#[ignore]\nfn a() { std::thread::sleep(LONG); }\n}\n";
        let tree = Tree::of(&[
            ("actors/src/a.rs", "fn a() { sleep(1); todo!(); }\n"),
            ("actors/src/b.rs", test),
            ("node/tests/c.rs", "fn sleep() {}\nfn b() { sleep(1) }\n"),
            ("tests/src/bin/d.rs", "fn b() { sleep(1) }\n"),
        ]);
        let want = [
            Violation::new("actors/src/a.rs", 1, "something is left to do"),
            Violation::new("actors/src/b.rs", 4, "a test is ignored"),
            Violation::new("actors/src/b.rs", 5, "a test sleeps"),
            Violation::new("node/tests/c.rs", 2, "a test sleeps"),
        ];
        assert_eq!(violations(&tree), want);
    }
}
