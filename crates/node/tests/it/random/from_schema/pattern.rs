//! Generates strings that match the regular expressions in `/openapi.json`.

use std::iter::Peekable;
use std::str::Chars;

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::random::generator::{one_in, pick};

/// Characters for strings without a pattern, and for character classes that only exclude
/// characters.
pub(crate) const CHARS: &str = "abcXYZ019 _.:-/~!\"'<>&\\%+,;=@#?*(){}[]|^`$é字😀\
    \u{85}\u{a0}\u{202e}\u{2028}\u{feff}\t\n\r\u{0}\u{1}\u{7f}";

/// A parsed regular expression. It is a list of alternatives, and each alternative is a sequence of
/// pieces.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Vec<Piece>>);

#[derive(Debug)]
struct Piece {
    what: PieceKind,
    least: usize,
    /// The largest number of repetitions. `None` means no upper bound.
    most: Option<usize>,
}

#[derive(Debug)]
enum PieceKind {
    /// One character within these ranges or, if negated, outside these ranges.
    Char { negated: bool, ranges: Vec<(char, char)> },
    /// A choice of sequences.
    Group(Vec<Vec<Piece>>),
}

impl Pattern {
    /// # Panics
    /// On unsupported syntax, because ignoring it could change the meaning.
    pub(crate) fn parse(text: &str) -> Self {
        let whole = text.strip_prefix('^').and_then(|text| text.strip_suffix('$'));
        let mut rest = whole
            .unwrap_or_else(|| panic!("the pattern matches only a part of a text: {text}"))
            .chars()
            .peekable();
        let runs = runs(&mut rest);
        assert_eq!(rest.next(), None, "the test cannot parse the pattern: {text}");
        Self(runs)
    }

    /// Returns the length of the shortest matching text, in characters.
    pub(crate) fn shortest(&self) -> usize {
        shortest(&self.0)
    }

    /// Returns a random text that matches the pattern. The text has at most `most` characters. One
    /// in eight texts has the greatest allowed length.
    pub(crate) fn draw(&self, rng: &mut SmallRng, most: usize) -> String {
        let mut spare =
            most.checked_sub(self.shortest()).expect("at least one matching text is short enough");
        let is_long = one_in(rng, 8);
        let mut text = String::new();
        fill(rng, &self.0, &mut spare, is_long, &mut text);
        text
    }
}

/// Parses the alternatives of a group (`a|b`), up to the group's `)` or the end of the pattern.
fn runs(rest: &mut Peekable<Chars<'_>>) -> Vec<Vec<Piece>> {
    let mut all = vec![Vec::new()];
    while let Some(next) = rest.next_if(|next| *next != ')') {
        let what = match next {
            '|' => {
                all.push(Vec::new());
                continue;
            }
            '(' => {
                let group = runs(rest);
                assert_eq!(rest.next(), Some(')'), "the group must end here");
                PieceKind::Group(group)
            }
            '[' => class(rest),
            '^' | '$' | '.' | '\\' | '*' | '+' | '?' | '{' => {
                panic!("the test cannot parse {next} here")
            }
            plain => PieceKind::Char { negated: false, ranges: vec![(plain, plain)] },
        };
        let (least, most) = times(rest);
        all.last_mut().expect("a group has a first sequence").push(Piece { what, least, most });
    }
    all
}

/// Parses a character class after its opening bracket.
fn class(rest: &mut Peekable<Chars<'_>>) -> PieceKind {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match rest.next().expect("a class ends") {
            ']' => return PieceKind::Char { negated, ranges },
            next => plain(next, rest),
        };
        let mut to = from;
        if rest.next_if_eq(&'-').is_some() {
            if rest.peek() == Some(&']') {
                ranges.push(('-', '-'));
            } else {
                let next = rest.next().expect("a class ends");
                to = plain(next, rest);
            }
        }
        ranges.push((from, to));
    }
}

/// Returns the character that begins at `next`. It may be written as an escape such as `\u0020`.
fn plain(next: char, rest: &mut Peekable<Chars<'_>>) -> char {
    if next != '\\' {
        return next;
    }
    assert_eq!(rest.next(), Some('u'), "an escape must have the form \\u0020");
    let digits: String = rest.by_ref().take(4).collect();
    u32::from_str_radix(&digits, 16)
        .ok()
        .and_then(char::from_u32)
        .expect("four digits of a character")
}

