//! Reads one object and collects its faults.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json::{self, JsonKind};
use super::member_patch::MemberPatch;
use crate::limits::FAULTS_MAX;
use crate::problem::{Fault, Problem};

/// The faults so far, at most [`FAULTS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, pointer: &str, detail: impl Into<Cow<'static, str>>) {
        match self.0.len() {
            full if full > FAULTS_MAX => {}
            FAULTS_MAX => self
                .0
                .push(Fault::body("", "there are more faults; correct the listed faults first")),
            _ => self.0.push(Fault::body(pointer, detail)),
        }
    }

    /// Adds a fault. Returns `None`, because a value with a fault has no result.
    pub(crate) fn refuse<T>(
        &mut self,
        pointer: &str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Option<T> {
        self.add(pointer, detail);
        None
    }

    pub(super) fn into_result<T>(self, found: Option<T>) -> Result<T, Problem> {
        match found {
            Some(found) if self.0.is_empty() => Ok(found),
            _ => Err(Problem::invalid_request(self.0)),
        }
    }
}

/// An object whose members are read one by one. After a fault, the caller still reads the other
/// members, so that all faults are found.
pub(crate) struct Object<'a, 'f> {
    pointer: String,
    members: Vec<(&'static str, &'a RawValue)>,
    faults: &'f mut Faults,
}

/// Reads one member's value, or adds a fault at the pointer and returns `None`.
pub(crate) trait MemberReader<'a, T>:
    FnOnce(&'a RawValue, &str, &mut Faults) -> Option<T>
{
}
impl<'a, T, F: FnOnce(&'a RawValue, &str, &mut Faults) -> Option<T>> MemberReader<'a, T> for F {}

impl<'a, 'f> Object<'a, 'f> {
    /// Opens an object. Adds a fault for each member that is not in `known`, and for each repeated
    /// member.
    pub(crate) fn open(
        raw: &'a RawValue,
        pointer: String,
        known: &'static [&'static str],
        faults: &'f mut Faults,
    ) -> Option<Self> {
        let kind = JsonKind::from_raw(raw);
        if !kind.is_object() {
            return faults.refuse(&pointer, format!("must be an object, not {}", kind.words()));
        }
        let Some(found) = json::members(raw) else {
            return faults.refuse(&pointer, "has a member whose name is not Unicode");
        };
        let mut members: Vec<(&'static str, &'a RawValue)> = Vec::with_capacity(known.len());
        for (name, value) in found {
            let at = |name: &str| format!("{pointer}/{}", escape_pointer(name));
            match known.iter().find(|known| **known == name) {
                None => faults.add(&at(&name), unknown_member(known)),
                Some(known) if members.iter().any(|(seen, _)| seen == known) => {
                    faults.add(&at(&name), "is given twice")
                }
                Some(known) => members.push((known, value)),
            }
        }
        Some(Self { pointer, members, faults })
    }

    fn find(&self, name: &'static str) -> Option<&'a RawValue> {
        self.members.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        value: &'a RawValue,
        reader: impl MemberReader<'a, T>,
    ) -> Option<T> {
        reader(value, &format!("{}/{name}", self.pointer), self.faults)
    }

    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        reader: impl MemberReader<'a, T>,
    ) -> Option<T> {
        match self.find(name) {
            Some(value) => self.read(name, value, reader),
            None => self.refuse(name, "is missing"),
        }
    }

    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        default: T,
        reader: impl MemberReader<'a, T>,
    ) -> Option<T> {
        match self.find(name) {
            Some(value) => self.read(name, value, reader),
            None => Some(default),
        }
    }

    /// Reads a member of a merge patch. The member can be absent, `null` or a value.
    pub(crate) fn patched<T>(
        &mut self,
        name: &'static str,
        reader: impl MemberReader<'a, T>,
    ) -> Option<MemberPatch<T>> {
        match self.find(name) {
            None => Some(MemberPatch::Keep),
            Some(value) if JsonKind::from_raw(value) == JsonKind::Null => Some(MemberPatch::Clear),
            Some(value) => self.read(name, value, reader).map(MemberPatch::Set),
        }
    }

    /// Adds a fault that the reader of a single member cannot find, such as a fault about two
    /// members.
    pub(crate) fn refuse<T>(&mut self, name: &'static str, detail: &'static str) -> Option<T> {
        self.faults.refuse(&format!("{}/{name}", self.pointer), detail)
    }
}

fn unknown_member(known: &[&str]) -> String {
    format!("is not a known member; the known members are {}", known.join(", "))
}

/// Escapes a name for a JSON pointer (RFC 6901).
pub(super) fn escape_pointer(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) {
        name.replace('~', "~0").replace('/', "~1").into()
    } else {
        name.into()
    }
}
