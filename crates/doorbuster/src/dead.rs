//! `dead-letter`: lists what was given up over the admin API, has it tried again, lets it be.

use comfy_table::Cell;
use doorbuster_api::admin::dead_letters::{DeadLetterList, Discard, SeenTo, SeenToState};

use crate::cli::{DeadArgs, DeadCommand};
use crate::client::{self, Client, Path};
use crate::exit::Outcome;
use crate::table;

const LETTERS: [&str; 3] = ["v1", "admin", "dead-letters"];

/// Runs `dead-letter`.
pub fn run(args: DeadArgs) -> Outcome {
    let client = Client::new(&args.shop)?;
    client::block_on(async {
        match args.command {
            DeadCommand::List { kind, limit, cursor } => {
                let limit = limit.to_string();
                let mut pairs = vec![("limit", limit.as_str())];
                pairs.extend(kind.map(|kind| ("kind", kind.as_str())));
                pairs.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                client.tell(client.get(Path(&LETTERS, &pairs)).await, list)
            }
            DeadCommand::Retry { letter } => {
                let path = [LETTERS[0], LETTERS[1], LETTERS[2], &letter, "retry"];
                client.tell(client.post(Path::of(&path)).await, seen_to)
            }
            DeadCommand::Discard { letter, reason } => {
                let path = [LETTERS[0], LETTERS[1], LETTERS[2], &letter, "discard"];
                client.tell(client.post_json(Path::of(&path), &Discard { reason }).await, seen_to)
            }
        }
    })
}

fn seen_to(done: &SeenTo) -> String {
    match done.state {
        SeenToState::Pending => format!("{} is tried again.\n", done.id),
        SeenToState::Discarded => format!("{} is let be.\n", done.id),
    }
}

fn list(list: &DeadLetterList) -> String {
    if list.dead_letters.is_empty() {
        return "Nothing was given up.\n".into();
    }
    let mut rows = table::with_header(&["dead letter", "what", "about", "endpoint", "event", "tries", "error", "when"]);
    for letter in &list.dead_letters {
        let what = letter.what.clone().unwrap_or_else(|| letter.kind.as_str().to_owned());
        let cells = [
            letter.id.clone(),
            what,
            letter.about.clone(),
            table::or_dash(letter.endpoint.as_deref()),
            table::or_dash(letter.event.as_deref()),
            letter.tries.to_string(),
            letter.error.clone(),
            letter.at.to_string(),
        ];
        rows.add_row(cells.map(Cell::new));
    }
    table::with_more(&rows, list.next_cursor.as_deref())
}
