//! Tests that the pages' texts have the same sentences in English and Chinese, and that no sentence
//! has opposite meanings in the two languages.

use std::collections::{BTreeMap, BTreeSet};

use super::embedded;

fn sentences(name: &str) -> BTreeMap<String, String> {
    let files = embedded();
    let text = files.get(name).expect("the file is embedded").text();
    // Comments may contain apostrophes.
    let code = |part: &str| part.rsplit("*/").next().unwrap_or_default().to_owned();
    let text: String = text.split("/*").map(code).collect();
    let mut found = BTreeMap::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once('\'') {
        let Some((key, after)) = after.split_once('\'') else { break };
        let value = after.strip_prefix(':').and_then(|value| value.trim_start().strip_prefix('\''));
        let Some((sentence, after)) = value.and_then(|value| value.split_once('\'')) else {
            rest = after;
            continue;
        };
        found.insert(key.to_owned(), sentence.to_owned());
        rest = after;
    }
    found
}

fn values(sentence: &str) -> BTreeSet<&str> {
    let parts = sentence.split('{').skip(1);
    parts.filter_map(|part| part.split(['}', ':']).next()).collect()
}

#[test]
fn both_languages_have_the_same_sentences_with_the_same_values() {
    let (english, chinese) = (sentences("texts-en.js"), sentences("texts-zh.js"));
    assert!(english.len() > 400, "{}", english.len());
    let keys = |texts: &BTreeMap<String, String>| texts.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&english), keys(&chinese));
    for (key, sentence) in &english {
        // An English plural such as {n:person|people} needs no word in Chinese. So a Chinese
        // sentence may lack a value, but must not have other values.
        let (ours, theirs) = (values(sentence), values(&chinese[key]));
        assert!(theirs.is_subset(&ours), "{key}: {sentence} / {}", chinese[key]);
    }
}

fn attributes<'a>(html: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let start = format!(" {name}=\"");
    let parts = html.split(start.as_str()).skip(1);
    parts.filter_map(|part| part.split_once('"')).collect()
}

/// Visitors see the texts of the HTML files until the page's script has loaded.
#[test]
fn the_html_files_have_the_english_sentences() {
    let english = sentences("texts-en.js");
    let mut checked = 0;
    for (name, file) in embedded().iter().filter(|(name, _)| name.ends_with(".html")) {
        let html = file.text();
        let mut shown = Vec::new();
        for (key, rest) in attributes(&html, "data-t") {
            let words = rest.split_once('>').map_or("", |(_, words)| words);
            shown.push((key, words.split('<').next().unwrap_or_default()));
        }
        for (mark, attribute) in [("data-t-label", "aria-label"), ("data-t-alt", "alt")] {
            for (key, rest) in attributes(&html, mark) {
                let tag = rest.split('>').next().unwrap_or_default();
                let words = attributes(tag, attribute).first().map_or("", |(words, _)| *words);
                shown.push((key, words));
            }
        }
        // An element without text is skipped, because a script fills the element before the page
        // shows it.
        for (key, words) in shown.into_iter().filter(|(_, words)| !words.is_empty()) {
            assert_eq!(english.get(key).map(String::as_str), Some(words), "{name}: {key}");
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

/// A wrong translation can make the parts of a page contradict each other. The browser tests look
/// for such contradictions on the whole page, and this test looks for them in each sentence.
#[test]
fn no_sentence_says_open_in_one_language_and_shut_in_the_other() {
    const OPEN: [&str; 6] =
        ["Open now", "On sale now", "Buy now", "立即抢购", "抢购已开始", "正在抢购"];
    const SHUT: [&str; 9] = [
        "Paused",
        "Sold out",
        "None left",
        "Ended",
        "has ended",
        "已暂停",
        "已售罄",
        "暂时无货",
        "已结束",
    ];
    let has = |sentence: &str, words: &[&str]| words.iter().any(|word| sentence.contains(word));
    let (english, chinese) = (sentences("texts-en.js"), sentences("texts-zh.js"));
    let mut checked = 0;
    for (key, sentence) in &english {
        let is_slot = ["pill.", "clock.", "stock."].iter().any(|start| key.starts_with(start))
            || [".button", ".title"].iter().any(|end| key.ends_with(end));
        if !is_slot {
            continue;
        }
        let other = &chinese[key];
        let is_mixed = (has(sentence, &OPEN) && has(other, &SHUT))
            || (has(sentence, &SHUT) && has(other, &OPEN));
        assert!(!is_mixed, "{key}: {sentence} / {other}");
        checked += 1;
    }
    assert!(checked > 80, "{checked}");
}

/// Returns the sentences of a file by key. In these files, a key may have no quotes, and a long
/// sentence may be split into several strings.
fn console_sentences(name: &str) -> BTreeMap<String, String> {
    let files = embedded();
    let text = files.get(name).expect("the file is embedded").text();
    let (_, text) = text.split_once("export default {").expect("the file must export an object");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("' + '", "");
    let mut found = BTreeMap::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(": '") {
        let (sentence, next) = after.split_once('\'').expect("every sentence ends");
        let key = before.rsplit(' ').next().unwrap_or_default().trim_matches('\'');
        found.insert(key.to_owned(), sentence.to_owned());
        rest = next;
    }
    found
}

fn console_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (name, file) in embedded() {
        if !name.starts_with("console") || !name.ends_with(".js") || name.contains("texts-") {
            continue;
        }
        let text = file.text();
        for (at, _) in text.match_indices("t('") {
            let is_call = !text[..at].ends_with(char::is_alphanumeric);
            let key = text[at + 3..].split('\'').next().unwrap_or_default();
            // If the literal ends with a dot, it is only the first part of a key.
            if is_call && !key.ends_with('.') {
                keys.insert(key.to_owned());
            }
        }
    }
    keys
}

#[test]
fn the_console_has_each_sentence_in_both_languages() {
    let english = console_sentences("console-texts-en.js");
    let chinese = console_sentences("console-texts-zh.js");
    assert!(english.len() > 600, "{}", english.len());
    assert_eq!(english.keys().collect::<Vec<_>>(), chinese.keys().collect::<Vec<_>>());
    for (key, sentence) in &english {
        let names = |sentence: &str| -> BTreeSet<String> {
            values(sentence)
                .iter()
                .filter_map(|value| value.split('|').next())
                .map(String::from)
                .collect()
        };
        let (ours, theirs) = (names(sentence), names(&chinese[key]));
        assert!(theirs.is_subset(&ours), "{key}: {sentence} / {}", chinese[key]);
    }
    let used = console_keys();
    assert!(used.len() > 300, "{}", used.len());
    let missing: Vec<_> = used.iter().filter(|key| !english.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
