//! Bakes the outlines that pictures are lettered with out of TrueType files, so that the program
//! reads no font: `cargo xtask glyphs`.
//!
//! Reads only what DejaVu's files have: a character map of format 4 and simple outlines of
//! quadratic curves.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Characters that a picture may show. What looks like another one, small, turned or bent, is not
/// among them.
const CHARACTERS: &str = "2347ACDEFHJKNPRTUXYadekpxy";
/// The faces: names of the constants and of the files.
const FACES: [(&str, &str); 3] = [
    ("SANS", "DejaVuSans.ttf"),
    ("SANS_BOLD", "DejaVuSans-Bold.ttf"),
    ("SERIF_BOLD", "DejaVuSerif-Bold.ttf"),
];
/// Where the outlines are kept.
const OUTLINES: &str = "crates/challenge/src/glyphs/outlines.rs";

/// What the chore is told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where the fonts are; Debian's package is fonts-dejavu-core.
    #[arg(long, default_value = "/usr/share/fonts/truetype/dejavu")]
    fonts: PathBuf,
}

/// Writes the outlines anew.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies below the root")?;
    std::fs::write(root.join(OUTLINES), render_outlines(&arguments.fonts)?)
        .context("the outlines cannot be written")
}

fn render_outlines(fonts: &Path) -> Result<String> {
    let mut text = String::from(
        "//! Outlines of the characters that pictures show, in units of which 2,048 make an em, y upwards: from DejaVu, under the licence beside this file.\n\
         //! Made by `cargo xtask glyphs`; not to be written by hand.\n\n\
         use super::Glyph;\nuse super::Step::{L, M, Q};\n",
    );
    for (name, file) in FACES {
        let path = fonts.join(file);
        let bytes =
            std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let font = Font(&bytes);
        write!(
            text,
            "\n/// {file}\n#[rustfmt::skip]\npub(super) const {name}: &[Glyph] = &[\n",
            file = file.trim_end_matches(".ttf")
        )?;
        for character in CHARACTERS.chars() {
            let glyph = font.glyph(character)?;
            let steps = font.outline(glyph).with_context(|| format!("{character:?} of {file}"))?;
            let advance = font.advance(glyph)?;
            writeln!(
                text,
                "    Glyph {{ shows: {character:?}, advance: {advance}, outline: &[{}] }},",
                steps.join(", ")
            )?;
        }
        text.push_str("];\n");
    }
    Ok(text)
}

/// A TrueType file.
struct Font<'a>(&'a [u8]);

