//! Checks the length of the documents' sentences, and the width of lines.

/// The largest width of a line of code or prose, in columns.
const COLUMNS_MAX: usize = 100;
/// The largest average length of a document's sentences, in words.
const AVERAGE_MAX: f64 = 15.0;
/// The largest length of a sentence in a document, in words.
const SENTENCE_MAX: usize = 30;

/// Finds lines of code that are wider than [`COLUMNS_MAX`].
pub fn check_width(file: &str, text: &str, found: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !may_be_wide(line) {
            found.push(format!("{file}:{}: {columns} columns, more than {COLUMNS_MAX}", index + 1));
        }
    }
}

/// Returns whether a line may be wider than [`COLUMNS_MAX`]. A line with an address or a literal
/// may be wider, because the text would be harder to read on two lines. The row of a table may be
/// wide too.
fn may_be_wide(line: &str) -> bool {
    let comment =
        line.trim_start().strip_prefix("//").map(|text| text.trim_start_matches(['/', '!']));
    match comment {
        Some(text) => text.contains("://") || text.trim_start().starts_with('|'),
        None => line.contains("://") || line.contains(['"', '\'', '`']),
    }
}

/// Checks a Markdown page: its width, its average sentence and its longest sentences.
pub fn check_page(file: &str, text: &str, found: &mut Vec<String>) {
    let mut words = 0;
    let mut sentences = 0;
    for (line, paragraph) in paragraphs(file, text, found) {
        for sentence in split_sentences(&paragraph) {
            let count =
                sentence.split_whitespace().filter(|w| w.contains(char::is_alphanumeric)).count();
            if count > SENTENCE_MAX {
                found.push(format!(
                    "{file}:{line}: {count} words, more than {SENTENCE_MAX}: {sentence}"
                ));
            }
            words += count;
            sentences += usize::from(count > 0);
        }
    }
    let average = words as f64 / f64::from(u32::try_from(sentences.max(1)).unwrap_or(u32::MAX));
    if average > AVERAGE_MAX {
        found.push(format!(
            "{file}: {average:.1} words in an average sentence, more than {AVERAGE_MAX}"
        ));
    }
}

/// Returns each paragraph and each list item with the number of its first line. Skips code blocks,
/// tables and headings.
fn paragraphs(file: &str, text: &str, found: &mut Vec<String>) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut is_code = false;
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let content = line.trim_start();
        if content.starts_with("```") {
            is_code = !is_code;
            is_open = false;
            continue;
        }
        if is_code {
            continue;
        }
        let is_plain =
            !content.starts_with('|') && !content.starts_with('#') && !content.is_empty();
        if !is_plain {
            is_open = false;
            continue;
        }
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !line.contains("](") && !line.contains("://") {
            found.push(format!("{file}:{}: {columns} columns, more than {COLUMNS_MAX}", index + 1));
        }
        let item = strip_item(content);
        match all.last_mut() {
            Some((_, paragraph)) if is_open && item == content => {
                paragraph.push(' ');
                paragraph.push_str(content);
            }
            _ => all.push((index + 1, item.to_owned())),
        }
        is_open = true;
    }
    all
}

fn strip_item(content: &str) -> &str {
    let digits = content.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = (digits.len() < content.len()).then(|| digits.strip_prefix(". ")).flatten();
    let bulleted = content.strip_prefix("- ").or_else(|| content.strip_prefix("* "));
    bulleted.or(numbered).unwrap_or(content)
}

/// Splits a paragraph into sentences: after each `.`, `!`, `?`, `:` or `;` that a blank follows.
/// Text between backticks counts as one word.
fn split_sentences(paragraph: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    let mut is_code = false;
    let mut is_end = false;
    for c in paragraph.chars() {
        if c == '`' {
            is_code = !is_code;
            if is_code {
                sentences.last_mut().expect("never empty").push_str("code");
            }
            is_end = false;
            continue;
        }
        if is_code {
            continue;
        }
        if c == ' ' && is_end {
            sentences.push(String::new());
            is_end = false;
            continue;
        }
        is_end =
            matches!(c, '.' | '!' | '?' | ':' | ';') || (is_end && matches!(c, ')' | '"' | '*'));
        sentences.last_mut().expect("never empty").push(c);
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_and_wide_lines_are_found() {
        let mut found = Vec::new();
        check_page("a.md", &format!("{}end.\n", "word ".repeat(40)), &mut found);
        assert_eq!(found.len(), 3, "{found:?}");
        let mut found = Vec::new();
        let page = "# A heading\n\nOne short sentence. Another one with `some long code here`.\n\n\
                    | a table | of any width |\n- An item\n  of two lines.\n";
        check_page("a.md", page, &mut found);
        assert!(found.is_empty(), "{found:?}");
        let words = "word ".repeat(20);
        check_width("a.rs", &format!("/// | `{words}` |\nlet a = \"{words}\";\n"), &mut found);
        assert!(found.is_empty(), "{found:?}");
        check_width("a.rs", &format!("/// `{words}`\n"), &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
