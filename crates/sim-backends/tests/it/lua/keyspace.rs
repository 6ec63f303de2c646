//! The data of one slot in memory, and the Redis commands that read and change it. Only the
//! commands and arguments of the scripts and of `ScriptedSlot` are supported.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use doorbuster_slots::HostReply as Reply;

/// A key, an argument, or the name or value of a field.
pub(super) type Bytes = Vec<u8>;

type Id = (u64, u64);

#[derive(Clone, Debug, Default)]
struct Stream {
    entries: BTreeMap<Id, Vec<Bytes>>,
    last: Id,
    /// The only consumer group, with its name.
    group: Option<(Bytes, Group)>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    last_delivered: Id,
    /// The ids of the entries that were delivered and not acknowledged.
    pending: BTreeSet<Id>,
}

#[derive(Clone, Debug)]
enum Value {
    Hash(BTreeMap<Bytes, Bytes>),
    Stream(Stream),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Keyspace(BTreeMap<Bytes, Value>);

fn bulk(bytes: impl Into<Bytes>) -> Reply {
    Reply::Bulk(bytes.into())
}

fn count(n: usize) -> Reply {
    Reply::Int(i64::try_from(n).expect("a small number"))
}

fn wrong_type() -> Reply {
    Reply::Error("WRONGTYPE Operation against a key holding the wrong kind of value".to_owned())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a text")
}

fn parse_id(bytes: &[u8]) -> Id {
    let id = text(bytes);
    let (ms, n) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().expect("an id"), n.parse().expect("an id"))
}

fn id_text((ms, n): Id) -> String {
    format!("{ms}-{n}")
}

fn entry(id: Id, fields: &[Bytes]) -> Reply {
    let fields = fields.iter().map(|field| bulk(field.clone())).collect();
    Reply::Array(vec![bulk(id_text(id)), Reply::Array(fields)])
}

fn option<'a>(arguments: &'a [Bytes], word: &str) -> Option<&'a Bytes> {
    let at = arguments.iter().position(|it| it.eq_ignore_ascii_case(word.as_bytes()))?;
    arguments.get(at + 1)
}

fn count_option(arguments: &[Bytes]) -> usize {
    option(arguments, "COUNT").map_or(usize::MAX, |n| text(n).parse().expect("a number"))
}

impl Keyspace {
    /// Executes a command. The first word is the command's name.
    pub(super) fn execute(&mut self, words: &[Bytes]) -> Reply {
        let (name, key) = (text(&words[0]).to_uppercase(), &words[1]);
        match (name.as_str(), &words[2..]) {
            ("TYPE", _) => Reply::Status(match self.0.get(key) {
                None => "none",
                Some(Value::Hash(_)) => "hash",
                Some(Value::Stream(_)) => "stream",
            }),
            ("UNLINK", _) => {
                count(words[1..].iter().filter(|key| self.0.remove(*key).is_some()).count())
            }
            ("HGET" | "HMGET" | "HSET" | "HDEL" | "HLEN" | "HSCAN", rest) => {
                self.hash_command(&name, key, rest)
            }
            ("XINFO" | "XGROUP", rest) => self.group_command(&name, key, rest),
            ("XREADGROUP", rest) => self.xreadgroup(rest),
            ("XADD" | "XLEN" | "XRANGE" | "XTRIM" | "XDEL" | "XACK" | "XAUTOCLAIM", rest) => {
                self.stream_command(&name, key, rest)
            }
            _ => Reply::Error(format!("ERR unknown command {name}")),
        }
    }

    fn hash_command(&mut self, name: &str, key: &Bytes, rest: &[Bytes]) -> Reply {
        if name == "HSET" {
            let Value::Hash(hash) =
                self.0.entry(key.clone()).or_insert_with(|| Value::Hash(BTreeMap::new()))
            else {
                return wrong_type();
            };
            let is_new = |pair: &&[Bytes]| hash.insert(pair[0].clone(), pair[1].clone()).is_none();
            return count(rest.chunks(2).filter(is_new).count());
        }
        let mut empty = BTreeMap::new();
        let hash = match self.0.get_mut(key) {
            None => &mut empty,
            Some(Value::Hash(hash)) => hash,
            Some(Value::Stream(_)) => return wrong_type(),
        };
        let get = |field: &Bytes| hash.get(field).map_or(Reply::Nil, |value| bulk(value.clone()));
        match name {
            "HGET" => get(&rest[0]),
            "HMGET" => Reply::Array(rest.iter().map(get).collect()),
            "HLEN" => count(hash.len()),
            // One step of the scan returns all fields, so no further step is needed.
            "HSCAN" => {
                let all = hash.iter().flat_map(|(field, value)| [field.clone(), value.clone()]);
                Reply::Array(vec![bulk("0"), Reply::Array(all.map(bulk).collect())])
            }
            _ => {
                let removed = rest.iter().filter(|field| hash.remove(*field).is_some()).count();
                if hash.is_empty() {
                    self.0.remove(key);
                }
                count(removed)
            }
        }
    }

    fn stream(&mut self, key: &Bytes) -> Result<Option<&mut Stream>, Reply> {
        match self.0.get_mut(key) {
            None => Ok(None),
            Some(Value::Stream(stream)) => Ok(Some(stream)),
            Some(Value::Hash(_)) => Err(wrong_type()),
        }
    }