/// Parses the number of repetitions of the preceding piece.
fn times(rest: &mut Peekable<Chars<'_>>) -> (usize, Option<usize>) {
    match rest.next_if(|next| matches!(*next, '?' | '*' | '+' | '{')) {
        Some('?') => (0, Some(1)),
        Some('*') => (0, None),
        Some('+') => (1, None),
        Some(_) => {
            let inner: String = rest.by_ref().take_while(|next| *next != '}').collect();
            let (least, most) = inner.split_once(',').unwrap_or((inner.as_str(), inner.as_str()));
            (least.parse().expect("a count"), Some(most.parse().expect("a count")))
        }
        None => (1, Some(1)),
    }
}

fn shortest(runs: &[Vec<Piece>]) -> usize {
    runs.iter().map(|run| shortest_run(run)).min().expect("a pattern has at least one sequence")
}

fn shortest_run(run: &[Piece]) -> usize {
    run.iter().map(|piece| piece.least * piece.what.shortest()).sum()
}

impl PieceKind {
    fn shortest(&self) -> usize {
        match self {
            Self::Char { .. } => 1,
            Self::Group(runs) => shortest(runs),
        }
    }
}

/// Appends a text that matches one of the alternatives. The text is at most `spare` characters
/// longer than the shortest possible text.
fn fill(
    rng: &mut SmallRng,
    runs: &[Vec<Piece>],
    spare: &mut usize,
    is_long: bool,
    text: &mut String,
) {
    let run = pick(rng, runs);
    *spare =
        spare.checked_sub(shortest_run(run) - shortest(runs)).expect("every sequence has room");
    for piece in run {
        let room = *spare / piece.what.shortest();
        let more = piece.most.map_or(room, |most| room.min(most - piece.least));
        let more = if is_long { more } else { more.min(rng.random_range(0..12)) };
        *spare -= more * piece.what.shortest();
        for _ in 0..piece.least + more {
            match &piece.what {
                PieceKind::Char { negated, ranges } => text.push(one_of(rng, *negated, ranges)),
                PieceKind::Group(inner) => fill(rng, inner, spare, is_long, text),
            }
        }
    }
}

fn one_of(rng: &mut SmallRng, negated: bool, ranges: &[(char, char)]) -> char {
    if negated {
        let is_out = |char: &char| !ranges.iter().any(|(from, to)| (from..=to).contains(&char));
        let others: Vec<char> = CHARS.chars().filter(is_out).collect();
        return *pick(rng, &others);
    }
    let (from, to) = *pick(rng, ranges);
    rng.random_range(from..=to)
}

#[test]
fn a_generated_string_matches_its_pattern() {
    use rand::SeedableRng;

    let mut rng = SmallRng::seed_from_u64(1);
    let mut check = |pattern: &str, most: usize, fits: &dyn Fn(&str) -> bool| {
        let pattern = Pattern::parse(pattern);
        let texts: Vec<String> = (0..300).map(|_| pattern.draw(&mut rng, most)).collect();
        let lengths = || texts.iter().map(|text| text.chars().count());
        assert!(texts.iter().all(|text| fits(text)), "{pattern:?}: {texts:?}");
        assert!(lengths().all(|length| length <= most), "{pattern:?}: {texts:?}");
        lengths().max().expect("the document has patterns")
    };
    let is_key = |text: &str| {
        text.strip_prefix("key_").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_graphic()))
    };
    assert_eq!(check("^key_[A-Za-z0-9_-]{1,64}$", 80, &is_key), 68);
    let is_line = |text: &str| !text.trim().is_empty() && !text.contains(['\n', '\u{0}', '\u{7f}']);
    let line =
        r"^[^\u0000-\u001F\u007F]*[^\u0000-\u0020\u007F\u0085\u00A0\u2028][^\u0000-\u001F\u007F]*$";
    assert_eq!(check(line, 200, &is_line), 200);
    let is_image = |text: &str| {
        text.starts_with("http://") || text.starts_with("https://") || !text.contains(':')
    };
    assert_eq!(check("^(https?://[!-~]+|[!-9;-~]+)$", 30, &is_image), 30);
    let is_event = |text: &str| matches!(text.len(), 5 | 8) && text.starts_with("e_");
    assert_eq!(check("^e_[0-9]{3}(_[0-9a-f]{2})?$", 80, &is_event), 8);
    let is_letter = |text: &str| matches!(text, "dlv_7" | "ref_7");
    assert_eq!(check("^(dlv|ref)_7$", 5, &is_letter), 5);
}
