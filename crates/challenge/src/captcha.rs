//! The captcha: five characters, each bent, turned and sized at random. The characters stand close
//! together, and wavy lines cross them.

use tiny_skia::{Color, Path, PathBuilder};

use crate::canvas::Canvas;
use crate::glyphs::{EM, FACES, Glyph};
use crate::picture::{add_grain, colour, encode_rgb};
use crate::random::RandomSource;

/// Width of the picture, in pixels.
pub const CAPTCHA_WIDTH: u32 = 340;
/// Height of the picture, in pixels.
pub const CAPTCHA_HEIGHT: u32 = 110;
/// Characters in a captcha.
pub const CAPTCHA_CHARACTERS: usize = 5;

/// A picture with characters.
#[derive(Clone, Debug)]
pub struct Captcha {
    /// The picture, a PNG.
    pub png: Vec<u8>,
    /// The characters in the picture, as [`normalize_answer`] writes them.
    pub text: String,
}

/// Normalises an answer, so that it can be compared with [`Captcha::text`]: removes spaces, and
/// makes all letters lower case.
#[must_use]
pub fn normalize_answer(read: &str) -> String {
    read.chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .take(CAPTCHA_CHARACTERS + 1)
        .collect()
}

/// The distortion of one picture: a wave across and a wave down. Each wave has a height, a
/// frequency and a phase.
struct Waves {
    across: (f32, f32, f32),
    down: (f32, f32, f32),
}

impl Waves {
    fn new(random: &mut RandomSource) -> Self {
        let mut wave = |height, length| {
            (random.float(height), 6.3 / random.float(length), random.float(0.0..6.3))
        };
        Self { across: wave(2.0..4.0, 60.0..110.0), down: wave(1.5..3.0, 36.0..64.0) }
    }

    fn bend(&self, x: f32, y: f32) -> (f32, f32) {
        let ((a, per, at), (b, per_down, at_down)) = (self.across, self.down);
        (x + b * (y * per_down + at_down).sin(), y + a * (x * per + at).sin())
    }
}

/// Draws a captcha.
#[must_use]
pub fn draw_captcha(random: &mut RandomSource) -> Captcha {
    let mut canvas = Canvas::new(CAPTCHA_WIDTH, CAPTCHA_HEIGHT);
    let hue = random.float(0.0..1.0);
    let is_dark = random.coin();
    let light = |random: &mut RandomSource| {
        if is_dark { random.float(0.16..0.3) } else { random.float(0.74..0.88) }
    };
    let (from, to) = (light(random), light(random));
    let (top, bottom) = (colour(hue, 0.4, from, 1.0), colour(hue + 0.1, 0.4, to, 1.0));
    let paper = colour(hue + 0.05, 0.4, f32::midpoint(from, to), 1.0);
    canvas.fill_gradient(top, paper, bottom);
    let ink_light = if is_dark { random.float(0.68..0.8) } else { random.float(0.24..0.36) };
    let ink = colour(hue + random.float(0.3..0.7), 0.45, ink_light, 1.0);
    draw_noise(&mut canvas, random, ink);
    let waves = Waves::new(random);
    let text = draw_letters(&mut canvas, random, &waves, ink);
    for n in 0..4 {
        let (line, width) = if n < 2 { (ink, 2.0..3.2) } else { (paper, 1.6..2.4) };
        cross_out(&mut canvas, random, line, width);
    }
    add_grain(&mut canvas, random, 16);
    Captcha { png: encode_rgb(&canvas), text: normalize_answer(&text) }
}

fn draw_noise(canvas: &mut Canvas, random: &mut RandomSource, ink: Color) {
    for _ in 0..20 {
        let (x, y) =
            (random.float(0.0..CAPTCHA_WIDTH as f32), random.float(0.0..CAPTCHA_HEIGHT as f32));
        let mut reach = || random.float(-16.0..16.0);
        let (cx, cy, tx, ty) = (reach(), reach(), reach(), reach());
        let mut path = PathBuilder::new();
        path.move_to(x, y);
        path.quad_to(x + cx, y + cy, x + tx, y + ty);
        let mut faint = ink;
        faint.set_alpha(random.float(0.35..0.9));
        let width = random.float(1.0..3.2);
        if let Some(path) = path.finish() {
            canvas.stroke(&path, faint, width);
        }
    }
}

