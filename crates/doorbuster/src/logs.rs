//! `logs`: explains what the server logs.

use doorbuster_api::log_event::LOG_EVENTS;
use serde_json::json;

use crate::cli::{LogsArgs, LogsCommand};
use crate::exit::Outcome;
use crate::{print, table};

/// Runs `logs`.
pub fn run(args: &LogsArgs) -> Outcome {
    let LogsCommand::Events { json } = args.command;
    if json {
        return print::json(&json!({ "events": LOG_EVENTS }));
    }
    let mut list = table::with_header(&["event", "level", "meaning"]);
    for event in LOG_EVENTS {
        list.add_row([event.code, event.level.as_str(), event.meaning]);
    }
    print::text(&format!("{list}\n"))
}
