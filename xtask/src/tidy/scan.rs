//! Splits Rust source into code, comments and string literals, line by line.

/// The kind of a span of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Code outside of comments and literals.
    Code,
    /// A comment, without its marker.
    Comment,
    /// The inside of a string literal.
    Text,
}

/// A part of one line that is only code, only a comment or only the inside of a literal.
#[derive(Debug, PartialEq, Eq)]
pub struct Span<'a> {
    /// The kind of the span.
    pub kind: Kind,
    /// The number of the span's line, from 1.
    pub line: usize,
    /// The source text of the span.
    pub text: &'a str,
}

/// What the next line continues: code, or a string literal that has not ended.
#[derive(Clone, Copy)]
enum Mode {
    Code,
    /// Inside a string literal. For a raw literal such as `r#"…"#`, the number of `#` after its
    /// last quote. `None` for a literal that is not raw: it can have escapes.
    Text(Option<usize>),
}

/// Splits `source` into spans. Treats a block comment as code, because the Rust files of this
/// repository have none.
#[must_use]
pub fn spans(source: &str) -> Vec<Span<'_>> {
    let mut found = Vec::new();
    let mut mode = Mode::Code;
    for (index, line) in source.lines().enumerate() {
        mode = scan_line(line, index + 1, mode, &mut found);
    }
    found
}

fn scan_line<'a>(line: &'a str, number: usize, mut mode: Mode, found: &mut Vec<Span<'a>>) -> Mode {
    let mut rest = line;
    while !rest.is_empty() {
        let (kind, length, skip, next) = match mode {
            Mode::Code => scan_code(rest),
            Mode::Text(hashes) => scan_text(rest, hashes),
        };
        if length > 0 {
            found.push(Span { kind, line: number, text: &rest[..length] });
        }
        if rest[length..].starts_with("//") && matches!(mode, Mode::Code) {
            let text = rest[length..].trim_start_matches(['/', '!']);
            found.push(Span { kind: Kind::Comment, line: number, text });
            return Mode::Code;
        }
        rest = &rest[length + skip..];
        mode = next;
    }
    mode
}

/// Scans code up to a comment, a literal or the end of the line. Returns the span's kind, the
/// length of the code, the number of bytes to skip after it, and the next mode.
fn scan_code(rest: &str) -> (Kind, usize, usize, Mode) {
    let bytes = rest.as_bytes();
    for at in 0..bytes.len() {
        let tail = &rest.as_bytes()[at..];
        match tail[0] {
            b'/' if tail.starts_with(b"//") => return (Kind::Code, at, 0, Mode::Code),
            b'"' => {
                let hashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'#').count();
                let is_raw = bytes[..at - hashes].last() == Some(&b'r');
                let end = is_raw.then_some(hashes);
                return (Kind::Code, at, 1, Mode::Text(end));
            }
            b'\'' if tail.starts_with(b"'\"'") => return (Kind::Code, at, 3, Mode::Code),
            b'\'' if tail.starts_with(b"'\\\"'") => return (Kind::Code, at, 4, Mode::Code),
            _ => {}
        }
    }
    (Kind::Code, rest.len(), 0, Mode::Code)
}

/// Scans the inside of a literal up to its end or the end of the line. Returns the span's kind, the
/// length of the text, the number of bytes to skip after it, and the next mode.
fn scan_text(rest: &str, hashes: Option<usize>) -> (Kind, usize, usize, Mode) {
    let end = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
    let mut at = 0;
    while at < rest.len() {
        if hashes.is_none() && rest.as_bytes()[at] == b'\\' {
            at += 2;
            continue;
        }
        if rest.as_bytes()[at..].starts_with(end.as_bytes()) {
            return (Kind::Text, at, end.len(), Mode::Code);
        }
        at += 1;
    }
    (Kind::Text, rest.len(), 0, Mode::Text(hashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_literals_are_distinguished() {
        let source = "let a = \"x // \\\" y\"; // why\nlet b = r#\"p\"q\n// r\"#; let c = '\"';\n";
        let found: Vec<_> = spans(source).iter().map(|s| (s.kind, s.line, s.text)).collect();
        let expected = [
            (Kind::Code, 1, "let a = "),
            (Kind::Text, 1, "x // \\\" y"),
            (Kind::Code, 1, "; "),
            (Kind::Comment, 1, " why"),
            (Kind::Code, 2, "let b = r#"),
            (Kind::Text, 2, "p\"q"),
            (Kind::Text, 3, "// r"),
            (Kind::Code, 3, "; let c = "),
            (Kind::Code, 3, ";"),
        ];
        assert_eq!(found, expected);
    }
}
