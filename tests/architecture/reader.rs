//! What one source file names: paths with `super` and `self` resolved, unsafe code, test modules.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::Span;
use syn::buffer::{Cursor, TokenBuffer};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, Meta, UseTree};

/// What a file says about itself.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Its path in `src/`.
    pub(crate) file: String,
    /// Its module path, `["gate", "stream"]`.
    pub(crate) module: Vec<String>,
    /// Every path that it names outside of tests, beginning with `crate` or with the name of a crate.
    pub(crate) paths: BTreeSet<Vec<String>>,
    /// Lines of unsafe blocks, functions, implementations and foreign items.
    pub(crate) unsafe_lines: usize,
    /// Modules declared under `#[cfg(test)]` that stand in files of their own.
    pub(crate) test_modules: Vec<Vec<String>>,
    /// Whether it says `#![forbid(unsafe_code)]`.
    pub(crate) forbids_unsafe: bool,
}

impl Facts {
    /// The room: the first word of the module path; `lib` and `main` for those files.
    pub(crate) fn room(&self) -> &str {
        self.module.first().map_or_else(|| self.file.trim_end_matches(".rs"), String::as_str)
    }
}

/// Reads the text of the file at `path` inside `src/`.
pub(crate) fn read(path: &Path, text: &str) -> Facts {
    let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut module: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let last = module.pop().unwrap_or_default();
    if !["mod", "lib", "main"].contains(&last.as_str()) {
        module.push(last);
    }
    let facts = Facts {
        file: path.display().to_string(),
        module: module.clone(),
        forbids_unsafe: parsed.attrs.iter().any(|attribute| has_word(attribute, "forbid", "unsafe_code")),
        ..Facts::default()
    };
    let mut reader = Reader { facts, module, local: vec![local_names(&parsed.items)], unsafe_until: 0 };
    reader.visit_file(&parsed);
    reader.facts
}

/// Whether an attribute reads `#[name(..., word, ...)]`.
fn has_word(attribute: &Attribute, name: &str, word: &str) -> bool {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident(name) => {
            let mut found = false;
            walk(&TokenBuffer::new2(list.tokens.clone()), &mut |cursor| {
                found |= cursor.ident().is_some_and(|(ident, _)| ident == word)
            });
            found
        }
        _ => false,
    }
}

/// Calls `see` at every token, groups opened.
fn walk(buffer: &TokenBuffer, see: &mut dyn FnMut(Cursor<'_>)) {
    fn inside(mut cursor: Cursor<'_>, see: &mut dyn FnMut(Cursor<'_>)) {
        while !cursor.eof() {
            see(cursor);
            if let Some((group, _, _, _)) = cursor.any_group() {
                inside(group, see);
            }
            let Some((_, next)) = cursor.token_tree() else { return };
            cursor = next;
        }
    }
    inside(buffer.begin(), see);
}

/// `a::b::c` at a cursor.
fn path_at(mut cursor: Cursor<'_>) -> Vec<String> {
    let mut path = Vec::new();
    while let Some((ident, next)) = cursor.ident() {
        path.push(ident.to_string());
        let colons = next.punct().filter(|(colon, _)| colon.as_char() == ':').and_then(|(_, next)| next.punct());
        let Some((_, next)) = colons.filter(|(colon, _)| colon.as_char() == ':') else { break };
        cursor = next;
    }
    path
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            // `fuzzing` builds tests too, for the fuzz targets.
            let condition = list.tokens.to_string();
            condition == "test" || condition == "fuzzing" || condition.starts_with("all (test ,")
        }
        _ => false,
    })
}

/// Names that hide a crate of the same name: modules declared here, and what is taken from the own crate.
fn local_names(items: &[Item]) -> BTreeSet<String> {
    fn ends(tree: &UseTree, names: &mut BTreeSet<String>) {
        match tree {
            UseTree::Path(path) => ends(&path.tree, names),
            UseTree::Group(group) => group.items.iter().for_each(|item| ends(item, names)),
            UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(names.insert(rename.rename.to_string())),
            UseTree::Glob(_) => {}
        }
    }
    let mut names = BTreeSet::new();
    for item in items {
        match item {
            Item::Mod(module) => drop(names.insert(module.ident.to_string())),
            Item::Use(ItemUse { tree: UseTree::Path(path), .. })
                if path.ident == "crate" || path.ident == "super" || path.ident == "self" =>
            {
                ends(&path.tree, &mut names);
            }
            _ => {}
        }
    }
    names
}

