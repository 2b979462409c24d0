//! Rule: documents name what exists: files, the nine steps of the walk, metrics, webhook schemes.

use std::collections::BTreeMap;

use proc_macro2::Delimiter;

use crate::Violation;
use crate::source::{Kind, Token};
use crate::tree::Tree;

const README: &str = "README.md";
const METRICS: &str = "docs/metrics.md";
const WEBHOOKS: &str = "docs/webhooks.md";
const SCHEME_TABLE: &str = "actors/src/domain/webhook/table/";
/// More families than that and nobody reads them.
const FAMILIES_MAX: usize = 120;
const STEPS: [char; 9] = ['①', '②', '③', '④', '⑤', '⑥', '⑦', '⑧', '⑨'];
/// A path in a document starts with one of these.
const ROOTS: [&str; 10] =
    ["proto/", "cluster/", "actors/", "node/", "tests/", "deploy/", "demo/", "docs/", "scripts/", ".ci/"];

/// Paths in documents that lead nowhere.
pub(crate) fn paths(tree: &Tree) -> Vec<Violation> {
    let mut found = vec![];
    for document in tree.texts.iter().filter(|text| text.path.ends_with(".md") && !text.path.starts_with("tests/")) {
        for (line, word) in quoted(&document.text).filter(|(_, word)| ROOTS.iter().any(|root| word.starts_with(root))) {
            let path = word.trim_end_matches('/');
            let plain = !path.contains(['*', '<', '{', ' ', '…', '=']);
            if plain && !tree.paths.iter().any(|known| known == path) {
                found.push(Violation::new(&document.path, line, format!("`{word}` does not exist")));
            }
        }
    }
    found
}

/// Steps of the walk that README leaves out, or that name no file.
pub(crate) fn walk(tree: &Tree) -> Vec<Violation> {
    let readme = tree.text(README).unwrap_or_default();
    let told = |step: char| {
        readme.lines().any(|line| line.contains(step) && ROOTS.iter().any(|root| line.contains(&format!("`{root}"))))
    };
    let silent = STEPS.into_iter().filter(|step| !told(*step));
    silent.map(|step| Violation::new(README, 1, format!("no line names a file for {step}"))).collect()
}

/// Families that stand in the code or in the document only.
pub(crate) fn metrics(tree: &Tree) -> Vec<Violation> {
    let mut in_code = BTreeMap::new();
    for source in tree.product() {
        let tokens: Vec<&Token> = source.product_tokens().collect();
        for at in 0..tokens.len() {
            let is_metric = ["counter", "gauge", "histogram"].iter().any(|name| tokens[at].is_word(name));
            let opened = tokens.get(at + 2).is_some_and(|token| token.is_open(Delimiter::Parenthesis));
            if let Some(Kind::Literal(name)) = tokens.get(at + 3).map(|token| &token.kind)
                && is_metric
                && opened
            {
                in_code.entry(name.trim_matches('"').to_owned()).or_insert((source.path.as_str(), tokens[at].at.0));
            }
            // The process's own families are written as text, by their standard names.
            if let Kind::Literal(name) = &tokens[at].kind
                && name.starts_with("\"process_")
            {
                in_code.entry(name.trim_matches('"').to_owned()).or_insert((source.path.as_str(), tokens[at].at.0));
            }
        }
    }
    let in_document = documented(tree, METRICS, |word| word.starts_with("steward_") || word.starts_with("process_"));
    let mut found = differences(&in_code, &in_document, METRICS, "family");
    if in_code.len() > FAMILIES_MAX {
        found.push(Violation::new(METRICS, 1, format!("{} families; at most {FAMILIES_MAX}", in_code.len())));
    }
    found
}

