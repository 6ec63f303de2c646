//! The scripts of slots. A starting node loads them into the servers. Calls then use the scripts'
//! digests. If a server does not know a script, the call is repeated with the script's source,
//! which also loads the script.
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use super::failure::{RedisFailure, check_reply, unexpected_reply};
use super::keys::Keys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Init,
    Ticket,
    Apply,
    Recall,
    Acknowledge,
    Stop,
    View,
    Retire,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScriptForm {
    Digest,
    /// The script's source, for a server that does not know the digest.
    Source,
}

macro_rules! source {
    ($file:literal) => {
        concat!(include_str!("term.lua"), include_str!($file))
    };
}

/// The sources, in the order of [`Script`].
const SOURCES: [&str; 8] = [
    source!("init.lua"),
    source!("ticket.lua"),
    source!("apply.lua"),
    source!("recall.lua"),
    source!("acknowledge.lua"),
    source!("stop.lua"),
    source!("view.lua"),
    source!("retire.lua"),
];

/// The digests of the scripts, which are the same on every server.
#[derive(Debug)]
pub(super) struct Scripts([String; SOURCES.len()]);

impl Scripts {
    pub(super) async fn load(connection: &mut MultiplexedConnection) -> Result<Self, RedisFailure> {
        let mut pipe = Pipeline::with_capacity(SOURCES.len());
        for source in SOURCES {
            pipe.cmd("SCRIPT").arg("LOAD").arg(source);
        }
        let values = connection
            .send_packed_commands(&pipe, 0, SOURCES.len())
            .await
            .map_err(|e| RedisFailure::of(&e))?;
        let mut digests = values.into_iter().map(|value| match check_reply(value)? {
            Value::BulkString(bytes) => {
                String::from_utf8(bytes).map_err(|e| RedisFailure::NoReply(e.to_string()))
            }
            other => Err(unexpected_reply(&other)),
        });
        let mut all = [const { String::new() }; SOURCES.len()];
        for digest in &mut all {
            *digest = digests.next().unwrap_or_else(|| Err(unexpected_reply(&Value::Nil)))?;
        }
        Ok(Self(all))
    }

    /// Begins a call of the script, in the form `by`. The caller adds the arguments.
    pub(super) fn call(&self, script: Script, by: ScriptForm, keys: &Keys) -> Cmd {
        match by {
            ScriptForm::Digest => start_call("EVALSHA", &self.0[script as usize], keys),
            ScriptForm::Source => call_by_source(script, keys),
        }
    }
}

/// Begins a call that contains the script's source. The caller adds the arguments.
pub(super) fn call_by_source(script: Script, keys: &Keys) -> Cmd {
    start_call("EVAL", SOURCES[script as usize], keys)
}

fn start_call(command: &str, script: &str, keys: &Keys) -> Cmd {
    let mut call = Cmd::with_capacity(8, 512);
    call.arg(command).arg(script).arg(keys.0.len());
    for key in &keys.0 {
        call.arg(key);
    }
    call
}