struct Reader {
    facts: Facts,
    module: Vec<String>,
    /// Names that hide a crate, of each module from the file inward.
    local: Vec<BTreeSet<String>>,
    /// Last line already counted as unsafe.
    unsafe_until: usize,
}

impl Reader {
    fn name(&mut self, path: &[String], leading_colon: bool) {
        let Some(first) = path.first() else { return };
        let hidden = self.local.last().is_some_and(|names| names.contains(first)) && !leading_colon;
        let full = match first.as_str() {
            "self" | "Self" => return,
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let kept = self.module.len().saturating_sub(ups);
                let above = self.module.iter().take(kept).cloned();
                std::iter::once("crate".into()).chain(above).chain(path.iter().skip(ups).cloned()).collect()
            }
            _ if hidden => return,
            _ => path.to_vec(),
        };
        self.facts.paths.insert(full);
    }

    fn walk_use(&mut self, tree: &UseTree, before: &mut Vec<String>, leading_colon: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.walk_use(&path.tree, before, leading_colon);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.walk_use(item, before, leading_colon)),
            UseTree::Glob(_) => self.name(before, leading_colon),
            UseTree::Name(name) => self.end_use(&name.ident, before, leading_colon),
            UseTree::Rename(rename) => self.end_use(&rename.ident, before, leading_colon),
        }
    }

    fn end_use(&mut self, last: &syn::Ident, before: &mut Vec<String>, leading_colon: bool) {
        let last = last.to_string();
        if last == "self" {
            self.name(before, leading_colon);
        } else {
            before.push(last);
            self.name(before, leading_colon);
            before.pop();
        }
    }

    /// Counts the lines of a span, each once.
    fn count_unsafe(&mut self, span: Span) {
        let (from, to) = (span.start().line.max(self.unsafe_until + 1), span.end().line);
        if to >= from {
            self.facts.unsafe_lines += to - from + 1;
            self.unsafe_until = to;
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            Item::Mod(it) => &it.attrs,
            Item::Use(it) => &it.attrs,
            Item::Struct(it) => &it.attrs,
            Item::Const(it) => &it.attrs,
            _ => &[],
        };
        if is_test(attributes) {
            if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
                let mut module = self.module.clone();
                module.push(ident.to_string());
                self.facts.test_modules.push(module);
            }
            return;
        }
        match item {
            Item::Impl(it) if it.unsafety.is_some() => self.count_unsafe(it.span()),
            Item::Trait(it) if it.unsafety.is_some() => self.count_unsafe(it.span()),
            Item::ForeignMod(it) => self.count_unsafe(it.span()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.sig.unsafety.is_some() {
            self.count_unsafe(function.span());
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if function.sig.unsafety.is_some() {
            self.count_unsafe(function.span());
        }
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if function.sig.unsafety.is_some() {
            self.count_unsafe(function.span());
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.count_unsafe(block.span());
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("unsafe") {
            self.count_unsafe(attribute.span());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let Some((_, items)) = &module.content else { return };
        self.module.push(module.ident.to_string());
        self.local.push(local_names(items));
        visit::visit_item_mod(self, module);
        self.local.pop();
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.walk_use(&item.tree, &mut Vec::new(), item.leading_colon.is_some());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.name(&parts, path.leading_colon.is_some());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        let mut paths = Vec::new();
        let mut unsafe_spans = Vec::new();
        // An ident behind `name::` is the middle of a path that was seen already.
        let (mut behind_name, mut colons) = (false, 0);
        walk(&TokenBuffer::new2(call.tokens.clone()), &mut |cursor| {
            if let Some((ident, _)) = cursor.ident() {
                if ident == "unsafe" {
                    unsafe_spans.push(ident.span());
                }
                if colons < 2 || !behind_name {
                    paths.push(path_at(cursor));
                }
                (behind_name, colons) = (true, 0);
            } else if cursor.punct().is_some_and(|(punct, _)| punct.as_char() == ':') {
                colons += 1;
            } else {
                (behind_name, colons) = (false, 0);
            }
        });
        for path in paths.iter().filter(|path| path.len() > 1) {
            self.name(path, false);
        }
        for span in unsafe_spans {
            self.count_unsafe(span);
        }
        visit::visit_macro(self, call);
    }
}
