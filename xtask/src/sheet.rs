//! `cargo xtask sheet`: takes pictures of every state of the pages, and makes one sheet that shows
//! all of them.
//!
//! The browser tests of accessibility visit the states, and save a picture of each state if a
//! variable names a folder. This task runs these tests. Then it writes a page with all pictures,
//! and one picture of that page for each language, width and colour scheme.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder for the pictures and sheets, below the repository's root.
const FOLDER: &str = "target/pages";
/// The width of a picture on a sheet, and how many pictures are in a row.
const CELL_PX: u32 = 240;
const COLUMNS: u32 = 8;
/// The height of a row. Longer pictures are cut off.
const ROW_PX: u32 = 560;

pub(crate) fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let folder = root.join(FOLDER);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let status = Command::new(env!("CARGO"))
        .args([
            "test",
            "-p",
            "doorbuster",
            "--test",
            "it",
            "--",
            "pages::axe::",
            "pages::product::",
        ])
        .env("DOORBUSTER_SHOTS", &folder)
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "the browser tests failed; the pictures are in {FOLDER}");
    let mut sheets: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        // The name ends with language, width and colour scheme: `sold out-en-360-dark`.
        let mut parts = name.rsplitn(4, '-');
        if let (Some(scheme), Some(width), Some(lang)) = (parts.next(), parts.next(), parts.next())
        {
            sheets.entry(format!("{lang}-{width}-{scheme}")).or_default().push(path);
        }
    }
    for (name, mut pictures) in sheets {
        pictures.sort();
        write_sheet(&folder, &name, &pictures)?;
    }
    Ok(())
}

/// Writes `sheet-{name}.html`, and with Chromium `sheet-{name}.png`.
fn write_sheet(folder: &Path, name: &str, pictures: &[PathBuf]) -> Result<()> {
    let mut page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>{name}</title><style>
body {{ margin: 0; padding: 8px; background: #888; font: 12px system-ui; display: grid; gap: 8px;
  grid-template-columns: repeat({COLUMNS}, {CELL_PX}px); }}
figure {{ margin: 0; block-size: {ROW_PX}px; overflow: hidden; background: #fff; }}
img {{ inline-size: 100%; }}
</style>\n"
    );
    for picture in pictures {
        let file = picture
            .file_name()
            .and_then(|name| name.to_str())
            .context("a picture has no valid file name")?;
        let address = file.replace(' ', "%20");
        writeln!(page, "<figure><figcaption>{file}</figcaption><img src=\"{address}\"></figure>")?;
    }
    let html = folder.join(format!("sheet-{name}.html"));
    std::fs::write(&html, page)?;
    let rows = u32::try_from(pictures.len())?.div_ceil(COLUMNS);
    let (width, height) = (COLUMNS * (CELL_PX + 8) + 8, rows * (ROW_PX + 8) + 8);
    let png = folder.join(format!("sheet-{name}.png"));
    let status = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", png.display()))
        .arg(format!("file://{}", html.display()))
        .status()
        .context("chromium is not installed (Debian package: chromium)")?;
    ensure!(status.success(), "chromium failed to draw {}", html.display());
    println!("{}", png.display());
    Ok(())
}