/// Webhook schemes that stand in the code or in the document's table only.
pub(crate) fn schemes(tree: &Tree) -> Vec<Violation> {
    let mut in_code = BTreeMap::new();
    for source in tree.sources.iter().filter(|source| source.path.starts_with(SCHEME_TABLE)) {
        let tokens: Vec<&Token> = source.product_tokens().collect();
        for window in tokens.windows(3).filter(|window| window[0].is_word("name") && window[1].is_mark(':')) {
            if let Kind::Literal(name) = &window[2].kind
                && name != "\"\""
            {
                in_code.insert(name.trim_matches('"').to_owned(), (source.path.as_str(), window[0].at.0));
            }
        }
    }
    let rows = tree.text(WEBHOOKS).unwrap_or_default().lines().enumerate();
    let names = rows.filter_map(|(at, line)| Some((line.strip_prefix("| `")?.split_once('`')?.0.to_owned(), at + 1)));
    differences(&in_code, &names.collect(), WEBHOOKS, "scheme")
}

fn documented(tree: &Tree, path: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, usize> {
    let text = tree.text(path).unwrap_or_default();
    quoted(text).filter(|(_, word)| wanted(word)).map(|(line, word)| (word.to_owned(), line)).collect()
}

fn differences(
    in_code: &BTreeMap<String, (&str, usize)>,
    in_document: &BTreeMap<String, usize>,
    document: &str,
    what: &str,
) -> Vec<Violation> {
    let undocumented = in_code.iter().filter(|(name, _)| !in_document.contains_key(*name));
    let mut found: Vec<Violation> = undocumented
        .map(|(name, (path, line))| Violation::new(path, *line, format!("{what} `{name}` is not in {document}")))
        .collect();
    let gone = in_document.iter().filter(|(name, _)| !in_code.contains_key(*name));
    found.extend(
        gone.map(|(name, line)| Violation::new(document, *line, format!("{what} `{name}` is not in the code"))),
    );
    found
}

/// Words in backticks, with their lines. Fenced blocks are programs, not prose.
fn quoted(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let prose = text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|(at, line)| line.split('`').skip(1).step_by(2).map(move |word| (at + 1, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: Vec<Violation>) -> Vec<String> {
        found.into_iter().map(|violation| violation.text).collect()
    }

    #[test]
    fn catches_paths_that_lead_nowhere() {
        let text = "`node/src/a.rs` `node/src/b.rs` `node/src/` `b/c.rs`\n```\n`node/src/d.rs`\n```\n";
        let tree = Tree::of(&[("README.md", text), ("node/src/a.rs", "")]);
        assert_eq!(texts(paths(&tree)), ["`node/src/b.rs` does not exist"]);
    }

    #[test]
    fn catches_a_step_without_a_file() {
        let steps: String = STEPS.iter().map(|step| format!("{step} `node/src/a.rs`\n")).collect();
        assert!(walk(&Tree::of(&[("README.md", &steps)])).is_empty());
        let less = steps.replace('⑥', "-");
        assert_eq!(texts(walk(&Tree::of(&[("README.md", &less)]))), ["no line names a file for ⑥"]);
    }

    #[test]
    fn catches_metrics_that_differ() {
        let code = "fn a() { counter!(\"steward_a_total\"); metrics::gauge!(\"steward_b\", \"x\" => 1); }\n";
        let tree = Tree::of(&[("node/src/a.rs", code), ("docs/metrics.md", "`steward_b` `steward_c`\n")]);
        let want = ["family `steward_a_total` is not in docs/metrics.md", "family `steward_c` is not in the code"];
        assert_eq!(texts(metrics(&tree)), want);
        let many: String = (0..=FAMILIES_MAX).map(|at| format!("counter!(\"steward_{at}\");")).collect();
        let code = format!("fn a() {{ {many} }}");
        let list: String = (0..=FAMILIES_MAX).map(|at| format!("`steward_{at}` ")).collect();
        let found = texts(metrics(&Tree::of(&[("node/src/a.rs", &code), ("docs/metrics.md", &list)])));
        assert_eq!(found, ["121 families; at most 120"]);
    }

    #[test]
    fn catches_schemes_that_differ() {
        let code = "const A: S = S { name: \"\", x: 1 };\nconst B: S = S { name: \"slack-v0\", ..A };\n";
        let tree =
            Tree::of(&[("actors/src/domain/webhook/table/work.rs", code), ("docs/webhooks.md", "| `gone-v1` | x |\n")]);
        let want = ["scheme `slack-v0` is not in docs/webhooks.md", "scheme `gone-v1` is not in the code"];
        assert_eq!(texts(schemes(&tree)), want);
    }
}
