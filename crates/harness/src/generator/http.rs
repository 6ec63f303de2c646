//! Scripts that send HTTP/1.1 requests over keep-alive connections. A minimal parser checks each
//! answer.
use anyhow::{Context, Result, bail};

use super::buyers::{Buyers, Template};
use super::{AnswerKind, RequestScript};

/// Where the parts of a complete answer are in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerParts {
    /// The status.
    pub status: u16,
    /// Where the body begins.
    pub body_at: usize,
    /// Where the body ends.
    pub end: usize,
}

/// Parses the answer at the start of `inbox`. Returns `None` if the answer is incomplete.
///
/// # Errors
/// Fails if the bytes are not the beginning of an HTTP/1.1 answer with a content length.
pub fn answer_parts(inbox: &[u8]) -> Result<Option<AnswerParts>> {
    let mut length = None;
    let mut at = 0;
    let mut status = 0;
    loop {
        let Some(line) = inbox[at..].iter().position(|&b| b == b'\n') else { return Ok(None) };
        let text = inbox[at..at + line]
            .strip_suffix(b"\r")
            .context("a header line without a carriage return")?;
        if at == 0 {
            let digits = text
                .strip_prefix(b"HTTP/1.1 ")
                .and_then(|t| t.get(..3))
                .context("not an HTTP/1.1 answer")?;
            status = u16::try_from(number(digits).context("the status is not a number")?)
                .unwrap_or(u16::MAX);
        } else if text.is_empty() {
            break;
        } else if text.len() > 15
            && matches!(text[0], b'c' | b'C')
            && text[..15].eq_ignore_ascii_case(b"content-length:")
        {
            length = Some(
                number(text[15..].trim_ascii()).context("the content length is not a number")?,
            );
        }
        at += line + 1;
    }
    let body_at = at + 2;
    let end = body_at + length.context("an answer without a length")?;
    Ok((inbox.len() >= end).then_some(AnswerParts { status, body_at, end }))
}

fn number(digits: &[u8]) -> Option<usize> {
    let fits = (1..=9).contains(&digits.len());
    fits.then(|| {
        digits
            .iter()
            .try_fold(0, |sum, d| d.is_ascii_digit().then(|| sum * 10 + usize::from(d - b'0')))
    })?
}

/// Classifies answers by their status and code. Most answers are "sold out" with the same body, so
/// the reader first compares the body of each `409` with the last "sold out" body. If the two
/// differ, the reader searches the body for the code.
#[derive(Debug, Default)]
pub struct AnswerReader {
    sold_out: Vec<u8>,
    first_unexpected: Option<String>,
}

impl AnswerReader {
    /// Reads one answer. Returns `None` if the answer is incomplete.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not an answer, or contain more than one answer.
    pub fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        let Some(answer_parts) = answer_parts(inbox)? else { return Ok(None) };
        if inbox.len() > answer_parts.end {
            bail!("more than one answer to one request");
        }
        let body = &inbox[answer_parts.body_at..answer_parts.end];
        let kind = match answer_parts.status {
            201 => AnswerKind::Accepted,
            200 => AnswerKind::Fine,
            202 => AnswerKind::Queued,
            503 => AnswerKind::Overloaded,
            409 if !self.sold_out.is_empty() && body == self.sold_out => AnswerKind::SoldOut,
            409 if contains(body, br#""code":"sold_out""#) => {
                self.sold_out = body.to_vec();
                AnswerKind::SoldOut
            }
            other => AnswerKind::Other(other),
        };
        if matches!(kind, AnswerKind::Other(_)) && self.first_unexpected.is_none() {
            self.first_unexpected = Some(String::from_utf8_lossy(body).into_owned());
        }
        Ok(Some(kind))
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// A script that sends the same request repeatedly.
#[derive(Debug)]
pub struct RepeatedRequest {
    request: Vec<u8>,
    reader: AnswerReader,
}

impl RepeatedRequest {
    /// Returns a script with `GET` of this path.
    #[must_use]
    pub fn get(path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes();
        Self { request, reader: AnswerReader::default() }
    }
}

impl RequestScript for RepeatedRequest {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(&self.request);
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        self.reader.read(inbox)
    }
}

/// A script in which the buyers send one purchase each, one buyer after another.
#[derive(Debug)]
pub struct Purchases<'a> {
    buyers: &'a Buyers,
    template: Template,
    next: u32,
    end: u32,
    round_and_round: bool,
    sales: u32,
    reader: AnswerReader,
}

impl<'a> Purchases<'a> {
    /// Returns a script in which each buyer buys once, beginning with the buyer number `first`.
    #[must_use]
    pub fn each_once(buyers: &'a Buyers, template: Template, first: u32) -> Self {
        let (end, reader) = (buyers.count(), AnswerReader::default());
        Self { buyers, template, next: first, end, round_and_round: false, sales: 1, reader }
    }

    /// Returns an endless script: after the last buyer, the first buyer sends the same purchase
    /// again.
    #[must_use]
    pub fn round_and_round(buyers: &'a Buyers, template: Template) -> Self {
        Self { round_and_round: true, ..Self::each_once(buyers, template, 0) }
    }

    /// Limits the script to the next `count` buyers.
    #[must_use]
    pub fn limited_to(self, count: u32) -> Self {
        Self { end: self.buyers.count().min(self.next.saturating_add(count)), ..self }
    }

    /// Distributes the purchases over this many sales, in turn.
    #[must_use]
    pub fn over_sales(self, sales: u32) -> Self {
        Self { sales, ..self }
    }

    /// Returns the number of the next buyer.
    #[must_use]
    pub fn next_buyer(&self) -> u32 {
        self.next
    }
}

impl RequestScript for Purchases<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next == self.end {
            if !self.round_and_round {
                return false;
            }
            self.next = 0;
        }
        if self.sales > 1 {
            self.template.set_sale(self.next % self.sales);
        }
        out.extend_from_slice(self.template.for_buyer(self.buyers, self.next));
        self.next += 1;
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        self.reader.read(inbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOLD_OUT: &str = "HTTP/1.1 409 Conflict\r\nContent-Type: application/problem+json\r\ncontent-length: 19\r\n\r\n{\"code\":\"sold_out\"}";

    #[test]
    fn an_answer_is_whole_at_its_last_byte_and_not_before() {
        let mut reader = AnswerReader::default();
        for cut in 0..SOLD_OUT.len() {
            assert_eq!(
                reader.read(&SOLD_OUT.as_bytes()[..cut]).expect("a good beginning"),
                None,
                "{cut}"
            );
        }
        for _ in 0..2 {
            assert_eq!(
                reader.read(SOLD_OUT.as_bytes()).expect("a good answer"),
                Some(AnswerKind::SoldOut)
            );
        }
    }

    #[test]
    fn another_refusal_is_not_taken_for_sold_out() {
        let mut reader = AnswerReader::default();
        let other = SOLD_OUT.replace("sold_out", "paused12");
        assert_eq!(
            reader.read(other.as_bytes()).expect("a good answer"),
            Some(AnswerKind::Other(409))
        );
        let empty = "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            AnswerReader::default().read(empty.as_bytes()).expect("a good answer"),
            Some(AnswerKind::Other(409))
        );
        let fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(reader.read(fine.as_bytes()).expect("a good answer"), Some(AnswerKind::Fine));
    }

    #[test]
    fn bytes_that_are_not_an_answer_are_an_error() {
        for text in [
            "SMTP ready\r\n",
            "HTTP/1.1 20x OK\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            &format!("{SOLD_OUT}more"),
        ] {
            assert!(AnswerReader::default().read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
