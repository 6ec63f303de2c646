//! Gives each asset an address with a hash. In files that name an asset, replaces the name by this
//! address.

use std::collections::{BTreeSet, HashMap};

use super::AssetSource;

const PREFIX: &str = "/assets/";
const HASH_DIGITS: usize = 12;

/// Returns a name with a hash for each file: `look.css` becomes `look.0123456789ab.css`. The hash
/// covers the file and every file that it names, directly or indirectly. Two files may name each
/// other.
pub(super) fn hashed(sources: &HashMap<String, AssetSource>) -> HashMap<String, String> {
    let named: HashMap<&str, BTreeSet<&str>> = sources
        .iter()
        .map(|(name, source)| {
            let known = |found: &str| sources.get_key_value(found).map(|(name, _)| name.as_str());
            let named = match source.names_others {
                true => references(&source.text()).filter_map(|(_, found)| known(found)).collect(),
                false => BTreeSet::new(),
            };
            (name.as_str(), named)
        })
        .collect();
    sources.keys().map(|name| (name.clone(), address(name, &hash(name, sources, &named)))).collect()
}

fn hash(
    name: &str,
    sources: &HashMap<String, AssetSource>,
    named: &HashMap<&str, BTreeSet<&str>>,
) -> String {
    let mut reached = BTreeSet::from([name]);
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        for other in &named[name] {
            if reached.insert(other) {
                open.push(other);
            }
        }
    }
    let mut hasher = blake3::Hasher::new();
    for part in reached {
        hasher.update(part.as_bytes()).update(&[0]).update(&sources[part].hash);
    }
    hasher.finalize().to_hex()[..HASH_DIGITS].to_owned()
}

fn address(name: &str, hash: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{hash}.{extension}"),
        None => format!("{name}.{hash}"),
    }
}

pub(super) fn rewrite(text: &str, addresses: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut done = 0;
    for (at, name) in references(text) {
        if let Some(address) = addresses.get(name) {
            out.push_str(&text[done..at]);
            out.push_str(address);
            done = at + name.len();
        }
    }
    out.push_str(&text[done..]);
    out
}

fn references(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices(PREFIX).map(|(at, _)| {
        let start = at + PREFIX.len();
        let rest = &text[start..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let len = rest.bytes().take_while(is_part).count();
        (start, &rest[..len])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> HashMap<String, AssetSource> {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), AssetSource::generated((*text).to_owned())))
            .collect()
    }

    #[test]
    fn a_change_of_any_referenced_asset_changes_the_address() {
        let of = |leaf: &'static str| {
            hashed(&sources(&[
                ("a.js", "import '/assets/b.js'"),
                ("b.js", "import '/assets/c.js'; import '/assets/a.js'"),
                ("c.js", leaf),
                ("d.js", "import '/assets/e.js'"),
            ]))
        };
        let (one, two) = (of("1"), of("2"));
        for name in ["a.js", "b.js", "c.js"] {
            assert_ne!(one[name], two[name], "{name}");
        }
        assert_eq!(one["d.js"], two["d.js"]);
        assert_eq!(one["a.js"].len(), "a.".len() + HASH_DIGITS + ".js".len());
    }

    #[test]
    fn only_names_of_assets_are_replaced_by_addresses() {
        let addresses = HashMap::from([("a.js".to_owned(), "a.1.js".to_owned())]);
        let check = |text: &str, expected: &str| assert_eq!(rewrite(text, &addresses), expected);
        check("src=\"/assets/a.js\"", "src=\"/assets/a.1.js\"");
        check("'/assets/a.js' '/assets/a.js'", "'/assets/a.1.js' '/assets/a.1.js'");
        check(
            "/assets/a.json /assets/aa.js a.js /assets/",
            "/assets/a.json /assets/aa.js a.js /assets/",
        );
    }
}
