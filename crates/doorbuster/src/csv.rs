//! `csv`: exports lists from a running server.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path as FilePath, PathBuf};

use anyhow::Context;
use doorbuster_api::admin::export::Export;

use crate::cli::CsvArgs;
use crate::client::{self, Client, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::print;
use crate::signals::StopSignals;

const NEW_MODE: u32 = 0o600;
const STDOUT: u32 = 1;
/// The maximum number of symbolic links that are followed for a path, the same as in Linux.
const LINKS_MAX: usize = 40;
const MODE_BITS: u32 = 0o777;

/// Runs `csv`.
pub fn run(args: &CsvArgs) -> Outcome {
    if args.server.json {
        return Err(Failure::Settings("csv cannot write JSON; leave out --json".into()));
    }
    let filters = [("--by", &args.by), ("--action", &args.action), ("--subject", &args.subject)];
    let unused = filters.iter().find(|(_, value)| value.is_some());
    if let (Some((option, _)), false) = (unused, args.list == Export::Actions) {
        return Err(Failure::Settings(format!(
            "only the list `actions` accepts {option}; leave it out"
        )));
    }
    let client = Client::new(&args.server)?;
    let name = format!("{}.csv", args.list.as_str());
    let parts = ["exports", &name];
    let path = Path::admin(&parts)
        .with("sale", args.sale.as_deref())
        .with("by", args.by.as_deref())
        .with("action", args.action.as_deref())
        .with("subject", args.subject.as_deref());
    client::block_on(async {
        // For `/dev/stdout`, the export uses the open descriptor 1. A second descriptor for the
        // same file would have its own file position, and could overwrite earlier output.
        let file = args.output.as_ref().filter(|file| descriptor(file) != Some(STDOUT));
        match file {
            None => {
                client.download(path, &mut |bytes| print::chunk(bytes)).await?;
            }
            Some(file) => match open_special(file)? {
                Some(mut special) => {
                    let mut write = |bytes: &[u8]| write_all(&mut special, bytes, file);
                    client.download(path, &mut write).await?;
                }
                None => download_to_file(&client, path, file).await?,
            },
        }
        Ok(CommandResult::Success)
    })
}

/// Downloads into a file. A signal stops the download and removes the incomplete file.
async fn download_to_file(client: &Client, path: Path<'_>, file: &FilePath) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let mut part = PartialFile::create(file)?;
    let mut write = |bytes: &[u8]| part.write(bytes);
    tokio::select! {
        written = client.download(path, &mut write) => written?,
        () = signals.wait() => {
            let text = format!("interrupted; {} is not written", file.display());
            return Err(Failure::Refused(text));
        }
    }
    Ok(part.finish()?)
}

/// Opens a device or a pipe. Returns `None` for every other path.
///
/// Refuses a regular file that this process has open, such as `/dev/fd/3`. The export would have
/// its own file position, so later output to that descriptor would replace a part of the export.
fn open_special(file: &FilePath) -> Result<Option<File>, Failure> {
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(None) };
    if !metadata.is_file() {
        let open = File::options().write(true).open(file);
        return Ok(open.map(Some).with_context(|| format!("cannot write {}", file.display()))?);
    }
    if descriptor(file).is_some() {
        let text = format!(
            "{} is a file that this process has open; use /dev/stdout, or name another file",
            file.display()
        );
        return Err(Failure::Settings(text));
    }
    Ok(None)
}

/// Returns the number of the open file that a path names: 1 for `/dev/stdout`, and 3 for
/// `/dev/fd/3`. Returns `None` if the path names no open file of this process.
fn descriptor(file: &FilePath) -> Option<u32> {
    let mut path = std::path::absolute(file).ok()?;
    for _ in 0..LINKS_MAX {
        let folder = std::fs::canonicalize(path.parent()?).ok()?;
        let name = path.file_name()?;
        let is_own = |own: &str| std::fs::canonicalize(own).is_ok_and(|own| own == folder);
        if is_own("/proc/self/fd") || is_own("/dev/fd") {
            return name.to_str()?.parse().ok();
        }
        path = folder.join(std::fs::read_link(folder.join(name)).ok()?);
    }
    None
}

fn write_all(to: &mut impl Write, bytes: &[u8], file: &FilePath) -> anyhow::Result<bool> {
    to.write_all(bytes).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(true)
}

fn follow_link(file: &FilePath) -> PathBuf {
    let Ok(link) = std::fs::read_link(file) else { return file.to_owned() };
    // `canonicalize` fails if the target of the link does not exist. In this case, the function
    // follows only this one link.
    std::fs::canonicalize(file).unwrap_or_else(|_| file.with_file_name("").join(link))
}

/// A regular file that is still being written. If `finish` does not succeed, the file is removed.
struct PartialFile {
    /// The path that the user requested, without symbolic links.
    target: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
}

impl PartialFile {
    /// Creates the partial file in the directory of the target. If the target exists, the partial
    /// file gets the target's mode. If there is no target, only the owner can read the partial
    /// file, because the export can contain personal data.
    fn create(file: &FilePath) -> anyhow::Result<Self> {
        let target = follow_link(file);
        let mut name = target.file_name().context("--output has no file name")?.to_owned();
        // Two simultaneous exports with the same `--output` must write different partial files.
        name.push(format!(".{:016x}.part", rand::random::<u64>()));
        let path = target.with_file_name(name);
        let create = || {
            let open = File::options().write(true).create_new(true).mode(NEW_MODE).open(&path)?;
            if let Ok(replaced) = std::fs::metadata(&target) {
                let mode = replaced.permissions().mode() & MODE_BITS;
                // If the file system has no modes, the file is written anyway.
                let _ = open.set_permissions(Permissions::from_mode(mode));
            }
            Ok::<_, std::io::Error>(open)
        };
        let open = create().with_context(|| {
            let folder = target
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .unwrap_or(FilePath::new("."));
            format!(
                "cannot write {}: cannot create a file in the directory {}",
                file.display(),
                folder.display()
            )
        })?;
        Ok(Self { target, path, file: BufWriter::new(open) })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        write_all(&mut self.file, bytes, &self.target)
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
        let begin = || PartialFile::create(&file).expect("a partial file");
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

    #[test]
    fn an_export_keeps_links_modes_and_devices() {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-books-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a random name is free");
        let (file, link) = (dir.join("orders.csv"), dir.join("link.csv"));
        std::os::unix::fs::symlink("orders.csv", &link).expect("a free name");
        let mode = || std::fs::metadata(&file).expect("the path exists").permissions().mode();
        // The link points to no file at first.
        for (text, expected) in [("first", NEW_MODE), ("second", 0o640)] {
            if file.exists() {
                let mode = Permissions::from_mode(expected);
                std::fs::set_permissions(&file, mode).expect("the test owns the file");
            }
            assert!(open_special(&link).expect("no error").is_none());
            let mut part = PartialFile::create(&link).expect("a partial file");
            part.write(text.as_bytes()).expect("the file is written");
            part.finish().expect("the file is finished");
            assert!(link.is_symlink(), "the link is replaced");
            assert_eq!(std::fs::read_to_string(&file).expect("the path exists"), text);
            assert_eq!(mode() & MODE_BITS, expected);
        }
        assert!(open_special(FilePath::new("/dev/null")).expect("writable").is_some());
        std::fs::remove_dir_all(&dir).expect("the directory is removed");
    }
}
