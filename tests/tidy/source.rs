//! One Rust file: its syntax, its tokens with their places, and which of its lines are tests.

use std::sync::OnceLock;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// A place in a file: line from 1, column from 0.
pub(crate) type Place = (usize, usize);

/// From the first place to the one behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: Place,
    pub(crate) to: Place,
}

impl Stretch {
    pub(crate) fn of(span: Span) -> Self {
        let (from, to) = (span.start(), span.end());
        Self { from: (from.line, from.column), to: (to.line, to.column) }
    }

    pub(crate) fn holds(self, place: Place) -> bool {
        self.from <= place && place < self.to
    }
}

/// What a token is, as far as rules care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word(String),
    Literal(String),
    Mark(char),
    Open(Delimiter),
    Close,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: Place,
}

impl Token {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    pub(crate) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(crate) fn is_open(&self, delimiter: Delimiter) -> bool {
        self.kind == Kind::Open(delimiter)
    }
}

/// A Rust file. What is read out of it is read when it is asked for; syntax trees cannot be kept across threads.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// Its `mod` line stands behind `#[cfg(test)]`.
    pub(crate) is_test_module: bool,
    tokens: OnceLock<Vec<Token>>,
    tests: OnceLock<Vec<Stretch>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        Self { path: path.to_owned(), text, is_test_module: false, tokens: OnceLock::new(), tests: OnceLock::new() }
    }

    pub(crate) fn syntax(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        self.tokens.get_or_init(|| {
            let stream: TokenStream = self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path));
            let mut tokens = vec![];
            flatten(stream, &mut tokens);
            tokens
        })
    }

    /// Items that exist only in tests.
    pub(crate) fn tests(&self) -> &[Stretch] {
        self.tests.get_or_init(|| {
            let mut finder = TestItems::default();
            finder.visit_file(&self.syntax());
            finder.found
        })
    }

    pub(crate) fn crate_name(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Paths of the modules that this file declares for tests only.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or_default();
        let stem = name.trim_end_matches(".rs");
        let folder =
            if ["mod", "lib", "main"].contains(&stem) { folder.to_owned() } else { format!("{folder}/{stem}") };
        let mut declared = vec![];
        let mut lines = self.text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let module =
                (line == "#[cfg(test)]").then(|| lines.next()).flatten().and_then(|line| line.strip_suffix(';'));
            let name = module.and_then(|line| line.rsplit_once("mod ")).map(|(_, name)| name);
            declared.extend(name.map(|name| format!("{folder}/{name}.rs")));
        }
        declared
    }

    /// Whether the whole file exists only for tests, examples or measurements.
    pub(crate) fn is_test(&self) -> bool {
        if self.is_test_module {
            return true;
        }
        let folders = ["tests", "examples", "benches"];
        let stem = self.path.trim_end_matches(".rs");
        self.path.split('/').any(|part| folders.contains(&part)) || stem.ends_with("_tests") || stem.ends_with("/tests")
    }

    /// Whether this place is test code.
    pub(crate) fn in_test(&self, place: Place) -> bool {
        self.is_test() || self.tests().iter().any(|stretch| stretch.holds(place))
    }

    /// Tokens that are no test code.
    pub(crate) fn product_tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens().iter().filter(|token| !self.in_test(token.at))
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let start = tree.span().start();
        let at = (start.line, start.column);
        match tree {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                tokens.push(Token { kind: Kind::Word(word.trim_start_matches("r#").to_owned()), at });
            }
            TokenTree::Literal(literal) => tokens.push(Token { kind: Kind::Literal(literal.to_string()), at }),
            TokenTree::Punct(punct) => tokens.push(Token { kind: Kind::Mark(punct.as_char()), at }),
            TokenTree::Group(group) => {
                tokens.push(Token { kind: Kind::Open(group.delimiter()), at });
                flatten(group.stream(), tokens);
                let close = group.span_close().start();
                tokens.push(Token { kind: Kind::Close, at: (close.line, close.column) });
            }
        }
    }
}

/// Finds what stands behind `#[cfg(test)]` or `#[test]`.
#[derive(Default)]
struct TestItems {
    found: Vec<Stretch>,
}

impl TestItems {
    fn note(&mut self, attributes: &[syn::Attribute], span: Span) {
        if attributes.iter().any(only_in_tests) {
            self.found.push(Stretch::of(span));
        }
    }
}

fn only_in_tests(attribute: &syn::Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

impl<'ast> Visit<'ast> for TestItems {
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of item that syn adds later carry no mark yet")]
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Macro(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Type(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &[],
        };
        self.note(attributes, item.span());
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if let syn::ImplItem::Fn(function) = item {
            self.note(&function.attrs, item.span());
        }
        visit::visit_impl_item(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_test_code_from_the_rest() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}\n";
        let source = Source::new("actors/src/x.rs", text.to_owned());
        let words: Vec<&Token> = source.product_tokens().collect();
        assert!(words.iter().any(|token| token.is_word("a")) && words.iter().any(|token| token.is_word("c")));
        assert!(!words.iter().any(|token| token.is_word("b")));
        for (path, test) in [
            ("actors/tests/x.rs", true),
            ("actors/src/x_tests.rs", true),
            ("actors/src/x/tests.rs", true),
            ("actors/src/x.rs", false),
        ] {
            assert_eq!(Source::new(path, String::new()).is_test(), test, "{path}");
        }
    }
}
