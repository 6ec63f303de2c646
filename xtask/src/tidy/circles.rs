//! Finds files of a crate that import each other in a circle: each file imports the next file, and
//! the last file imports the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::scan::{self, Kind};

/// The largest number of files that may import each other in a circle.
const CIRCLE_FILES_MAX: usize = 3;
/// The largest number of re-exports that the check follows to find the definition of a name.
const REEXPORTS_MAX: usize = 6;

/// A path such as `crate::sale::Sale`, as the list of its names.
type Names = Vec<String>;

/// The paths of modules and items that one file names.
#[derive(Default)]
struct FilePaths {
    /// The paths, from the root of the crate.
    named: Vec<Names>,
    /// The file's re-exports: the name under which an item is exported, and the item's path from
    /// the root of the crate.
    reexports: BTreeMap<String, Names>,
}

/// Checks that the crate `name` has no circle with too many files. `files` contains the paths of
/// all files of the repository.
pub fn check(root: &Path, name: &str, files: &[String], found: &mut Vec<String>) -> Result<()> {
    let start = format!("crates/{name}/src/");
    let mut sources = BTreeMap::new();
    for file in files.iter().filter(|file| file.starts_with(&start) && file.ends_with(".rs")) {
        let module = file[start.len()..].trim_end_matches(".rs").replace('/', "::");
        if !module.split("::").any(|part| part == "tests") {
            let module = if module == "lib" { String::new() } else { module };
            sources.insert(module, code(&fs::read_to_string(root.join(file))?));
        }
    }
    for circle in circles(&sources).iter().filter(|circle| circle.len() > CIRCLE_FILES_MAX) {
        found.push(format!(
            "crates/{name}: {} files import each other, more than {CIRCLE_FILES_MAX}: {}",
            circle.len(),
            circle.join(", ")
        ));
    }
    Ok(())
}

/// Returns a file's code, without comments, literals and its test module.
fn code(source: &str) -> String {
    let tests = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"];
    let end = tests.iter().filter_map(|tests| source.find(tests)).min().unwrap_or(source.len());
    let spans = scan::spans(&source[..end]);
    let code: Vec<&str> =
        spans.iter().filter(|span| span.kind == Kind::Code).map(|span| span.text).collect();
    // A visibility such as `pub(in crate::sale)` is not an import.
    code.join("\n").replace("(in crate::", "(in ")
}

/// Returns the circles: the groups of modules in which each module imports every other one,
/// directly or through further modules.
fn circles(sources: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let paths: BTreeMap<&str, FilePaths> =
        sources.iter().map(|(module, code)| (module.as_str(), paths(module, code))).collect();
    let edges: BTreeMap<&str, BTreeSet<&str>> = paths
        .iter()
        .map(|(module, file)| {
            let target = |path: &Names| target(&paths, path, REEXPORTS_MAX);
            (*module, file.named.iter().filter_map(target).filter(|to| to != module).collect())
        })
        .collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|from| (*from, reach(&edges, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, to) in &reached {
        let circle: Vec<String> = to
            .iter()
            .filter(|module| reached[*module].contains(from))
            .map(|module| if module.is_empty() { "lib".to_owned() } else { (*module).to_owned() })
            .collect();
        circles.insert(circle);
    }
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

fn reach<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(edges[module].iter().filter(|to| seen.insert(**to)));
    }
    seen
}

/// Returns the module that defines the item with this path. If a module re-exports the item,
/// follows the path of the re-export.
fn target<'a>(
    paths: &BTreeMap<&'a str, FilePaths>,
    path: &Names,
    reexports: usize,
) -> Option<&'a str> {
    let (module, rest) = (0..=path.len()).rev().find_map(|length| {
        let (module, _) = paths.get_key_value(path[..length].join("::").as_str())?;
        Some((*module, &path[length..]))
    })?;
    match rest.first().and_then(|name| paths[module].reexports.get(name)) {
        Some(next) if reexports > 0 && next != path => target(paths, next, reexports - 1),
        _ => Some(module),
    }
}

fn paths(module: &str, code: &str) -> FilePaths {
    let mut file = FilePaths::default();
    let mut body = String::new();
    for part in code.split(';') {
        let (before, import) = match part.rfind("use ").filter(|at| is_import(part, *at)) {
            Some(at) => part.split_at(at),
            None => (part, ""),
        };
        body.push_str(before);
        body.push('\n');
        let is_public = before.trim_end().ends_with("pub") || before.trim_end().ends_with(')');
        for path in expand(import.trim_start_matches("use ")) {
            let Some(path) = absolute(module, path) else { continue };
            let is_own = path.join("::").starts_with(&format!("{module}::")) || module.is_empty();
            match (is_public, path.last()) {
                (true, Some(name)) => {
                    file.reexports.insert(name.clone(), path.clone());
                    if !is_own {
                        file.named.push(path);
                    }
                }
                _ => file.named.push(path),
            }
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in body.match_indices(start) {
            let rest = &body[at..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let path = rest[..end.unwrap_or(rest.len())].split("::").map(str::to_owned).collect();
            file.named.extend(absolute(module, path));
        }
    }
    file
}

fn is_import(part: &str, at: usize) -> bool {
    part[..at].chars().next_back().is_none_or(char::is_whitespace)
}

/// Expands `a::{b, c::d}` to its paths.
fn expand(tree: &str) -> Vec<Names> {
    let tree = tree.trim();
    let Some((start, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        return vec![path.split("::").map(|name| name.trim().to_owned()).collect()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[begin..]);
    let start = start.trim().trim_end_matches("::");
    parts
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(&format!("{start}::{}", part.trim())))
        .collect()
}

/// Converts a path that is written in `module` to a path from the root of the crate. A path that
/// does not start with `crate`, `self` or `super` is relative to `module`. Returns `None` for an
/// empty path.
fn absolute(module: &str, path: Names) -> Option<Names> {
    let mut base: Names = module.split("::").filter(|n| !n.is_empty()).map(str::to_owned).collect();
    let mut path: Names = path.into_iter().filter(|name| !name.is_empty()).collect();
    match path.first()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while path.first().is_some_and(|name| name == "super") {
                base.pop();
                path.remove(0);
            }
            path.insert(0, "self".to_owned());
        }
        _ => return Some(base.into_iter().chain(path).collect()),
    }
    path.remove(0);
    path.retain(|name| name != "self");
    Some(base.into_iter().chain(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        circles(&files.iter().map(|(name, text)| ((*name).to_owned(), code(text))).collect())
    }

    #[test]
    fn files_that_import_each_other_are_a_circle() {
        let files = [
            ("", "mod a;\nmod b;\nmod c;\npub use a::A;\n"),
            ("a", "use super::c::C;\n"),
            ("b", "use std::fmt;\nuse crate::{A, c};\n"),
            ("c", "fn c() {\n    super::b::b();\n}\n"),
            ("d", "use crate::a::A;\n"),
        ];
        assert_eq!(circles_of(&files), [["a", "b", "c"]]);
    }

    #[test]
    fn tests_comments_and_visibilities_are_no_imports() {
        let files = [
            ("a", "// crate::b::B\npub(in crate::b) fn a() {}\n"),
            ("b", "use crate::a;\n"),
            ("c", "#[cfg(test)]\nmod tests {\n    use crate::d::D;\n}\n"),
            ("d", "use crate::c::C;\n"),
        ];
        assert!(circles_of(&files).is_empty());
    }
}
