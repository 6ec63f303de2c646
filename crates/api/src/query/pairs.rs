//! The parameters of a query string, and their faults.

use std::borrow::Cow;

use crate::problem::{Fault, FaultLocation, Problem};

/// The decoded pairs. A value is `None` if it is not valid percent-encoded UTF-8.
pub(super) struct Pairs<'a> {
    pairs: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    faults: Vec<Fault>,
}

impl<'a> Pairs<'a> {
    /// The number of pairs needs no limit, because the server limits the size of a request's head.
    pub(super) fn parse(query: &'a str) -> Self {
        let pairs = query
            .split('&')
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((percent_decode(name)?, percent_decode(value)))
            })
            .filter(|(_, value)| value.as_deref() != Some(""))
            .collect();
        Self { pairs, faults: Vec::new() }
    }

    pub(super) fn fault(&mut self, parameter: &'static str, detail: impl Into<Cow<'static, str>>) {
        self.faults.push(Fault::new(FaultLocation::Query(parameter.into()), detail));
    }

    pub(super) fn all_values<T>(
        &mut self,
        parameter: &'static str,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let values = self.pairs.iter().filter(|(name, _)| name == parameter);
        let read: Vec<Option<T>> =
            values.map(|(_, value)| value.as_deref().and_then(&read)).collect();
        if read.iter().any(Option::is_none) {
            self.fault(parameter, wanted);
        }
        read.into_iter().flatten().collect()
    }

    pub(super) fn single_value<T>(
        &mut self,
        parameter: &'static str,
        wanted: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        if self.pairs.iter().filter(|(name, _)| name == parameter).count() > 1 {
            self.fault(parameter, "is given twice");
            return None;
        }
        self.all_values(parameter, wanted, read).pop()
    }

    pub(super) fn into_result<T>(self, found: T) -> Result<T, Problem> {
        if self.faults.is_empty() { Ok(found) } else { Err(Problem::invalid_request(self.faults)) }
    }
}

/// Decodes `+` and `%XX`. Returns `None` if a `%XX` is invalid or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
