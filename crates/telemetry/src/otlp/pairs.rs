//! Parses lists such as `key1=value1,key2=value2`, in which the values are percent-encoded.

/// Returns the names and values of a list, and the number of invalid entries.
pub(super) fn parse(list: &str) -> (Vec<(String, String)>, usize) {
    let (mut pairs, mut invalid) = (Vec::new(), 0);
    for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match pair(entry) {
            Some(pair) => pairs.push(pair),
            None => invalid += 1,
        }
    }
    (pairs, invalid)
}

fn pair(entry: &str) -> Option<(String, String)> {
    let (name, value) = entry.split_once('=')?;
    let name = Some(name.trim()).filter(|name| !name.is_empty())?;
    Some((name.to_owned(), decode(value.trim())?))
}

/// Decodes `%XX`. Returns `None` if the text is invalid.
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => (digit(rest.next()?)? << 4 | digit(rest.next()?)?) as u8,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_parsed_and_its_invalid_entries_are_counted() {
        let (pairs, invalid) = parse("api-key=a%20b%3D, x-tenant = shop ,=no,no,bad=%2,worse=%ff,");
        let expected = [("api-key", "a b="), ("x-tenant", "shop")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(invalid, 4);
        assert_eq!(parse(""), (Vec::new(), 0));
    }
}
