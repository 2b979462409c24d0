//! Rule: `actors/src/domain` knows no async, I/O, clock, thread, environment or randomness.

use crate::Violation;
use crate::source::{Kind, Source, Token};
use crate::tree::Tree;

const FOLDER: &str = "actors/src/domain/";
/// Words that are never pure, wherever they stand.
const WORDS: [&str; 4] = ["async", "await", "SystemTime", "Instant"];
/// Parts of the standard library that reach outside.
const STANDARD: [&str; 6] = ["env", "fs", "net", "process", "thread", "io"];
/// Crates that do things.
const EFFECTS: [&str; 16] = [
    "axum",
    "crossbeam_channel",
    "futures_util",
    "getrandom",
    "hyper",
    "hyper_util",
    "lsm_tree",
    "metrics",
    "parking_lot",
    "ractor",
    "rand",
    "rustix",
    "sled",
    "tokio",
    "tonic",
    "tracing",
];

pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let domain = tree.sources.iter().filter(|source| source.path.starts_with(FOLDER) && !source.is_test());
    domain.flat_map(violations_in).collect()
}

fn violations_in(source: &Source) -> Vec<Violation> {
    let tokens: Vec<&Token> = source.product_tokens().collect();
    let mut found = vec![];
    let mut note = |token: &Token, what: String| found.push(Violation::new(&source.path, token.at.0, what));
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Word(word) = &token.kind else { continue };
        let inside_path = at >= 2 && tokens[at - 1].is_mark(':') && tokens[at - 2].is_mark(':');
        let path_follows = is_path_mark(&tokens, at + 1);
        if WORDS.contains(&word.as_str()) {
            note(token, format!("the domain names {word}"));
        } else if EFFECTS.contains(&word.as_str()) && path_follows && !inside_path {
            note(token, format!("the domain uses {word}"));
        } else if word == "std" && path_follows {
            for part in children(&tokens, at + 3).filter(|part| STANDARD.iter().any(|name| part.is_word(name))) {
                note(part, "the domain uses a part of std that reaches outside".to_owned());
            }
        }
    }
    found
}

fn is_path_mark(tokens: &[&Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| token.is_mark(':')) && tokens.get(at + 1).is_some_and(|token| token.is_mark(':'))
}

/// The segment here, or those of the group that starts here: `fs`, or `{fs, net::IpAddr}`.
fn children<'a>(tokens: &'a [&'a Token], at: usize) -> impl Iterator<Item = &'a Token> {
    let mut depth = 0usize;
    let mut heads = vec![];
    for position in at..tokens.len() {
        match &tokens[position].kind {
            Kind::Open(_) => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            Kind::Word(_) if depth == 0 => heads.push(tokens[position]),
            Kind::Word(_) if depth == 1 && !tokens[position - 1].is_mark(':') => heads.push(tokens[position]),
            Kind::Word(_) | Kind::Literal(_) | Kind::Mark(_) => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_effects() {
        let lines = |text: &str| {
            let found = violations(&Tree::of(&[("actors/src/domain/a.rs", text)]));
            found.iter().map(|violation| violation.line).collect::<Vec<_>>()
        };
        assert_eq!(lines("async fn a() {}\nfn b() { tracing::info!(\"x\"); }\nuse tokio::sync;\n"), [1, 2, 3]);
        assert_eq!(lines("use std::fs;\nuse std::{fmt,\nnet::IpAddr};\nfn a() { std::env::args(); }\n"), [1, 3, 4]);
        assert_eq!(lines("use std::time::{Duration,\nInstant};\n"), [2]);
        assert!(lines("use std::time::Duration;\nuse crate::metrics::rate;\nfn a(rand: u8) { rand; }\n").is_empty());
        assert!(lines("#[cfg(test)]\nmod tests { use std::fs; }\n").is_empty());
    }
}
