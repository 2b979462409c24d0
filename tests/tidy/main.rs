//! The house rules as tests: `cargo test -p steward-tests --test tidy`. One file per rule; `tree` reads the sources once.
//!
//! Each rule is a function from the tree to its violations, and proves itself on a planted one.

mod dead;
mod direction;
mod documents;
mod forbidden;
mod mutants;
mod naming;
mod opening;
mod purity;
mod size;
mod source;
mod tree;

use std::fmt;

use tree::Tree;

/// A rule broken somewhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    text: String,
}

impl Violation {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

#[track_caller]
fn check(rule: &str, found: Vec<Violation>) {
    let mut found = found;
    found.sort();
    let lines: Vec<String> = found.iter().map(|violation| format!("  {violation} [{rule}]")).collect();
    assert!(found.is_empty(), "{} violations of {rule}\n{}", found.len(), lines.join("\n"));
}

#[test]
fn crates_see_only_what_is_to_their_right() {
    check("direction", direction::violations(Tree::repository()));
}

#[test]
fn mutants_still_apply() {
    check("mutants", mutants::violations(tree::root()));
}

#[test]
fn the_domain_is_pure() {
    check("purity", purity::violations(Tree::repository()));
}

#[test]
fn files_and_functions_are_short() {
    check("size", size::violations(Tree::repository()));
}

#[test]
fn every_file_says_what_it_is_for() {
    check("opening", opening::violations(Tree::repository()));
}

#[test]
fn nothing_is_there_for_nobody() {
    check("dead code", dead::violations(Tree::repository(), dead::ALLOWED));
}

#[test]
fn names_say_something() {
    check("naming", naming::violations(Tree::repository()));
}

#[test]
fn tests_neither_sleep_nor_hide_and_nothing_is_left_to_do() {
    check("forbidden", forbidden::violations(Tree::repository()));
}

#[test]
fn documents_name_what_exists() {
    check("documents", documents::paths(Tree::repository()));
}

#[test]
fn readme_walks_all_the_way() {
    check("walk", documents::walk(Tree::repository()));
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    check("metrics", documents::metrics(Tree::repository()));
}

#[test]
fn the_table_of_schemes_is_the_one_in_the_code() {
    check("schemes", documents::schemes(Tree::repository()));
}
