//! The names of the objects of a continuous backup.
//!
//! | name | content |
//! |---|---|
//! | `GENERATION/base-NUMBER.sqlite` | a copy of the store's file |
//! | `GENERATION/base-NUMBER.json` | the description of the copy, and the secrets; written last |
//! | `GENERATION/segment-FIRST-TIME` | the pages of the commits from number FIRST to time TIME |
//!
//! FIRST is the number of the first commit, and TIME is the time of the last commit. A generation's
//! name has its start time and a random number. Leading zeros make the names sort by number.
//!
//! If the clock was set back, the name of a new generation has a time just after the time in the
//! name of the previous generation.

use std::fmt;

use doorbuster_core::Millis;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(String);

impl Generation {
    /// Creates a generation whose name sorts after the name of `newest`, the target's newest
    /// generation.
    pub(super) fn after(newest: Option<&Self>, now: Millis) -> Self {
        let at = newest.map_or(now, |newest| now.max(newest.begun().plus(1)));
        Self(format!("{:013}-{:08x}", at.0, rand::random::<u32>()))
    }

    pub(super) fn begun(&self) -> Millis {
        Millis(self.0.split('-').next().and_then(|at| at.parse().ok()).unwrap_or(0))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObjectName {
    /// The description of the base with this number.
    Base(u64),
    /// The file of the base with this number.
    BaseFile(u64),
    /// A segment, by the number of the first commit and the time of the last commit.
    Segment(u64, Millis),
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses the name of a generation's directory. Returns `None` for a directory of another program.
pub(super) fn parse_generation(name: &str) -> Option<Generation> {
    let (begun, random) = name.split_once('-')?;
    (is_number(begun) && random.len() == 8).then(|| Generation(name.to_owned()))
}

/// Parses the name of an object. Returns `None` for an object of another program.
pub(super) fn parse(name: &str) -> Option<(Generation, ObjectName)> {
    let (generation, object) = name.split_once('/')?;
    let generation = parse_generation(generation)?;
    let number = |text: &str| text.parse().ok().filter(|_| is_number(text));
    let object = if let Some(base) = object.strip_prefix("base-") {
        match base.split_once('.')? {
            (base, "json") => ObjectName::Base(number(base)?),
            (base, "sqlite") => ObjectName::BaseFile(number(base)?),
            _ => return None,
        }
    } else {
        let (first, at) = object.strip_prefix("segment-")?.split_once('-')?;
        ObjectName::Segment(number(first)?, Millis(at.parse().ok()?))
    };
    Some((generation, object))
}

pub(super) fn segment(generation: &Generation, first: u64, at: Millis) -> String {
    format!("{generation}/segment-{first:012}-{:013}", at.0)
}

pub(super) fn base(generation: &Generation, number: u64) -> String {
    format!("{generation}/base-{number:012}.json")
}

pub(super) fn base_file(generation: &Generation, number: u64) -> String {
    format!("{generation}/base-{number:012}.sqlite")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let generation = Generation::after(None, Millis(1_795_000_000_123));
        let at = Millis(1_795_000_000_456);
        let objects = [
            (segment(&generation, 7, at), ObjectName::Segment(7, at)),
            (base(&generation, 3), ObjectName::Base(3)),
            (base_file(&generation, 3), ObjectName::BaseFile(3)),
        ];
        for (name, object) in objects {
            assert_eq!(parse(&name), Some((generation.clone(), object)), "{name}");
        }
        for other in ["", "a", "1795000000123/base-1.json", "x-00000000/base-1.json"] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(generation.begun(), Millis(1_795_000_000_123));
    }

    #[test]
    fn a_generation_sorts_after_the_one_before_although_the_clock_was_set_back() {
        let first = Generation::after(None, Millis(1_795_000_000_000));
        let second = Generation::after(Some(&first), Millis(1_794_000_000_000));
        let third = Generation::after(Some(&second), Millis(1_796_000_000_000));
        assert!(first < second && second < third, "{first} {second} {third}");
        assert_eq!(third.begun(), Millis(1_796_000_000_000));
    }
}
