//! Access codes: how they are written, parsed and hashed.
//!
//! A code is 80 random bits in 16 letters and digits, in groups of four: `7K2M-Q0XA-93TN-ZE5H`. The
//! store keeps a hash of the sale and the code, and the code's first characters. Even if a sale has
//! a million codes, an attacker needs about 2⁶⁰ tries to guess one of them. So the hash needs no
//! salt, and need not be slow.

/// The number of random bytes in a code.
pub const CODE_BYTES: usize = 10;
/// The largest text to parse, in bytes. Longer text is not a code.
pub const CODE_TEXT_MAX: usize = 64;

const CODE_LETTERS: usize = CODE_BYTES * 8 / 5;
/// The alphabet of Crockford's base 32. It leaves out I, L, O and U, because people misread these
/// letters.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Formats a code for its buyer.
#[must_use]
pub fn format_code(random: [u8; CODE_BYTES]) -> String {
    let mut text = String::with_capacity(CODE_LETTERS + CODE_LETTERS / 4);
    for (index, five) in random.chunks_exact(5).enumerate() {
        let word = five.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        for letter in 0..8 {
            if letter % 4 == 0 && (index, letter) != (0, 0) {
                text.push('-');
            }
            text.push(char::from(ALPHABET[(word >> (35 - 5 * letter) & 31) as usize]));
        }
    }
    text
}

/// Parses the first characters of a code, with the same rules as [`hash_code`]. Returns `None` if
/// the text is empty, has more than `max` characters, or has a character that no code contains.
#[must_use]
pub fn parse_prefix(text: &str, max: usize) -> Option<String> {
    let letters: Option<String> =
        text.chars().filter(|char| !matches!(char, '-' | ' ')).map(parse_letter).collect();
    letters.filter(|letters| (1..=max).contains(&letters.len()))
}

/// Returns the canonical form of a character: upper case, and a digit for I, L or O. Returns `None`
/// if no code contains the character.
fn parse_letter(char: char) -> Option<char> {
    let letter = match char.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        char => char,
    };
    u8::try_from(letter).ok().filter(|byte| ALPHABET.contains(byte)).map(char::from)
}

/// Returns the hash that the store keeps for the code `text` of `sale`. Returns `None` if the text
/// cannot be a code. Case, spaces and hyphens are ignored. The letters I, L and O are read as the
/// digits that they resemble.
#[must_use]
pub fn hash_code(sale: &str, text: &str) -> Option<[u8; 32]> {
    if text.len() > CODE_TEXT_MAX {
        return None;
    }
    let mut letters = [0; CODE_LETTERS];
    let mut len = 0;
    for char in text.chars().filter(|char| !matches!(char, '-' | ' ')) {
        let letter = parse_letter(char)?;
        *letters.get_mut(len)? = letter as u8;
        len += 1;
    }
    if len < CODE_LETTERS {
        return None;
    }
    let mut hasher = blake3::Hasher::new_derive_key("doorbuster 2026 access code");
    hasher.update(sale.as_bytes()).update(b"\0").update(&letters);
    Some(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_parsed_by_the_same_rules_as_a_code() {
        for (text, prefix) in [("0l-2", Some("012")), ("abcd", Some("ABCD")), ("z", Some("Z"))] {
            assert_eq!(parse_prefix(text, 4).as_deref(), prefix, "{text}");
        }
        for wrong in ["", "-", "ABCDE", "U", "é"] {
            assert_eq!(parse_prefix(wrong, 4), None, "{wrong}");
        }
    }

    #[test]
    fn a_code_is_parsed_with_any_case_any_separators_and_similar_letters() {
        let random = [0x00, 0x44, 0x32, 0x14, 0xC7, 0x42, 0x54, 0xB6, 0x35, 0xCF];
        let code = format_code(random);
        assert_eq!(code, "0123-4567-89AB-CDEF");
        let kept = hash_code("spring", &code).expect("a code");
        for typed in [
            "0123456789abcdef",
            "O1 23-45 67 89ab cdef",
            "oi23-4567-89AB-CDEF",
            "0l23-4567-89ab-cdef",
        ] {
            assert_eq!(hash_code("spring", typed), Some(kept), "{typed}");
        }
        for other in [
            "",
            "0123-4567-89AB-CDE",
            "0123-4567-89AB-CDEF0",
            "0123-4567-89AB-CDEU",
            "0123-4567-89AB-CDE\u{c9}",
        ] {
            assert_eq!(hash_code("spring", other), None, "{other}");
        }
        assert_eq!(hash_code("spring", &" ".repeat(CODE_TEXT_MAX + 1)), None);
        assert_ne!(hash_code("autumn", &code), Some(kept));
        assert_ne!(hash_code("spring", "1123-4567-89AB-CDEF"), Some(kept));
    }
}