impl Font<'_> {
    fn u16(&self, at: usize) -> Result<u16> {
        let bytes = self.0.get(at..at + 2).context("the file ends too early")?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn i16(&self, at: usize) -> Result<i16> {
        Ok(self.u16(at)?.cast_signed())
    }

    fn u32(&self, at: usize) -> Result<usize> {
        Ok(usize::from(self.u16(at)?) << 16 | usize::from(self.u16(at + 2)?))
    }

    fn u8(&self, at: usize) -> Result<u8> {
        self.0.get(at).copied().context("the file ends too early")
    }

    fn table(&self, name: &[u8; 4]) -> Result<usize> {
        for n in 0..usize::from(self.u16(4)?) {
            let at = 12 + 16 * n;
            if self.0.get(at..at + 4) == Some(name) {
                return self.u32(at + 8);
            }
        }
        anyhow::bail!("there is no table {}", String::from_utf8_lossy(name))
    }

    /// The number of a character's glyph.
    fn glyph(&self, character: char) -> Result<usize> {
        let cmap = self.table(b"cmap")?;
        let tables = (0..usize::from(self.u16(cmap + 2)?)).map(|n| cmap + 4 + 8 * n);
        for entry in tables {
            let map = cmap + self.u32(entry + 4)?;
            if (self.u16(entry)?, self.u16(entry + 2)?, self.u16(map)?) == (3, 1, 4) {
                return self.glyph_in(map, u32::from(character));
            }
        }
        anyhow::bail!("there is no character map of format 4")
    }

    fn glyph_in(&self, map: usize, code: u32) -> Result<usize> {
        let twice = usize::from(self.u16(map + 6)?);
        for n in 0..twice / 2 {
            let (end, start) = (map + 14 + 2 * n, map + 16 + twice + 2 * n);
            if u32::from(self.u16(end)?) < code || code < u32::from(self.u16(start)?) {
                continue;
            }
            let (delta, range) = (start + twice, start + 2 * twice);
            let offset = usize::from(self.u16(range)?);
            let delta = usize::from(self.u16(delta)?);
            let glyph = match offset {
                0 => code as usize,
                _ => usize::from(
                    self.u16(range + offset + 2 * (code as usize - usize::from(self.u16(start)?)))?,
                ),
            };
            return Ok((glyph + delta) & 0xffff);
        }
        anyhow::bail!("the font does not have it")
    }

    /// How far the next character stands.
    fn advance(&self, glyph: usize) -> Result<u16> {
        let wide = usize::from(self.u16(self.table(b"hhea")? + 34)?);
        self.u16(self.table(b"hmtx")? + 4 * glyph.min(wide - 1))
    }

    /// The steps of a pen along the outline.
    fn outline(&self, glyph: usize) -> Result<Vec<String>> {
        let (loca, long) = (self.table(b"loca")?, self.u16(self.table(b"head")? + 50)? == 1);
        let place = if long {
            self.u32(loca + 4 * glyph)?
        } else {
            2 * usize::from(self.u16(loca + 2 * glyph)?)
        };
        let at = self.table(b"glyf")? + place;
        let contours = self.i16(at)?;
        ensure!(contours > 0, "it is put together of others, or empty");
        let contours = contours as usize;
        let mut ends = Vec::new();
        for n in 0..contours {
            ends.push(usize::from(self.u16(at + 10 + 2 * n)?));
        }
        let points = self.points(at + 10 + 2 * contours, ends[contours - 1] + 1)?;
        let mut steps = Vec::new();
        let mut from = 0;
        for end in ends {
            contour(&points[from..=end], &mut steps);
            from = end + 1;
        }
        Ok(steps)
    }

    /// The points, and whether each lies on the curve.
    fn points(&self, mut at: usize, count: usize) -> Result<Vec<(i32, i32, bool)>> {
        at += 2 + usize::from(self.u16(at)?);
        let mut flags = Vec::new();
        while flags.len() < count {
            let flag = self.u8(at)?;
            at += 1;
            let mut times = 1;
            if flag & 8 != 0 {
                times += self.u8(at)?;
                at += 1;
            }
            flags.extend((0..times).map(|_| flag));
        }
        let mut axis = |short: u8, same: u8| {
            let mut here = 0;
            let mut all = Vec::new();
            for flag in &flags {
                if flag & short != 0 {
                    let by = i32::from(self.u8(at)?);
                    at += 1;
                    here += if flag & same != 0 { by } else { -by };
                } else if flag & same == 0 {
                    here += i32::from(self.i16(at)?);
                    at += 2;
                }
                all.push(here);
            }
            anyhow::Ok(all)
        };
        let (x, y) = (axis(2, 16)?, axis(4, 32)?);
        Ok((0..count).map(|n| (x[n], y[n], flags[n] & 1 != 0)).collect())
    }
}

/// Walks one closed curve: two control points in a row have a point of the curve half-way between
/// them.
fn contour(points: &[(i32, i32, bool)], steps: &mut Vec<String>) {
    let start = points.iter().position(|p| p.2).unwrap_or(0);
    let (x, y, _) = points[start];
    steps.push(format!("M({x}, {y})"));
    let mut control: Option<(i32, i32)> = None;
    for n in 1..=points.len() {
        let (x, y, on) = points[(start + n) % points.len()];
        match (control, on) {
            (None, true) => steps.push(format!("L({x}, {y})")),
            (None, false) => control = Some((x, y)),
            (Some((cx, cy)), true) => {
                steps.push(format!("Q({cx}, {cy}, {x}, {y})"));
                control = None;
            }
            (Some((cx, cy)), false) => {
                steps.push(format!("Q({cx}, {cy}, {}, {})", (cx + x) / 2, (cy + y) / 2));
                control = Some((x, y));
            }
        }
    }
}
