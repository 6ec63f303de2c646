//! `draw verify`: reads the published data of a draw from files or a server, and repeats the draw.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use doorbuster_api::gate::Draw;
use doorbuster_harness::draw::{self, ALGORITHM, DrawClaim, DrawReport};

use crate::cli::{DrawArgs, DrawCommand, VerifyArgs};
use crate::client::{self, Client};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{print, table};

const LIST_HEADER: &str = "rank,buyer";
/// The maximum length of a list of participants, in bytes. A longer list is refused. A waiting room
/// accepts at most 4,000,000 visitors, and each visitor's line has at most 80 bytes.
const LIST_BYTES_MAX: usize = 4_000_000 * 80;

/// Runs `draw`.
pub fn run(args: &DrawArgs) -> Outcome {
    let DrawCommand::Verify(args) = &args.command;
    let claim = client::block_on(gather_claim(args))?;
    let report = draw::verify(&claim);
    print::report(args.json, &report, || report_text(&report))?;
    Ok(CommandResult::new(report.ok))
}

async fn gather_claim(args: &VerifyArgs) -> Result<DrawClaim, Failure> {
    if args.sale.is_none() && args.participants.is_none() {
        return Err(Failure::Settings(
            "the list of participants is missing: give --participants, or --sale and --key".into(),
        ));
    }
    if args.sale.is_none() && args.commitment.is_none() {
        return Err(Failure::Settings(
            "the commitment is missing: give --commitment, or --sale and --url".into(),
        ));
    }
    let mut claim = DrawClaim {
        commitments: args.commitment.iter().cloned().collect(),
        item: args.item.clone(),
        ..DrawClaim::default()
    };
    let mut lines = None;
    if let Some(sale) = &args.sale {
        let client = Client::with(args.url.parse()?, args.key.clone().unwrap_or_default())?;
        let path = ["v1", "sales", sale, "draw"];
        let path = client::Path::new(&path).with("item", args.item.as_deref());
        let published: Draw = client.get(path).await?.read()?;
        if published.algorithm != ALGORITHM {
            return Err(Failure::Refused(format!(
                "the draw uses the algorithm {}, which this version does not know",
                published.algorithm
            )));
        }
        // The item comes from the published draw and not from `--item`. If the sale has one waiting
        // room for all its items, the published draw names no item.
        claim.item = published.item;
        let seed = args.seed.clone().or(published.seed);
        claim.seed = seed.ok_or_else(|| {
            let commitment = &published.commitment;
            Failure::Refused(format!(
                "{sale} has not opened yet: keep its commitment, {commitment}, and run the \
                 command again after the opening"
            ))
        })?;
        claim.commitments.push(published.commitment);
        claim.participants = Some(published.participants);
        if args.participants.is_none() {
            let path = ["sales", sale, "draw.csv"];
            let path = client::Path::admin(&path).with("item", args.item.as_deref());
            lines = Some(download_list(&client, path).await?);
        }
    }
    if let Some(seed) = &args.seed {
        claim.seed.clone_from(seed);
    }
    if let Some(file) = &args.participants {
        lines = Some(read(file)?);
    }
    let lines = lines.unwrap_or_default();
    let is_ranked = lines.lines().next().is_some_and(|line| line.trim_end() == LIST_HEADER);
    claim.list = parse_names(&lines)?;
    claim.claimed = match &args.order {
        Some(file) => Some(parse_names(&read(file)?)?),
        None => is_ranked.then(|| claim.list.clone()),
    };
    Ok(claim)
}

/// Downloads the list of participants. The list may be longer than the client allows for other
/// answers, so this function has its own limit.
async fn download_list(client: &Client, path: client::Path<'_>) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8]| {
        ensure!(
            bytes.len() + piece.len() <= LIST_BYTES_MAX,
            "the list of participants is larger than this program accepts"
        );
        bytes.extend_from_slice(piece);
        Ok(true)
    };
    client.download(path, &mut take).await?;
    Ok(String::from_utf8(bytes).context("the list of participants is not UTF-8")?)
}

fn read(file: &Path) -> Result<String, Failure> {
    Ok(std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?)
}

/// A list has one buyer per line. The server's CSV list also has ranks. If the list has ranks, the
/// result is sorted by rank, so the lines may be in any sequence.
fn parse_names(lines: &str) -> Result<Vec<String>, Failure> {
    let mut lines = lines.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    if lines.next_if_eq(&LIST_HEADER).is_none() {
        return Ok(lines.map(name).collect());
    }
    let mut ranked = BTreeMap::new();
    for line in lines {
        let rank = line.split_once(',').and_then(|(rank, _)| rank.parse::<usize>().ok());
        let is_new = rank.is_some_and(|rank| ranked.insert(rank, name(line)).is_none());
        if !is_new {
            let fault = format!("the rank in the line {line:?} is not a number, or occurs twice");
            return Err(Failure::Refused(fault));
        }
    }
    if let Some(missing) = (1..=ranked.len()).find(|rank| !ranked.contains_key(rank)) {
        return Err(Failure::Refused(format!("the list has no rank {missing}")));
    }
    Ok(ranked.into_values().collect())
}

fn name(line: &str) -> String {
    let cell = line.rsplit(',').next().unwrap_or_default();
    // The server writes `'` before a name that a spreadsheet would read as a formula.
    cell.strip_prefix('\'').unwrap_or(cell).to_owned()
}

fn report_text(report: &DrawReport) -> String {
    let mut out = String::new();
    for (at, buyer) in report.order.iter().enumerate() {
        out += &format!("{}\t{buyer}\n", at + 1);
    }
    for finding in &report.findings {
        out += &format!("{finding}\n");
    }
    let participants = table::counted(report.order.len() as u64, "participant");
    let verdict =
        if report.ok { "the draw agrees with its commitment" } else { "the draw does not agree" };
    out + &format!("{participants}: {verdict}.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_both_forms() {
        let names = |lines| {
            parse_names(lines).map_err(|failure| match failure {
                Failure::Refused(text) => text,
                other => panic!("{other:?}"),
            })
        };
        let both = || Ok(vec!["anna".to_owned(), "-bert".to_owned()]);
        assert_eq!(names("anna\n\n'-bert\r\n"), both());
        assert_eq!(names("rank,buyer\r\n1,anna\r\n2,'-bert\r\n"), both());
        assert_eq!(names("rank,buyer\r\n2,'-bert\r\n1,anna\r\n"), both());
        for (lines, fault) in [
            ("rank,buyer\n1,anna\n1,bert\n", "the rank in the line \"1,bert\""),
            ("rank,buyer\nx,anna\n", "the rank in the line \"x,anna\""),
            ("rank,buyer\n2,anna\n3,bert\n", "the list has no rank 1"),
        ] {
            let error = names(lines).expect_err("the ranks are wrong");
            assert!(error.contains(fault), "{error}");
        }
    }
}
