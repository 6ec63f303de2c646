//! Lines of CSV as RFC 4180 has them, with no cell that a spreadsheet would take for a formula.

use std::fmt::{Display, Write};

/// Lines, each ended by CR and LF.
#[derive(Debug, Default)]
pub(super) struct CsvLines {
    text: String,
    /// Whether the line that is being written has a cell.
    begun: bool,
}

impl CsvLines {
    /// A line of names.
    pub(super) fn header(&mut self, names: &str) -> &mut Self {
        self.text.push_str(names);
        self.end_line();
        self
    }

    /// A cell of text, which others may have chosen.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.next();
        // What begins like this, a spreadsheet computes; after an apostrophe it shows it.
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let apostrophe = if formula { "'" } else { "" };
        if text.contains([',', '"', '\r', '\n']) {
            // Writing to a text cannot fail.
            let _ = write!(self.text, "\"{apostrophe}{}\"", text.replace('"', "\"\""));
        } else {
            self.text.push_str(apostrophe);
            self.text.push_str(text);
        }
        self
    }

    /// A cell of ours: a number, a time, a word. A minus before digits is a number to everybody.
    pub(super) fn value(&mut self, value: impl Display) -> &mut Self {
        self.next();
        // Writing to a text cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    /// A cell of ours that may be empty.
    pub(super) fn optional(&mut self, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.value(value),
            None => self.value(""),
        }
    }

    /// Ends the line.
    pub(super) fn end_line(&mut self) {
        self.text.push_str("\r\n");
        self.begun = false;
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The lines.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn next(&mut self) {
        if self.begun {
            self.text.push(',');
        }
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_formulas_are_shown() {
        let check = |text: &str, expected: &str| {
            let mut lines = CsvLines::default();
            lines.value(1).text(text).optional(None::<i64>).value(-2).end_line();
            assert_eq!(lines.into_text(), format!("1,{expected},,-2\r\n"), "{text}");
        };
        check("plain", "plain");
        check("", "");
        check("a, b", "\"a, b\"");
        check("the \"best\"", "\"the \"\"best\"\"\"");
        check("two\nlines", "\"two\nlines\"");
        check("-1", "'-1");
        check("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"");
        check("+1", "'+1");
        check("@sum", "'@sum");
        check("\tx", "'\tx");
        check("\r=1", "\"'\r=1\"");
        check("a=b", "a=b");
    }
}
