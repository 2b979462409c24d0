//! Rule: files hold at most 400 lines (tests apart) and functions at most 70 (comments and blank lines apart).

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Violation;
use crate::source::{Source, Stretch};
use crate::tree::Tree;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let mut found = vec![];
    for source in &tree.sources {
        let lines = product_lines(source);
        if !source.is_test() && lines > FILE_LINES_MAX {
            found.push(Violation::new(&source.path, 1, format!("{lines} lines; at most {FILE_LINES_MAX}")));
        }
        let mut functions = Functions { source, found: &mut found };
        functions.visit_file(&source.syntax());
    }
    found
}

fn product_lines(source: &Source) -> usize {
    let in_test = |line: usize| source.tests().iter().any(|test| (test.from.0..=test.to.0).contains(&line));
    (1..=source.text.lines().count()).filter(|line| !in_test(*line)).count()
}

struct Functions<'a> {
    source: &'a Source,
    found: &'a mut Vec<Violation>,
}

impl Functions<'_> {
    fn measure(&mut self, name: &syn::Ident, body: &syn::Block) {
        let Stretch { from, to } = Stretch::of(body.span());
        let inside = self.source.text.lines().skip(from.0).take(to.0.saturating_sub(from.0 + 1));
        let lines = inside.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        if lines > FUNCTION_LINES_MAX {
            let text = format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}");
            self.found.push(Violation::new(&self.source.path, from.0, text));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.measure(&item.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_what_is_too_long() {
        let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    let _a = 1;\n".repeat(lines));
        let of = |text: &str| violations(&Tree::of(&[("node/src/a.rs", text)]));
        assert!(of(&function(FUNCTION_LINES_MAX)).is_empty());
        let found = of(&function(FUNCTION_LINES_MAX + 1));
        assert_eq!(found, [Violation::new("node/src/a.rs", 1, "`long` has 71 lines; at most 70")]);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(500));
        assert!(of(&tests).is_empty());
        assert_eq!(of(&"// x\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    }
}
