//! Executes the commands of a slot in this process, without a Redis server. Lua 5.1 runs the
//! scripts, as in Redis.
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use doorbuster_slots::{HostReply as Reply, ScriptHost};
use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use super::keyspace::{Bytes, Keyspace};

/// A Lua interpreter that all slots of a thread share. While a slot's script runs, `data` is the
/// data of this slot.
pub(super) struct Interpreter {
    lua: Lua,
    data: Rc<RefCell<Keyspace>>,
    /// Maps the source of each script to the compiled script.
    scripts: RefCell<HashMap<Bytes, Function>>,
    commands: Commands,
}

type Commands = Rc<RefCell<BTreeSet<String>>>;

fn note(commands: &Commands, words: &[Bytes]) {
    let name = String::from_utf8_lossy(&words[0]);
    if !commands.borrow().contains(&*name) {
        commands.borrow_mut().insert(name.into_owned());
    }
}

#[derive(Clone)]
pub(super) struct LuaHost {
    interpreter: Rc<Interpreter>,
    data: Keyspace,
}

impl Interpreter {
    pub(super) fn new() -> mlua::Result<Self> {
        let (lua, data) = (Lua::new(), Rc::new(RefCell::new(Keyspace::default())));
        let (redis, commands) = (lua.create_table()?, Commands::default());
        for (name, raises) in [("call", true), ("pcall", false)] {
            let (data, commands) = (data.clone(), commands.clone());
            let call = lua.create_function(move |lua, words: MultiValue| {
                let words = words.iter().map(word).collect::<mlua::Result<Vec<Bytes>>>()?;
                note(&commands, &words);
                match data.borrow_mut().execute(&words) {
                    Reply::Error(error) if raises => Err(mlua::Error::runtime(error)),
                    reply => to_lua(lua, reply),
                }
            })?;
            redis.set(name, call)?;
        }
        let error_reply = lua.create_function(|lua, text: String| {
            let table = lua.create_table()?;
            table.set("err", text)?;
            Ok(table)
        })?;
        redis.set("error_reply", error_reply)?;
        lua.globals().set("redis", redis)?;
        Ok(Self { lua, data, scripts: RefCell::default(), commands })
    }

    pub(super) fn commands(&self) -> BTreeSet<String> {
        self.commands.borrow().clone()
    }

    /// Runs a script. `words` contains the number of keys, then the keys, then the arguments.
    fn run(&self, source: &[u8], words: &[Bytes]) -> mlua::Result<Reply> {
        let keys: usize = String::from_utf8_lossy(&words[0]).parse().expect("a number");
        let (keys, arguments) = words[1..].split_at(keys);
        for (name, values) in [("KEYS", keys), ("ARGV", arguments)] {
            let texts: Vec<LuaString> =
                values.iter().map(|v| self.lua.create_string(v)).collect::<mlua::Result<_>>()?;
            self.lua.globals().set(name, self.lua.create_sequence_from(texts)?)?;
        }
        let script = self.scripts.borrow().get(source).cloned();
        let script = match script {
            Some(script) => script,
            None => {
                let script = self.lua.load(source).into_function()?;
                self.scripts.borrow_mut().insert(source.to_vec(), script.clone());
                script
            }
        };
        from_lua(&script.call::<Value>(())?)
    }
}

impl LuaHost {
    pub(super) fn new(interpreter: Rc<Interpreter>) -> Self {
        Self { interpreter, data: Keyspace::default() }
    }
}

impl ScriptHost for LuaHost {
    fn execute(&mut self, words: Vec<Bytes>) -> Reply {
        note(&self.interpreter.commands, &words);
        if words[0] != b"EVAL" {
            return self.data.execute(&words);
        }
        std::mem::swap(&mut self.data, &mut self.interpreter.data.borrow_mut());
        let reply = self.interpreter.run(&words[1], &words[2..]);
        std::mem::swap(&mut self.data, &mut self.interpreter.data.borrow_mut());
        reply.unwrap_or_else(|error| Reply::Error(format!("ERR {error}")))
    }
}

/// Converts an argument of a command to bytes. Like Redis, also accepts numbers.
fn word(value: &Value) -> mlua::Result<Bytes> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Integer(n) => Ok(n.to_string().into_bytes()),
        Value::Number(n) => Ok(n.to_string().into_bytes()),
        other => Err(mlua::Error::runtime(format!(
            "Lua redis lib command arguments must be strings or integers, not {}",
            other.type_name()
        ))),
    }
}

fn to_lua(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    let field = |name: &str, text: &str| -> mlua::Result<Value> {
        let table: Table = lua.create_table()?;
        table.set(name, text)?;
        Ok(Value::Table(table))
    };
    Ok(match reply {
        Reply::Nil => Value::Boolean(false),
        Reply::Int(n) => Value::Integer(n),
        Reply::Bulk(bytes) => Value::String(lua.create_string(bytes)?),
        Reply::Status(text) => field("ok", text)?,
        Reply::Error(text) => field("err", &text)?,
        Reply::Array(replies) => {
            let values =
                replies.into_iter().map(|r| to_lua(lua, r)).collect::<mlua::Result<Vec<_>>>()?;
            Value::Table(lua.create_sequence_from(values)?)
        }
    })
}

/// Converts a script's result to a reply. As in Redis, a number loses its fraction, and an array
/// ends before its first nil.
fn from_lua(value: &Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::Nil | Value::Boolean(false) => Reply::Nil,
        Value::Boolean(true) => Reply::Int(1),
        Value::Integer(n) => Reply::Int(*n),
        Value::Number(n) => Reply::Int(*n as i64),
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Table(table) => {
            if let Some(error) = table.raw_get::<Option<String>>("err")? {
                return Ok(Reply::Error(error));
            }
            let mut values = Vec::new();
            for i in 1.. {
                match table.raw_get::<Value>(i)? {
                    Value::Nil => break,
                    value => values.push(from_lua(&value)?),
                }
            }
            Reply::Array(values)
        }
        other => return Err(mlua::Error::runtime(format!("a script returned {other:?}"))),
    })
}
