//! `dead-letter`: lists, shows, retries and discards dead letters over the admin API.

use comfy_table::Cell;
use doorbuster_api::admin::dead_letters::{
    BulkDeadLetterResolution, DeadLetterDetail, DeadLetterKind, DeadLetterList,
    DeadLetterResolution, DeadLetterResolutionState, DeadLetterSelection, Discard,
    UndecidedRequest,
};

use crate::cli::{DeadLetterArgs, DeadLetterCommand, SelectionArgs};
use crate::client::{self, Client, Path};
use crate::confirm::confirm;
use crate::exit::{CommandResult, Outcome};
use crate::{print, table};

/// The maximum number of dead letters that one request retries or discards.
const PAGE_LIMIT: &str = "100";

/// Runs `dead-letter`.
pub fn run(args: DeadLetterArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        match args.command {
            DeadLetterCommand::List { kind, limit, cursor } => {
                let path = Path::admin(&["dead-letters"])
                    .with("limit", Some(limit))
                    .with("kind", kind.map(|kind| kind.as_str()))
                    .with("cursor", cursor);
                client.print_result(client.get(path).await, list)
            }
            DeadLetterCommand::Show { letter } => {
                let path = ["dead-letters", &letter];
                client.print_result(client.get(Path::admin(&path)).await, show)
            }
            DeadLetterCommand::Retry { which: SelectionArgs { letter: Some(letter), .. } } => {
                let path = ["dead-letters", &letter, "retry"];
                client.print_result(client.post(Path::admin(&path)).await, resolution_text)
            }
            DeadLetterCommand::Retry { which } => {
                resolve_many(&client, "retry", &which, None).await
            }
            DeadLetterCommand::Discard { which, reason, yes } => {
                confirm(yes, &format!("{} cannot be retried later", which_text(&which)))?;
                let Some(letter) = &which.letter else {
                    return resolve_many(&client, "discard", &which, Some(reason)).await;
                };
                let path = ["dead-letters", letter, "discard"];
                client.print_result(
                    client.post_json(Path::admin(&path), &Discard { reason }).await,
                    resolution_text,
                )
            }
        }
    })
}

fn which_text(which: &SelectionArgs) -> String {
    match (&which.letter, &which.endpoint, which.kind) {
        (Some(letter), ..) => letter.clone(),
        (_, Some(endpoint), _) => format!("all events that {endpoint} did not accept"),
        (.., Some(kind)) => format!("all dead letters of the kind {}", kind.as_str()),
        _ => "all dead letters".to_owned(),
    }
}

async fn resolve_many(
    client: &Client,
    how: &str,
    selected: &SelectionArgs,
    reason: Option<String>,
) -> Outcome {
    let SelectionArgs { endpoint, all, kind, .. } = selected;
    let which = DeadLetterSelection { endpoint: endpoint.clone(), all: *all, reason };
    let mut sum = BulkDeadLetterResolution { done: 0, skipped: 0, next_cursor: None };
    let what = if which.reason.is_some() { "discarded" } else { "retried" };
    loop {
        let parts = ["dead-letters", how];
        let path = Path::admin(&parts)
            .with("limit", Some(PAGE_LIMIT))
            .with("kind", kind.map(|kind| kind.as_str()))
            .with("cursor", sum.next_cursor);
        let page: BulkDeadLetterResolution = client.post_json(path, &which).await?.read()?;
        sum = BulkDeadLetterResolution {
            done: sum.done + page.done,
            skipped: sum.skipped + page.skipped,
            ..page
        };
        if sum.next_cursor.is_none() {
            break;
        }
        print::note(&format!("{} are {what} so far", table::grouped(sum.done.into())));
    }
    // The command fails if it changed none of the dead letters that it found.
    let result = CommandResult::new(sum.done > 0 || sum.skipped == 0);
    if client.wants_json() {
        return print::json(&sum).map(|_| result);
    }
    let skipped = match sum.skipped {
        0 => String::new(),
        some => format!(
            " Unchanged dead letters: {}. Possible reasons: the event was deleted, the endpoint's \
             queue is full, or the dead letter is a ticket, which cannot be retried.",
            table::grouped(some.into())
        ),
    };
    let verb = if sum.done == 1 { "is" } else { "are" };
    let text = format!("{} {verb} {what}.{skipped}", table::grouped(sum.done.into()));
    print::line(&text).map(|_| result)
}

fn resolution_text(done: &DeadLetterResolution) -> String {
    match done.state {
        DeadLetterResolutionState::Pending => format!("{} is retried.\n", done.id),
        DeadLetterResolutionState::Discarded => format!("{} is discarded.\n", done.id),
    }
}

fn list(list: &DeadLetterList) -> String {
    let header = ["dead letter", "what", "about", "endpoint", "event", "tries", "error", "when"];
    let rows = list.dead_letters.iter().map(|letter| {
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
        cells.map(Cell::new)
    });
    table::list("There are no dead letters.\n", &header, rows, list.next_cursor.as_deref())
}

fn show(detail: &DeadLetterDetail) -> String {
    let letter = &detail.letter;
    let mut rows = table::report();
    let tries = letter.tries.to_string();
    let (kind, at) = (letter.kind.as_str(), letter.at.to_string());
    let lines = [
        ("dead letter", letter.id.as_str()),
        ("kind", kind),
        ("about", &letter.about),
        ("error", &letter.error),
    ];
    rows.add_rows(
        lines
            .into_iter()
            .chain([("tries", tries.as_str()), ("when", at.as_str())])
            .map(<[&str; 2]>::from),
    );
    for (name, text) in
        [("endpoint", &letter.endpoint), ("event", &letter.event), ("type", &letter.what)]
    {
        rows.add_rows(text.iter().map(|text| [name, text]));
    }
    if let Some(refund) = &detail.refund {
        let (amount, cause) = (table::money(&refund.amount), refund.cause.as_str());
        rows.add_rows([
            ["payment", &refund.payment],
            ["amount", &amount],
            ["cause", cause],
            ["provider", &refund.provider],
        ]);
    }
    if let Some(UndecidedRequest { sale, item, buyer, units }) = &detail.request {
        let request = format!("{} of {item} in {sale}", table::units((*units).into()));
        rows.add_rows([["requested", request.as_str()], ["by", buyer]]);
    }
    let message = match &detail.message {
        Some(message) => format!("{message:#}\n"),
        None if letter.kind == DeadLetterKind::Delivery => {
            "The message is not available: the event was deleted or cannot be read.\n".into()
        }
        None => String::new(),
    };
    format!("{rows}\n{message}")
}
