//! `csv`: exports lists from a running server.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path as FilePath, PathBuf};

use anyhow::Context;

use crate::cli::CsvArgs;
use crate::client::{self, Client, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::print;
use crate::signals::StopSignals;

/// Runs `csv`.
pub fn run(args: &CsvArgs) -> Outcome {
    if args.server.json {
        return Err(Failure::Settings("csv cannot write JSON; leave out --json".into()));
    }
    let client = Client::new(&args.server)?;
    let name = format!("{}.csv", args.list.as_str());
    let filters = [
        ("sale", &args.sale),
        ("by", &args.by),
        ("action", &args.action),
        ("subject", &args.subject),
    ];
    let pairs: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    let parts = ["v1", "admin", "exports", &name];
    let path = Path(&parts, &pairs);
    client::block_on(async {
        match &args.output {
            None => {
                client.download(path, &mut |bytes| print::chunk(bytes)).await?;
            }
            Some(file) => {
                let mut signals = StopSignals::listen()?;
                let mut part = PartialFile::create_beside(file)?;
                let mut write = |bytes: &[u8]| part.write(bytes);
                tokio::select! {
                    written = client.download(path, &mut write) => written?,
                    () = signals.wait() => {
                        let text = format!("interrupted; {} is not written", file.display());
                        return Err(Failure::Refused(text));
                    }
                }
                part.finish()?;
            }
        }
        Ok(CommandResult::Success)
    })
}

/// A file that is still being written. If `finish` does not succeed, the file is removed.
struct PartialFile {
    /// The path that the user requested. `finish` renames the file to this path.
    target: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
}

impl PartialFile {
    fn create_beside(file: &FilePath) -> anyhow::Result<Self> {
        let mut name = file.file_name().context("--output has no file name")?.to_owned();
        // With random names, two simultaneous exports with the same `--output` write different
        // files. The export that finishes last replaces the file of the other export.
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
        // After `finish`, no file has this name, so the removal fails without harm.
        let _ = std::fs::remove_file(&self.path);
    }
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
        one.write(b"a longer text than the other file").expect("the file is written");
        other.write(b"other").expect("the file is written");
        broken.write(b"broken").expect("the file is written");
        let read = || std::fs::read_to_string(&file).expect("the path exists");
        one.finish().expect("the file is finished");
        assert_eq!(read(), "a longer text than the other file");
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
