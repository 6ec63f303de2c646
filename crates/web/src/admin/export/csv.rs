//! Writes CSV as in RFC 4180. Changes texts from clients so that a spreadsheet does not run them as
//! formulas.

use std::fmt::{Display, Write};

/// CSV lines, each ended by CR and LF.
#[derive(Debug, Default)]
pub(super) struct CsvLines {
    text: String,
    begun: bool,
}

impl CsvLines {
    pub(super) fn header(&mut self, names: &str) -> &mut Self {
        self.text.push_str(names);
        self.end_line();
        self
    }

    /// Writes a cell whose text comes from a client, such as a buyer's name.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.next();
        // A spreadsheet runs a cell that begins with one of these characters as a formula. An
        // apostrophe before the text prevents this.
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        let apostrophe = if formula { "'" } else { "" };
        // A text with a semicolon is quoted too, because some spreadsheets separate cells at
        // semicolons.
        if text.contains([',', ';', '"', '\r', '\n']) {
            // Writing to a `String` cannot fail.
            let _ = write!(self.text, "\"{apostrophe}{}\"", text.replace('"', "\"\""));
        } else {
            self.text.push_str(apostrophe);
            self.text.push_str(text);
        }
        self
    }

    /// Writes a cell with a value that this program computed, such as a number. No apostrophe is
    /// added, even if the value begins with a minus.
    pub(super) fn value(&mut self, value: impl Display) -> &mut Self {
        self.next();
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "{value}");
        self
    }

    pub(super) fn optional(&mut self, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.value(value),
            None => self.value(""),
        }
    }

    pub(super) fn end_line(&mut self) {
        self.text.push_str("\r\n");
        self.begun = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

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
    fn cells_are_quoted_and_formulas_become_text() {
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
        check("\n=1", "\"'\n=1\"");
        check("x;=1", "\"x;=1\"");
        check("a=b", "a=b");
    }
}
