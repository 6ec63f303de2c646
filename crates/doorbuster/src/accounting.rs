//! `csv` and `reconcile`: exports lists from a running server, and compares units with money.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path as FilePath, PathBuf};

use anyhow::Context;
use comfy_table::Cell;
use doorbuster_api::admin::export::{MoneySums, Reconciliation};
use doorbuster_api::value::Money;

use crate::cli::{CsvArgs, ReconcileArgs};
use crate::client::{self, Client, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{print, table};

/// Runs `csv`.
pub fn csv(args: &CsvArgs) -> Outcome {
    if args.server.json {
        return Err(Failure::Settings("csv cannot write JSON; leave out --json".into()));
    }
    let client = Client::new(&args.server)?;
    let name = format!("{}.csv", args.list.as_str());
    let pairs: Vec<_> = args.sale.as_deref().map(|sale| ("sale", sale)).into_iter().collect();
    let parts = ["v1", "admin", "exports", &name];
    let path = Path(&parts, &pairs);
    client::block_on(async {
        match &args.output {
            None => {
                client.download(path, &mut |bytes| print::chunk(bytes)).await?;
            }
            Some(file) => {
                let mut part = PartialFile::create_beside(file)?;
                client.download(path, &mut |bytes| part.write(bytes)).await?;
                part.finish()?;
            }
        }
        Ok(CommandResult::Success)
    })
}

/// A file that is still being written. If `finish` does not succeed, the file is removed.
struct PartialFile {
    /// The path of the requested file, for error messages.
    target: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
}

impl PartialFile {
    fn create_beside(file: &FilePath) -> anyhow::Result<Self> {
        let mut name = file.file_name().context("--output has no file name")?.to_owned();
        // A random name keeps two exports into one file apart. The export that finishes last
        // remains.
        name.push(format!(".{:016x}.part", rand::random::<u64>()));
        let path = file.with_file_name(name);
        let open = File::create_new(&path).with_context(|| {
            let folder = file
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .unwrap_or(FilePath::new("."));
            format!(
                "cannot write {}: cannot create a file in the directory {}",
                file.display(),
                folder.display()
            )
        })?;
        Ok(Self { target: file.to_owned(), path, file: BufWriter::new(open) })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        self.file
            .write_all(bytes)
            .with_context(|| format!("cannot write {}", self.target.display()))?;
        Ok(true)
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let why = || format!("cannot write {}", self.target.display());
        self.file.flush().with_context(why)?;
        std::fs::rename(&self.path, &self.target).with_context(why)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After `finish` the file no longer exists under this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Runs `reconcile`.
pub fn reconcile(args: &ReconcileArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let texts = [("sale", &args.sale), ("cursor", &args.cursor)];
    let pairs: Vec<_> =
        texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))).collect();
    client::block_on(async {
        let result = client.get(Path(&["v1", "admin", "exports", "reconciliation"], &pairs)).await;
        let mut ok = true;
        // If the answer cannot be read, `print_result` reports it.
        let result = result
            .inspect(|answer| ok = answer.read::<Reconciliation>().is_ok_and(|report| report.ok));
        client.print_result(result, report_text)?;
        Ok(CommandResult::new(ok))
    })
}

fn report_text(report: &Reconciliation) -> String {
    let mut out = String::new();
    if !report.items.is_empty() {
        let names = ["sale", "item", "total", "pool", "in slots", "held", "paid", "ended"];
        let mut rows = table::with_header(&names);
        for item in &report.items {
            rows.add_row([
                Cell::new(&item.sale),
                Cell::new(&item.item),
                table::number(item.total.map_or_else(|| "unlimited".into(), table::grouped)),
                table::number(table::grouped_or_dash(item.pool)),
                table::number(table::grouped_or_dash(item.in_slots)),
                table::number(table::grouped(item.held)),
                table::number(table::grouped(item.paid)),
                table::number(table::grouped(item.ended)),
            ]);
        }
        out += &format!("{rows}\n");
    }
    let names = ["sale", "item", "due", "captured", "standing", "refunded", "pending", "failed"];
    let mut rows = table::with_header(&names);
    let mut line = |sale: &str, item: &str, due: Option<i64>, sums: &MoneySums| {
        let mut cells = vec![Cell::new(sale), Cell::new(item)];
        // A sum may exceed the range of a single amount.
        let amount = |minor: i128| match i64::try_from(minor) {
            Ok(amount_minor) => table::money(&Money { amount_minor, currency: sums.currency }),
            Err(_) => format!("{minor} minor units of {}", sums.currency),
        };
        cells.push(table::number(due.map_or_else(|| "–".into(), |minor| amount(minor.into()))));
        let all = [sums.captured, sums.standing, sums.refunded, sums.pending, sums.failed];
        cells.extend(all.map(|minor| table::number(amount(minor))));
        rows.add_row(cells);
    };
    for item in &report.items {
        for sums in &item.money {
            let due = (sums.currency == item.price.currency).then_some(item.due.amount_minor);
            line(&item.sale, &item.item, due, sums);
        }
    }
    report.elsewhere.iter().for_each(|sums| line("(no order)", "", None, sums));
    if !rows.is_empty() {
        out += &format!("{rows}\n");
    }
    for found in &report.differences {
        let places = [&found.sale, &found.item, &found.order, &found.payment];
        let at = places.into_iter().flatten().map(|place| format!(" {place}")).collect::<String>();
        out += &format!("{}{at}: {}\n", found.kind, found.detail);
    }
    out += &match report.differences.len() {
        0 if report.ok => "No differences: units and money match.\n".to_owned(),
        1 => "1 difference.\n".to_owned(),
        some => format!("{some} differences.\n"),
    };
    out + &report.next_cursor.as_deref().map(table::next_page_hint).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_exports_into_one_file_the_last_to_finish_remains() {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-books-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a random name is free");
        let file = dir.join("orders.csv");
        let begin = || PartialFile::create_beside(&file).expect("a partial file");
        let (mut one, mut other, mut broken) = (begin(), begin(), begin());
        one.write(b"one, and more than the other has").expect("the file is written");
        other.write(b"other").expect("the file is written");
        broken.write(b"broken").expect("the file is written");
        let read = || std::fs::read_to_string(&file).expect("the path exists");
        one.finish().expect("the file is finished");
        assert_eq!(read(), "one, and more than the other has");
        drop(broken);
        other.finish().expect("the file is finished");
        assert_eq!(read(), "other");
        assert_eq!(
            std::fs::read_dir(&dir).expect("the path exists").count(),
            1,
            "other files are left"
        );
        std::fs::remove_dir_all(&dir).expect("the directory is removed");
    }
}