    /// Executes `XINFO STREAM key`, `XINFO GROUPS key`, and `XGROUP CREATE key group id MKSTREAM`.
    fn group_command(&mut self, name: &str, form: &Bytes, rest: &[Bytes]) -> Reply {
        let key = &rest[0];
        if name == "XGROUP" {
            let Value::Stream(stream) =
                self.0.entry(key.clone()).or_insert_with(|| Value::Stream(Stream::default()))
            else {
                return wrong_type();
            };
            if stream.group.is_some() {
                return Reply::Error("BUSYGROUP Consumer Group name already exists".to_owned());
            }
            let group = Group { last_delivered: parse_id(&rest[2]), ..Group::default() };
            stream.group = Some((rest[1].clone(), group));
            return Reply::Status("OK");
        }
        let stream = match self.stream(key) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Reply::Error("ERR no such key".to_owned()),
            Err(error) => return error,
        };
        match text(form) {
            "STREAM" => Reply::Array(vec![
                bulk("length"),
                count(stream.entries.len()),
                bulk("last-generated-id"),
                bulk(id_text(stream.last)),
            ]),
            _ => {
                let groups = stream.group.iter().map(|(name, group)| {
                    Reply::Array(vec![
                        bulk("name"),
                        bulk(name.clone()),
                        bulk("pending"),
                        count(group.pending.len()),
                    ])
                });
                Reply::Array(groups.collect())
            }
        }
    }

    fn stream_command(&mut self, name: &str, key: &Bytes, rest: &[Bytes]) -> Reply {
        let stream = match self.stream(key) {
            Ok(Some(stream)) => stream,
            Ok(None) => {
                return match name {
                    // The scripts always use XADD with NOMKSTREAM. So XADD adds nothing if the
                    // stream does not exist.
                    "XADD" => Reply::Nil,
                    "XRANGE" => Reply::Array(Vec::new()),
                    "XAUTOCLAIM" => no_group(),
                    _ => Reply::Int(0),
                };
            }
            Err(error) => return error,
        };
        match name {
            "XADD" => {
                let id = parse_id(&rest[1]);
                if id <= stream.last {
                    return Reply::Error(
                        "ERR The ID specified in XADD is equal or smaller than the target stream \
                         top item"
                            .to_owned(),
                    );
                }
                stream.last = id;
                stream.entries.insert(id, rest[2..].to_vec());
                bulk(id_text(id))
            }
            "XLEN" => count(stream.entries.len()),
            "XRANGE" => {
                let from = match text(&rest[0]) {
                    "-" => Unbounded,
                    _ => Included(parse_id(&rest[0])),
                };
                let to = match text(&rest[1]) {
                    "+" => Unbounded,
                    _ => Included(parse_id(&rest[1])),
                };
                let found = stream.entries.range((from, to)).take(count_option(rest));
                Reply::Array(found.map(|(id, fields)| entry(*id, fields)).collect())
            }
            "XTRIM" => {
                let least = parse_id(&rest[2]);
                let before = stream.entries.len();
                stream.entries = stream.entries.split_off(&least);
                count(before - stream.entries.len())
            }
            "XDEL" => {
                let ids = rest.iter().map(|id| parse_id(id));
                count(ids.filter(|id| stream.entries.remove(id).is_some()).count())
            }
            "XACK" => match &mut stream.group {
                Some((_, group)) => {
                    let ids = rest[1..].iter().map(|id| parse_id(id));
                    count(ids.filter(|id| group.pending.remove(id)).count())
                }
                None => Reply::Int(0),
            },
            _ => stream.claim(parse_id(&rest[3]), count_option(rest)),
        }
    }

    /// Executes `XREADGROUP GROUP group consumer COUNT n BLOCK ms STREAMS key >`, but never waits.
    fn xreadgroup(&mut self, rest: &[Bytes]) -> Reply {
        let key = option(rest, "STREAMS").expect("a key").clone();
        let stream = match self.stream(&key) {
            Ok(Some(stream)) => stream,
            Ok(None) => return no_group(),
            Err(error) => return error,
        };
        let Some((_, group)) = &mut stream.group else { return no_group() };
        let new = stream.entries.range((Excluded(group.last_delivered), Unbounded));
        let mut read = Vec::new();
        for (id, fields) in new.take(count_option(rest)) {
            group.last_delivered = *id;
            group.pending.insert(*id);
            read.push(entry(*id, fields));
        }
        match read.is_empty() {
            true => Reply::Nil,
            false => Reply::Array(vec![Reply::Array(vec![bulk(key), Reply::Array(read)])]),
        }
    }
}

impl Stream {
    /// Returns at most `at_most` pending entries from the id `from` on, and the id of the next
    /// pending entry. Unlike in Redis, the reply does not name deleted entries.
    fn claim(&mut self, from: Id, at_most: usize) -> Reply {
        let Some((_, group)) = &mut self.group else { return no_group() };
        group.pending.retain(|id| self.entries.contains_key(id));
        let mut claimed = group.pending.range(from..);
        let mut entries = Vec::new();
        for id in claimed.by_ref().take(at_most) {
            entries.push(entry(*id, &self.entries[id]));
        }
        let next = claimed.next().copied().unwrap_or_default();
        let deleted = Reply::Array(Vec::new());
        Reply::Array(vec![bulk(id_text(next)), Reply::Array(entries), deleted])
    }
}

fn no_group() -> Reply {
    Reply::Error("NOGROUP No such key or consumer group".to_owned())
}
