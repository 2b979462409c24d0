//! Reads the repository: the sources of the five crates, their manifests and the documents. Every rule works on it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use crate::source::Source;

/// The crates from right to left: each may use itself and those before it.
pub(crate) const CRATES: [&str; 5] = ["proto", "cluster", "actors", "node", "tests"];
/// The crates whose code runs in the product.
pub(crate) const PRODUCT: [&str; 3] = ["cluster", "actors", "node"];
/// Folders at the top that hold no crate.
const OTHER_FOLDERS: [&str; 5] = ["deploy", "demo", "docs", "scripts", ".ci"];
/// What is never part of the product's text.
const SKIPPED: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// Files that rules read; of others the path is enough.
const READ: [&str; 3] = [".rs", ".md", ".toml"];

/// A file that is no Rust source.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Where the repository is.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the repository")
}

/// All files that rules look at.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) sources: Vec<Source>,
    pub(crate) texts: Vec<Text>,
    /// Every file and folder, to look up what documents name.
    pub(crate) paths: Vec<String>,
}

impl Tree {
    /// This repository, read once.
    pub(crate) fn repository() -> &'static Self {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(|| {
            let root = root();
            let mut tree = Self::default();
            for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.toml", "Makefile", "LICENSE"] {
                if root.join(name).is_file() {
                    tree.add_file(root, name);
                }
            }
            for folder in CRATES.iter().chain(&OTHER_FOLDERS).filter(|folder| root.join(folder).is_dir()) {
                tree.add_folder(root, folder);
            }
            tree.mark_test_modules();
            tree
        })
    }

    /// A made-up tree, for the proofs of the rules.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(path, (*text).to_owned());
        }
        tree.mark_test_modules();
        tree
    }

    /// The document or manifest at this path.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|text| text.path == path).map(|text| text.text.as_str())
    }

    /// Sources of the product that are no tests.
    pub(crate) fn product(&self) -> impl Iterator<Item = &Source> {
        let ours = |source: &&Source| PRODUCT.contains(&source.crate_name()) && !source.is_test();
        self.sources.iter().filter(ours)
    }

    fn mark_test_modules(&mut self) {
        let declared: BTreeSet<String> = self.sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut self.sources {
            source.is_test_module = declared.contains(&source.path);
        }
    }

    fn add_folder(&mut self, root: &Path, folder: &str) {
        self.paths.push(folder.to_owned());
        let entries = std::fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        for name in names.iter().filter(|name| !SKIPPED.contains(&name.as_str())) {
            let path = format!("{folder}/{name}");
            if root.join(&path).is_dir() {
                self.add_folder(root, &path);
            } else {
                self.add_file(root, &path);
            }
        }
    }

    fn add_file(&mut self, root: &Path, path: &str) {
        if READ.iter().any(|ending| path.ends_with(ending)) {
            let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            self.add(path, text);
        } else {
            self.paths.push(path.to_owned());
        }
    }

    fn add(&mut self, path: &str, text: String) {
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            if !self.paths.iter().any(|known| known == parent) {
                self.paths.push(parent.to_owned());
            }
            folder = parent;
        }
        self.paths.push(path.to_owned());
        if path.ends_with(".rs") {
            self.sources.push(Source::new(path, text));
        } else {
            self.texts.push(Text { path: path.to_owned(), text });
        }
    }
}
