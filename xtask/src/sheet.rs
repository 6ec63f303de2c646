//! `cargo xtask sheet`: runs the browser tests that save a picture of every state of the pages.
//! Then it puts the pictures on large sheets, one group of sheets for each language, width and
//! colour scheme.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The folder for the pictures and sheets, below the repository's root.
const FOLDER: &str = "target/pages";
const TESTS: [&str; 3] = ["pages::axe::", "pages::product::", "pages::states::"];
/// The name of a picture begins with one of these words if it shows a page for the shop's staff,
/// and not for buyers.
const STAFF: [&str; 3] = ["console", "docs", "lab-"];
/// The width of a sheet. The picture of a page on a phone has a sixth of this width, and the
/// picture of a page on a desktop has a third.
const SHEET_PX: u32 = 2_160;
/// The space between two pictures.
const GAP_PX: u32 = 8;
/// The height of the name above each picture.
const CAPTION_PX: u32 = 32;
/// The maximum height of a sheet. Only a sheet with a single row may be higher.
const SHEET_HEIGHT_MAX_PX: u32 = 6_000;
/// A picture of at most this width shows a page on a phone.
const PHONE_PX: u32 = 480;

struct Picture {
    file: String,
    /// The picture's size on the sheet, in pixels.
    width: u32,
    height: u32,
}

pub(crate) fn run() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let folder = root.join(FOLDER);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let status = Command::new(env!("CARGO"))
        .args(["test", "-p", "doorbuster", "--test", "it", "--"])
        .args(TESTS)
        .env("DOORBUSTER_SHOTS", &folder)
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "the browser tests failed; the pictures are in {FOLDER}");
    let mut sheets: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        // The name of a picture ends with language, width and colour scheme, as in
        // `sold out-en-360-dark`.
        let mut parts = name.rsplitn(4, '-');
        if let (Some(scheme), Some(width), Some(lang)) = (parts.next(), parts.next(), parts.next())
        {
            let is_staff = STAFF.iter().any(|word| name.starts_with(word));
            let pages = if is_staff { "staff" } else { "buyers" };
            sheets.entry(format!("{pages}-{lang}-{width}-{scheme}")).or_default().push(path);
        }
    }
    for (name, mut paths) in sheets {
        paths.sort();
        let pictures = paths.iter().map(|path| picture(path)).collect::<Result<Vec<_>>>()?;
        for (n, rows) in split(pictures).into_iter().enumerate() {
            write_sheet(&folder, &format!("{name}-{}", n + 1), &rows)?;
        }
    }
    Ok(())
}

fn picture(path: &Path) -> Result<Picture> {
    let bytes = std::fs::read(path)?;
    let number = |at: usize| -> Result<u32> {
        let four = bytes.get(at..at + 4).context("a picture is empty")?;
        Ok(u32::from_be_bytes(four.try_into()?))
    };
    let (width_px, height_px) = (number(16)?, number(20)?);
    let columns = if width_px <= PHONE_PX { 6 } else { 3 };
    let width = SHEET_PX / columns - GAP_PX;
    let height = height_px * width / width_px.max(1);
    let file = path.file_name().and_then(|name| name.to_str());
    Ok(Picture {
        file: file.context("a picture has no valid file name")?.to_owned(),
        width,
        height,
    })
}

fn split(pictures: Vec<Picture>) -> Vec<Vec<Vec<Picture>>> {
    let mut sheets: Vec<Vec<Vec<Picture>>> = vec![vec![]];
    let (mut height, mut row) = (0, Vec::new());
    let count = pictures.len();
    for (n, picture) in pictures.into_iter().enumerate() {
        let columns = SHEET_PX / (picture.width + GAP_PX);
        row.push(picture);
        if u32::try_from(row.len()).is_ok_and(|len| len < columns) && n + 1 < count {
            continue;
        }
        let row_px = height_of(&row);
        if height + row_px > SHEET_HEIGHT_MAX_PX && height > 0 {
            sheets.push(vec![]);
            height = 0;
        }
        height += row_px;
        if let Some(sheet) = sheets.last_mut() {
            sheet.push(std::mem::take(&mut row));
        }
    }
    sheets
}

fn height_of(row: &[Picture]) -> u32 {
    row.iter().map(|picture| picture.height).max().unwrap_or_default() + CAPTION_PX + GAP_PX
}

/// Writes the page `sheet-{name}.html` with these rows of pictures, and makes Chromium save a
/// screenshot of this page as `sheet-{name}.png`.
fn write_sheet(folder: &Path, name: &str, rows: &[Vec<Picture>]) -> Result<()> {
    let mut page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>{name}</title><style>
body {{ margin: 0; background: #888; font: 12px/15px system-ui; }}
div {{ display: flex; align-items: start; gap: {GAP_PX}px; margin-block-end: {GAP_PX}px; }}
figure {{ margin: 0; background: #fff; }} img {{ display: block; }}
figcaption {{ block-size: {CAPTION_PX}px; overflow: hidden; }}
</style>\n"
    );
    for row in rows {
        page.push_str("<div>");
        for Picture { file, width, height } in row {
            let (address, caption) = (file.replace(' ', "%20"), caption(file));
            write!(
                page,
                "<figure style=\"inline-size: {width}px\"><figcaption>{caption}</figcaption>\
                 <img src=\"{address}\" width=\"{width}\" height=\"{height}\"></figure>"
            )?;
        }
        page.push_str("</div>\n");
    }
    let html = folder.join(format!("sheet-{name}.html"));
    std::fs::write(&html, page)?;
    let height: u32 = rows.iter().map(|row| height_of(row)).sum();
    let png = folder.join(format!("sheet-{name}.png"));
    let status = Command::new("chromium-headless-shell")
        .args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--window-size={SHEET_PX},{height}"))
        .arg(format!("--screenshot={}", png.display()))
        .arg(format!("file://{}", html.display()))
        .status()
        .context("chromium-headless-shell is not installed (Debian package of this name)")?;
    ensure!(status.success(), "the browser failed to draw {}", html.display());
    println!("{}", png.display());
    Ok(())
}

/// Returns the file name without language, width and colour scheme.
fn caption(file: &str) -> &str {
    file.rsplitn(4, '-').nth(3).unwrap_or(file)
}
