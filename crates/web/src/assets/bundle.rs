//! Joins the JavaScript modules of a page into one script. The browser then sends one request
//! instead of about twenty.
//!
//! Each module becomes a function that runs once and returns an object with its exports. An import
//! becomes a destructuring of this object. A module may import only named exports, and only from
//! `/assets/`. Two modules may not import each other, not even through other modules. A module that
//! a page loads later with `import()` stays a separate file.

use std::collections::{HashMap, HashSet};

use super::AssetSource;

/// The entry scripts of the pages.
pub(super) const ENTRIES: [&str; 4] = ["sale.js", "order.js", "sales.js", "sandbox.js"];

const IMPORT: &str = "import {";
const FROM: &str = "} from '/assets/";
const DECLARATIONS: [&str; 4] = ["const ", "let ", "async function ", "function "];

const STYLE_IMPORT: &str = "@import \"/assets/";

/// Returns the style sheet `name`, followed by the sheets that it imports. The imported sheets use
/// the CSS variables of the first sheet.
pub(super) fn joined_styles(name: &str, sources: &HashMap<String, AssetSource>) -> String {
    let text = sources.get(name).map(AssetSource::text).unwrap_or_default();
    let (mut imported, mut own) = (String::new(), String::new());
    for line in text.split_inclusive('\n') {
        match line.strip_prefix(STYLE_IMPORT).and_then(|rest| rest.split_once('"')) {
            Some((other, _)) => imported.push_str(&joined_styles(other, sources)),
            None => own.push_str(line),
        }
    }
    own + &imported
}

pub(super) fn bundle(entry: &str, sources: &HashMap<String, AssetSource>) -> String {
    let (mut out, mut done) = (String::new(), HashSet::new());
    add(entry, sources, &mut done, &mut out);
    out
}

/// Appends the module `name`, after the modules that it imports.
fn add(
    name: &str,
    sources: &HashMap<String, AssetSource>,
    done: &mut HashSet<String>,
    out: &mut String,
) {
    let Some(source) = sources.get(name).filter(|_| done.insert(name.to_owned())) else { return };
    let text = source.text();
    let module = Module::parse(&text);
    for (from, _) in &module.imports {
        add(from, sources, done, out);
    }
    let constant = constant(name);
    out.push_str(&format!("const {constant} = await (async () => {{\n"));
    for (from, names) in &module.imports {
        out.push_str(&format!("const {{ {} }} = {};\n", names.join(", "), self::constant(from)));
    }
    out.push_str(&module.body);
    out.push_str(&format!("return {{ {} }};\n}})();\n", module.exports.join(", ")));
}

/// Returns the name of the constant that contains a module's exports: `m_sale_state_js` for
/// `sale-state.js`.
fn constant(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("m_{}", name.chars().map(plain).collect::<String>())
}

/// Returns whether the line begins with a comment and has no code after this comment. Such comments
/// make up a seventh of the scripts' text, so a bundle leaves them out.
fn is_comment_start(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("/*") && line.find("*/").is_none_or(|end| end + 2 == line.len())
}

#[derive(Debug, Default)]
struct Module {
    /// Each imported module, with the names that are imported from it. An import `c as d` is kept
    /// as `c: d`.
    imports: Vec<(String, Vec<String>)>,
    exports: Vec<String>,
    /// The statements, without imports, without the word `export` and without indentation.
    body: String,
}

impl Module {
    fn parse(text: &str) -> Self {
        let mut module = Self::default();
        let (mut rest, mut in_comment) = (text, false);
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.find('\n').map_or(rest.len(), |end| end + 1));
            in_comment |= is_comment_start(line);
            rest = match (in_comment, line.starts_with(IMPORT)) {
                (true, _) => after,
                (false, true) => module.import(rest),
                (false, false) => {
                    module.statement(line);
                    after
                }
            };
            in_comment &= !line.trim_end().ends_with("*/");
        }
        module
    }

    /// Parses the import with which `text` begins, and returns the text after this import.
    fn import<'t>(&mut self, text: &'t str) -> &'t str {
        let taken = text.split_once(FROM).and_then(|(names, rest)| {
            let (file, rest) = rest.split_once("';\n")?;
            Some((&names[IMPORT.len()..], file, rest))
        });
        let Some((names, file, rest)) = taken else { return "" };
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names = names.map(|name| name.replace(" as ", ": ")).collect();
        self.imports.push((file.to_owned(), names));
        rest
    }

    fn statement(&mut self, line: &str) {
        let Some(declared) = line.strip_prefix("export ") else {
            return self.body.push_str(line.trim_start_matches(' '));
        };
        let name = DECLARATIONS.iter().find_map(|word| declared.strip_prefix(word));
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_$".contains(c);
        let name = name.map(|name| name.chars().take_while(|c| is_part(*c)).collect::<String>());
        self.exports.extend(name);
        self.body.push_str(declared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::embedded;

    fn sources(files: &[(&str, &str)]) -> HashMap<String, AssetSource> {
        let source = |text: &str| AssetSource::generated(text.to_owned());
        files.iter().map(|(name, text)| ((*name).to_owned(), source(text))).collect()
    }

    #[test]
    fn a_module_follows_the_modules_that_it_imports_and_takes_their_names() {
        let files = sources(&[
            ("a.js", "import { b,\n  c as d } from '/assets/b-c.js';\nexport const a = b + d;\n"),
            ("b-c.js", "export function b() {}\nexport const c = 1;\nlet mine = 2;\n"),
        ]);
        assert_eq!(
            bundle("a.js", &files),
            "const m_b_c_js = await (async () => {\nfunction b() {}\nconst c = 1;\nlet mine = 2;\n\
             return { b, c };\n})();\n\
             const m_a_js = await (async () => {\nconst { b, c: d } = m_b_c_js;\n\
             const a = b + d;\nreturn { a };\n})();\n"
        );
    }

    #[test]
    fn indentation_and_comments_that_fill_lines_are_left_out_and_other_comments_stay() {
        let text =
            "/* One\n   two. */\n  const a = 1; /* stays */\n  /* three */\n/* four */ let b;\n";
        let module = Module::parse(text);
        assert_eq!(module.body, "const a = 1; /* stays */\n/* four */ let b;\n");
    }

    #[test]
    fn a_bundle_of_a_page_has_no_imports_and_uses_no_module_before_its_definition() {
        let files = embedded();
        for entry in ENTRIES {
            let text = bundle(entry, &files);
            let mut defined = HashSet::new();
            for line in text.lines() {
                assert!(!line.starts_with("import ") && !line.starts_with("export "), "{line}");
                // The bundle removes the indentation of lines, which would change a template
                // literal of several lines. So each literal must begin and end on one line.
                assert!(line.matches('`').count().is_multiple_of(2), "{line}");
                if let Some((name, _)) =
                    line.strip_prefix("const ").and_then(|line| line.split_once(" = await (async"))
                {
                    defined.insert(name.to_owned());
                } else if let Some((_, from)) = line.rsplit_once("} = m_") {
                    assert!(
                        defined.contains(&format!("m_{}", from.trim_end_matches(';'))),
                        "{line}"
                    );
                }
            }
            assert!(defined.len() > 3, "{entry}: {defined:?}");
        }
    }
}
