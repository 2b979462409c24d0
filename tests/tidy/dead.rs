//! Rule: whatever is offered (`pub`, `pub(crate)`, trait methods) is named somewhere else in code that is no test.
//!
//! # Decisions
//! - By name, over tokens: two things of one name hide each other. A compiler's view would need a build of every
//!   feature; this one takes a second and finds what the compiler cannot: `pub` that no other crate calls.
//! - Imports and re-exports do not count, and neither do a type's own `impl` blocks.

use std::collections::{BTreeMap, BTreeSet};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Violation;
use crate::source::{Kind, Place, Source, Stretch, Token};
use crate::tree::Tree;

/// Names that stand alone on purpose, each with its reason.
pub(crate) const ALLOWED: &[(&str, &str)] = &[
    ("ManualClock", "a fake beside its trait: tests and simulation turn its hands"),
    ("Rehearsal", "placement without etcd, for the simulation"),
    ("is_placed", "placement without etcd, for the simulation"),
    ("crash", "a fake beside its trait: the power cut of a disk in memory"),
    ("fail_next_sync", "a fake beside its trait: a disk in memory whose page cache lies after a failed sync"),
    ("set_free_bytes", "a fake beside its trait: a disk in memory that fills up"),
    ("announce_leaders", "the tests of membership stand in for the executor, which announces by itself"),
    ("report_members", "the tests of membership stand in for the executor, which reports by itself"),
];

/// Words before a name that define it.
const DEFINING: [&str; 8] = ["fn", "struct", "enum", "const", "static", "trait", "type", "mod"];

/// Something offered to others.
struct Offer {
    name: String,
    path: String,
    line: usize,
    /// Where a mention does not count, by path.
    own: Vec<(String, Stretch)>,
}

/// Where a name is mentioned.
type Mentions<'a> = BTreeMap<String, Vec<(&'a str, Place)>>;

pub(crate) fn violations(tree: &Tree, allowed: &[(&str, &str)]) -> Vec<Violation> {
    let mut offers = vec![];
    let mut impls: BTreeMap<String, Vec<(String, Stretch)>> = BTreeMap::new();
    let mut mentions = Mentions::new();
    for source in tree.product() {
        let mut reader =
            Reader { source, offers: &mut offers, impls: &mut impls, imports: vec![], in_offered_trait: false };
        reader.visit_file(&source.syntax());
        let imports = reader.imports;
        mention_all(source, &imports, &mut mentions);
    }
    for offer in &mut offers {
        offer.own.extend(impls.get(&offer.name).into_iter().flatten().cloned());
    }
    let dead: Vec<&Offer> = offers.iter().filter(|offer| !is_mentioned(offer, &mentions)).collect();
    let names: BTreeSet<&str> = dead.iter().map(|offer| offer.name.as_str()).collect();
    let mut found: Vec<Violation> = dead
        .iter()
        .filter(|offer| !allowed.iter().any(|(name, _)| *name == offer.name))
        .map(|offer| Violation::new(&offer.path, offer.line, format!("nothing but tests uses `{}`", offer.name)))
        .collect();
    let stale = allowed.iter().filter(|(name, _)| !names.contains(name));
    found
        .extend(stale.map(|(name, _)| Violation::new("tests/tidy/dead.rs", 1, format!("`{name}` needs no allowance"))));
    found
}

fn is_mentioned(offer: &Offer, mentions: &Mentions<'_>) -> bool {
    let own = |path: &str, place: Place| offer.own.iter().any(|(own, stretch)| own == path && stretch.holds(place));
    mentions.get(&offer.name).into_iter().flatten().any(|(path, place)| !own(path, *place))
}

fn mention_all<'a>(source: &'a Source, imports: &[Stretch], mentions: &mut Mentions<'a>) {
    let tokens: Vec<&Token> = source.product_tokens().collect();
    let mut note = |name: &str, at: Place| mentions.entry(name.to_owned()).or_default().push((&source.path, at));
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| tokens[at]);
        match &token.kind {
            Kind::Word(word) => {
                let defines = before.is_some_and(|before| DEFINING.iter().any(|keyword| before.is_word(keyword)));
                let renamed = tokens.get(at + 1).is_some_and(|next| next.is_word("as"));
                let imported = imports.iter().any(|import| import.holds(token.at));
                if !defines && (!imported || renamed) {
                    note(word, token.at);
                }
            }
            Kind::Literal(literal) => {
                let assigned = before.is_some_and(|before| before.is_mark('='));
                for name in names_in_text(literal, assigned) {
                    note(name, token.at);
                }
            }
            Kind::Mark(_) | Kind::Open(_) | Kind::Close => {}
        }
    }
}

/// `{NAME}` in a format, and the path in an attribute such as `default = "path"`.
fn names_in_text(literal: &str, assigned: bool) -> Vec<&str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut names: Vec<&str> = literal
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split(|c| !is_part(c)).next())
        .filter(|name| !name.is_empty())
        .collect();
    let path = literal.trim_matches('"');
    if assigned && path.chars().all(|c| is_part(c) || c == ':') {
        names.extend(path.split("::"));
    }
    names
}