fn draw_letters(
    canvas: &mut Canvas,
    random: &mut RandomSource,
    waves: &Waves,
    ink: Color,
) -> String {
    let mut text = String::new();
    let mut x = random.float(16.0..30.0);
    for n in 0..CAPTCHA_CHARACTERS {
        let face = *random.pick(&FACES);
        let glyph = random.pick(face);
        text.push(glyph.character);
        // This character and those that follow share the remaining width equally.
        let room = (CAPTCHA_WIDTH as f32 - 16.0 - x) / (CAPTCHA_CHARACTERS - n) as f32;
        // Lower-case letters are lower than capitals, so they are enlarged to about the same
        // height.
        let size = random.float(62.0..74.0)
            * if glyph.character.is_ascii_lowercase() { 1.18 } else { 1.0 };
        let stretch = (room * random.float(0.98..1.12) / (f32::from(glyph.advance) / EM * size))
            .clamp(0.75, 1.2);
        let width = f32::from(glyph.advance) / EM * size * stretch;
        if let Some(path) = letter_path(glyph, random, waves, (x + width / 2.0, size, stretch)) {
            draw_letter(canvas, random, &path, ink);
        }
        x += width.min(room) * random.float(0.92..1.0);
    }
    text
}

/// Returns the outline of a character: sized, sheared and turned, then bent by the picture's waves.
/// `middle` is the distance from the picture's left edge to the character's centre.
fn letter_path(
    glyph: &Glyph,
    random: &mut RandomSource,
    waves: &Waves,
    (middle, size, stretch): (f32, f32, f32),
) -> Option<Path> {
    let (sin, cos) = random.float(-0.32..0.32).sin_cos();
    let shear = random.float(-0.25..0.25);
    let height = CAPTCHA_HEIGHT as f32 / 2.0 + random.float(-9.0..9.0);
    let half = f32::from(glyph.advance) / 2.0;
    // The middle of a lower-case letter is lower than the middle of a capital letter or a digit.
    let middle_y = if glyph.character.is_ascii_lowercase() { 560.0 } else { 740.0 };
    glyph.warped_path(|x, y| {
        let (x, y) = ((x - half) / EM * size * stretch, -(y - middle_y) / EM * size);
        let x = x + shear * y;
        let (x, y) = (x * cos - y * sin, x * sin + y * cos);
        waves.bend(middle + x, height + y)
    })
}

fn draw_letter(canvas: &mut Canvas, random: &mut RandomSource, path: &Path, ink: Color) {
    if random.int(0..3) > 0 {
        return canvas.fill(path, ink);
    }
    let mut wash = ink;
    wash.set_alpha(0.22);
    canvas.fill(path, wash);
    canvas.stroke(path, ink, random.float(2.2..3.0));
}

/// Draws a wavy line through all characters.
fn cross_out(
    canvas: &mut Canvas,
    random: &mut RandomSource,
    colour: Color,
    width: std::ops::Range<f32>,
) {
    let width = random.float(width);
    let mut y = random.float(24.0..CAPTCHA_HEIGHT as f32 - 24.0);
    let mut path = PathBuilder::new();
    path.move_to(-4.0, y);
    let mut x = -4.0;
    while x < CAPTCHA_WIDTH as f32 {
        let step = random.float(40.0..90.0);
        let to = (y + random.float(-38.0..38.0)).clamp(18.0, CAPTCHA_HEIGHT as f32 - 18.0);
        let bow = random.float(-26.0..26.0);
        path.quad_to(x + step / 2.0, f32::midpoint(y, to) + bow, x + step, to);
        (x, y) = (x + step, to);
    }
    if let Some(path) = path.finish() {
        canvas.stroke(&path, colour, width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::chunks;

    #[test]
    fn a_captcha_shows_five_unambiguous_characters() {
        let mut random = RandomSource::from_seed(1);
        for _ in 0..50 {
            let Captcha { png, text } = draw_captcha(&mut random);
            assert_eq!(text.len(), CAPTCHA_CHARACTERS);
            assert!(
                text.chars().all(|c| c.is_ascii_alphanumeric() && !"01568biloqsvz9g".contains(c)),
                "{text}"
            );
            assert_eq!(normalize_answer(&text.to_uppercase()), text);
            assert_eq!(chunks(&png), ["IHDR", "IDAT", "IEND"]);
            assert!(png.len() < 64 * 1_024, "{}", png.len());
        }
    }

    #[test]
    fn case_and_spaces_of_an_answer_are_ignored() {
        assert_eq!(normalize_answer(" K7q2M "), "k7q2m");
        assert_eq!(normalize_answer("k7 q2m"), "k7q2m");
        assert_eq!(normalize_answer(&"x".repeat(1_000)).len(), CAPTCHA_CHARACTERS + 1);
    }
}
