//! Checks the words of names, comments, documents and messages: no names with an unclear meaning,
//! no phrases that are hard to read, and a standard form of messages.

use super::scan::{Kind, Span, spans};

/// Names that no identifier may have: they are too general, or have a meaning that only this
/// project knows.
const NAMES: [&str; 27] = [
    "Asked",
    "Bell",
    "Came",
    "Desk",
    "Dormitory",
    "Ears",
    "Hall",
    "Held",
    "Known",
    "Place",
    "Sleeper",
    "Standing",
    "Studio",
    "Told",
    "Wanted",
    "Wish",
    "beds",
    "desk",
    "dormitory",
    "glance",
    "hall",
    "heed",
    "lanes",
    "sleeper",
    "studio",
    "tend",
    "wish",
];
/// Keywords that declare an item. The name of the item follows the keyword.
const DECLARATIONS: [&str; 6] = ["enum", "fn", "mod", "struct", "trait", "type"];
/// Phrases that make a sentence hard to read.
const PHRASES: [&str; 29] = [
    "whoever",
    "whomever",
    "nobody's",
    "of which",
    "that is none",
    "one that is none",
    "is nobody",
    "what is due",
    "seen to",
    "let be",
    "of late",
    "in vain",
    "is told of",
    "are told of",
    "was told of",
    "could not be asked yet",
    "could not be read yet",
    "could not be told yet",
    "could not be forgotten yet",
    "cut a ticket",
    "cuts a ticket",
    "cuts tickets",
    "tickets are cut",
    "ticket is cut",
    "ticket was cut",
    "place in line",
    "places in line",
    "stands in line",
    "this is no ",
];
/// The code before a message: macros that write a log line, and attributes and calls that create
/// the text of an error.
const MESSAGES: [&str; 12] = [
    "error!(",
    "warn!(",
    "info!(",
    "debug!(",
    "trace!(",
    "#[error(",
    "bail!(",
    "anyhow!(",
    "ensure!(",
    ".context(",
    ".with_context(",
    "Error::msg(",
];
/// Proper names, which keep their capital letter at the start of a message.
const PROPER: [&str; 23] = [
    "AMQP",
    "API",
    "CSV",
    "Ed25519",
    "HTTP",
    "HTTPS",
    "IP",
    "JSON",
    "JWKS",
    "JWT",
    "Booked",
    "Lua",
    "NATS",
    "PostgreSQL",
    "RabbitMQ",
    "Redis",
    "SQL",
    "SQLite",
    "SSE",
    "Stripe",
    "TLS",
    "URL",
    "WebSocket",
];

/// Checks one Rust file's names, comments and messages.
pub fn check_rust(file: &str, source: &str, found: &mut Vec<String>) {
    let spans = spans(source);
    for span in &spans {
        match span.kind {
            Kind::Code => check_names(file, span, found),
            Kind::Comment | Kind::Text => check_phrases(file, span.line, span.text, found),
        }
    }
    if !file.contains("/tests") {
        check_messages(file, &spans, found);
    }
}

/// Checks the phrases of a file that is not Rust.
pub fn check_text(file: &str, text: &str, found: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        check_phrases(file, index + 1, line, found);
    }
}

fn check_names(file: &str, span: &Span<'_>, found: &mut Vec<String>) {
    let mut before = "";
    for word in span.text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        if DECLARATIONS.contains(&before) && NAMES.contains(&word) {
            found.push(format!("{file}:{}: {word} is not a standard name", span.line));
        }
        before = word;
    }
}

fn check_phrases(file: &str, line: usize, text: &str, found: &mut Vec<String>) {
    let lower = text.to_lowercase();
    for phrase in PHRASES.iter().filter(|phrase| has_phrase(&lower, phrase)) {
        found.push(format!("{file}:{line}: \"{phrase}\" is hard to read; name the thing"));
    }
}

/// Returns whether `text` has `phrase` between word boundaries.
fn has_phrase(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        !is_word(before) && (phrase.ends_with(' ') || !is_word(after))
    })
}

/// Checks that each message starts with a lower-case letter and ends without a full stop.
fn check_messages(file: &str, spans: &[Span<'_>], found: &mut Vec<String>) {
    for (index, span) in spans.iter().enumerate() {
        let starts = MESSAGES.iter().any(|start| span.text.contains(start));
        if span.kind != Kind::Code || !starts {
            continue;
        }
        // A call can have several string literals. The message is the first one that is not the
        // value of a field.
        let mut before = span.text;
        for next in &spans[index + 1..] {
            match next.kind {
                Kind::Comment => {}
                Kind::Code if next.text.contains(';') => break,
                Kind::Code => before = next.text,
                Kind::Text if before.trim_end().ends_with('=') => {}
                Kind::Text => {
                    check_message(file, next, found);
                    break;
                }
            }
        }
    }
}

fn check_message(file: &str, span: &Span<'_>, found: &mut Vec<String>) {
    let text = span.text;
    let first = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let is_name = first.chars().skip(1).any(|c| c.is_ascii_uppercase());
    let is_proper = is_name
        || PROPER.iter().any(|word| first == *word || first.strip_suffix('s') == Some(word));
    if first.starts_with(|c: char| c.is_ascii_uppercase()) && !is_proper {
        found.push(format!(
            "{file}:{}: a message must start with a lower-case letter: {text}",
            span.line
        ));
    }
    if text.len() > 1 && text.ends_with('.') && !text.ends_with("...") {
        found
            .push(format!("{file}:{}: a message must not end with a full stop: {text}", span.line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        let mut found = Vec::new();
        check_rust("crates/core/src/x.rs", source, &mut found);
        found
    }

    #[test]
    fn private_names_and_phrases_are_found() {
        assert_eq!(found("struct Told;\n").len(), 1);
        assert_eq!(found("// Whoever asks gets it.\n").len(), 1);
        assert!(found("struct Untold; // \"desk\" is only a word here\n").is_empty());
    }

    #[test]
    fn messages_are_lower_case_without_a_full_stop() {
        assert_eq!(found("warn!(%error, \"Could not read.\");\n").len(), 2);
        assert_eq!(found("warn!(reason = \"A\", \"PostgreSQL is unreachable\");\n").len(), 0);
        assert_eq!(found("#[error(\"Cannot read\")]\n").len(), 1);
    }
}