struct Reader<'a> {
    source: &'a Source,
    offers: &'a mut Vec<Offer>,
    impls: &'a mut BTreeMap<String, Vec<(String, Stretch)>>,
    imports: Vec<Stretch>,
    in_offered_trait: bool,
}

impl Reader<'_> {
    fn offer(&mut self, visibility: &syn::Visibility, name: &syn::Ident, whole: proc_macro2::Span) {
        if !matches!(visibility, syn::Visibility::Inherited) {
            self.add(name, whole);
        }
    }

    fn add(&mut self, name: &syn::Ident, whole: proc_macro2::Span) {
        let stretch = Stretch::of(whole);
        let start = name.span().start();
        if self.source.in_test((start.line, start.column)) {
            return;
        }
        self.offers.push(Offer {
            name: name.to_string(),
            path: self.source.path.clone(),
            line: start.line,
            own: vec![(self.source.path.clone(), stretch)],
        });
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of item that syn adds later offer nothing yet")]
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Fn(item) => self.offer(&item.vis, &item.sig.ident, item.span()),
            syn::Item::Struct(item) => self.offer(&item.vis, &item.ident, item.span()),
            syn::Item::Enum(item) => self.offer(&item.vis, &item.ident, item.span()),
            syn::Item::Const(item) => self.offer(&item.vis, &item.ident, item.span()),
            syn::Item::Static(item) => self.offer(&item.vis, &item.ident, item.span()),
            syn::Item::Type(item) => self.offer(&item.vis, &item.ident, item.span()),
            syn::Item::Trait(item) => {
                self.offer(&item.vis, &item.ident, item.span());
                self.in_offered_trait = true;
            }
            syn::Item::Impl(item) => {
                if let syn::Type::Path(own) = &*item.self_ty
                    && let Some(last) = own.path.segments.last()
                {
                    let place = (self.source.path.clone(), Stretch::of(item.span()));
                    self.impls.entry(last.ident.to_string()).or_default().push(place);
                }
            }
            syn::Item::Use(item) => self.imports.push(Stretch::of(item.span())),
            _ => {}
        }
        visit::visit_item(self, item);
        self.in_offered_trait = false;
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of item that syn adds later offer nothing yet")]
    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        match item {
            syn::ImplItem::Fn(item) => self.offer(&item.vis, &item.sig.ident, item.span()),
            syn::ImplItem::Const(item) => self.offer(&item.vis, &item.ident, item.span()),
            _ => {}
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if self.in_offered_trait {
            self.add(&item.sig.ident, item.span());
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, allowed: &[(&str, &str)], want: &[&str]) {
        let tree =
            Tree::of(&[("cluster/src/a.rs", text), ("node/tests/b.rs", "fn t() { only_tested(); Ghost::new(); }\n")]);
        let found: Vec<String> = violations(&tree, allowed).into_iter().map(|violation| violation.text).collect();
        assert_eq!(found, want, "{text}");
    }

    #[test]
    fn catches_what_nobody_uses() {
        let only_tested = "nothing but tests uses `only_tested`";
        check("pub fn only_tested() { only_tested() }\n", &[], &[only_tested]);
        check(
            "pub fn only_tested() {}\n#[cfg(test)]\nmod tests { fn a() { super::only_tested() } }\n",
            &[],
            &[only_tested],
        );
        check("mod b { pub(crate) fn only_tested() {} }\npub use b::only_tested;\n", &[], &[only_tested]);
        check(
            "pub struct Ghost;\nimpl Ghost { fn new() -> Ghost { Ghost } }\n",
            &[],
            &["nothing but tests uses `Ghost`"],
        );
        check("struct S;\nimpl S { pub fn only_tested(&self) {} }\n", &[], &[only_tested]);
        check("trait T { fn only_tested(&self); }\nimpl T for () { fn only_tested(&self) {} }\n", &[], &[only_tested]);
        check("pub const ONLY: u8 = 1;\n", &[], &["nothing but tests uses `ONLY`"]);
    }

    #[test]
    fn leaves_modules_that_only_tests_have() {
        let tree = Tree::of(&[
            ("cluster/src/b/mod.rs", "#[cfg(test)]\npub(crate) mod samples;\n"),
            ("cluster/src/b/samples.rs", "pub(crate) const KINDS: u8 = 1;\n"),
        ]);
        assert_eq!(violations(&tree, &[]), []);
    }

    #[test]
    fn leaves_what_is_used() {
        check("pub fn a() {}\nfn b() { a() }\n", &[], &[]);
        check("pub const ONLY: u8 = 1;\nfn b() { panic!(\"{ONLY}\") }\n", &[], &[]);
        check("fn b() { #[serde(default = \"a\")] struct S; }\npub fn a() {}\n", &[], &[]);
        check("use c::a as d;\npub fn a() {}\nfn b() { d() }\n", &[], &[]);
        check("fn private() {}\n", &[], &[]);
    }

    #[test]
    fn allows_by_name_and_only_while_it_is_needed() {
        check("pub fn only_tested() {}\n", &[("only_tested", "a reason")], &[]);
        check("pub fn a() {}\nfn b() { a() }\n", &[("a", "a reason")], &["`a` needs no allowance"]);
    }
}
