//! The sliding puzzle: a picture with several gaps, and the piece that fits one of them by its form, and by nothing else.

use tiny_skia::{Path, PathBuilder, Transform};

use crate::canvas::Canvas;
use crate::chance::Chance;
use crate::picture::{colour, grain, opaque, with_holes};

mod scene;

/// Width of the picture, in pixels.
pub const PUZZLE_WIDTH: u32 = 340;
/// Height of the picture, in pixels.
pub const PUZZLE_HEIGHT: u32 = 170;
/// Width and height of the piece's file, in pixels; the piece does not fill it.
pub const PIECE_SIDE: u32 = 68;
/// How far beside its gap a piece still counts as in place, in pixels.
pub const TOLERANCE_PX: u16 = 5;

const SIDE: i32 = PIECE_SIDE as i32;
/// Side of a piece without its tongues.
const BODY: f32 = 44.0;
/// Radius of a tongue or notch.
const TONGUE: f32 = 7.5;
/// Room round the body in the piece's file.
const MARGIN: f32 = (PIECE_SIDE as f32 - BODY) / 2.0;
/// Gaps in a picture: one that fits and others that do not.
const GAPS: usize = 3;
/// The piece starts at the left; its gap is not there.
const X_MIN: i32 = 60;
const X_MAX: i32 = PUZZLE_WIDTH as i32 - PIECE_SIDE as i32 - 2;
/// How strong the grain is.
const GRAIN: u8 = 18;
/// Gaps do not touch.
const APART: i32 = 66;

const _: () = assert!(X_MIN + (GAPS as i32 - 1) * APART < X_MAX, "there is room for every gap");

/// A picture with gaps, and a piece.
#[derive(Clone, Debug)]
pub struct Puzzle {
    /// The picture, a PNG.
    pub background: Vec<u8>,
    /// The piece, a PNG of [`PIECE_SIDE`] by [`PIECE_SIDE`] that is clear where the piece is not.
    pub piece: Vec<u8>,
    /// How far down the piece's file lies on the picture.
    pub piece_y: u16,
    /// How far from the left it lies when the piece is in its gap: the answer.
    pub x: u16,
}

/// Whether a piece put at `at` is in the gap at `x`.
#[must_use]
pub fn is_in_place(at: u32, x: u16) -> bool {
    at.abs_diff(x.into()) <= TOLERANCE_PX.into()
}

/// What is at one side of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Straight,
    Tongue,
    Notch,
}

/// The form of a piece: its four sides and how far along each its tongue sits.
#[derive(Clone, Debug, PartialEq)]
struct Form([(Side, f32); 4]);

impl Form {
    fn draw(chance: &mut Chance) -> Self {
        let mut sides = [Side::Tongue, Side::Notch, *chance.pick(&[Side::Tongue, Side::Notch]), Side::Straight];
        chance.shuffle(&mut sides);
        Self(sides.map(|side| (side, chance.float(0.36..0.64))))
    }

    /// Another form: two of its sides differ so that a person sees it; the others are just as they are here, so that a template likes it.
    fn other(&self, chance: &mut Chance) -> Self {
        let mut places = [0, 1, 2, 3];
        chance.shuffle(&mut places);
        let mut form = self.clone();
        for &n in &places[..2] {
            let (side, along) = self.0[n];
            let others = match side {
                Side::Straight => [Side::Tongue, Side::Notch],
                Side::Tongue => [Side::Straight, Side::Notch],
                Side::Notch => [Side::Straight, Side::Tongue],
            };
            form.0[n] = (*chance.pick(&others), along);
        }
        form
    }

    /// Nearly the same form: its tongues sit a little elsewhere. A person does not mind; a template does.
    fn like(&self, chance: &mut Chance) -> Self {
        Self(self.0.map(|(side, along)| (side, (along + chance.float(-0.15..0.15)).clamp(0.3, 0.7))))
    }

    /// Its outline with the corner of its file at `(x, y)`.
    fn path(&self, x: f32, y: f32) -> Path {
        let mut path = PathBuilder::new();
        let (left, top) = (x + MARGIN, y + MARGIN);
        let corners = [(left, top), (left + BODY, top), (left + BODY, top + BODY), (left, top + BODY)];
        path.move_to(left, top);
        for (n, &(side, along)) in self.0.iter().enumerate() {
            let (from, to) = (corners[n], corners[(n + 1) % 4]);
            let (ux, uy) = ((to.0 - from.0) / BODY, (to.1 - from.1) / BODY);
            // Outwards is to the left of the way round.
            let out = match side {
                Side::Straight => 0.0,
                Side::Tongue => 1.0,
                Side::Notch => -1.0,
            };
            if out != 0.0 {
                let (mx, my) = (from.0 + ux * BODY * along, from.1 + uy * BODY * along);
                let (nx, ny) = (uy * out, -ux * out);
                // Three quarters of a circle whose middle lies half a radius out.
                for step in 0..=16 {
                    let angle = -2.35 + 4.7 * step as f32 / 16.0;
                    let (sin, cos) = angle.sin_cos();
                    let (a, b) = (TONGUE * sin, TONGUE * (0.6 + cos));
                    path.line_to(mx + ux * a + nx * b, my + uy * a + ny * b);
                }
            }
            path.line_to(to.0, to.1);
        }
        path.close();
        path.finish().expect("it has an area")
    }
}

/// Draws a puzzle.
#[must_use]
pub fn draw_puzzle(chance: &mut Chance) -> Puzzle {
    let mut picture = Canvas::new(PUZZLE_WIDTH, PUZZLE_HEIGHT);
    scene::draw(&mut picture, chance);
    let form = Form::draw(chance);
    let y = chance.int(2..(PUZZLE_HEIGHT - PIECE_SIDE) as i32 - 2);
    let places = places(chance);
    // From anywhere: were it what stood in the gap, colours would go on across its rim, and a robot sees that better than a person.
    let anywhere = (chance.int(0..PUZZLE_WIDTH as i32 - SIDE), chance.int(0..PUZZLE_HEIGHT as i32 - SIDE));
    let piece = cut(&picture, &form, anywhere, chance);
    let whole = picture.pixels.clone();
    for (n, &x) in places.iter().enumerate() {
        let gap = if n == 0 { form.like(chance) } else { form.other(chance) };
        let path = gap.path(x as f32, y as f32).transform(askew(x, y, chance)).expect("it stays within the picture");
        hollow(&mut picture, &whole, &path, chance);
    }
    scene::clutter(&mut picture, chance, y as f32, (y + PIECE_SIDE as i32) as f32);
    grain(&mut picture, chance, GRAIN);
    Puzzle {
        background: opaque(&picture),
        piece: with_holes(&piece),
        piece_y: u16::try_from(y).expect("it lies within the picture"),
        x: u16::try_from(places[0]).expect("it lies within the picture"),
    }
}

/// Where gaps are; the first is the one that fits, and no place is likelier for it than another.
fn places(chance: &mut Chance) -> [i32; GAPS] {
    let spare = X_MAX - X_MIN - (GAPS as i32 - 1) * APART;
    let mut shifts = [(); GAPS].map(|()| chance.int(0..spare + 1));
    shifts.sort_unstable();
    let mut n = 0;
    let mut places = shifts.map(|shift| {
        n += 1;
        X_MIN + shift + (n - 1) * APART
    });
    chance.shuffle(&mut places);
    places
}

/// The piece, cut out before the gaps are made: a little lighter or darker than where it came from.
fn cut(picture: &Canvas, form: &Form, (x, y): (i32, i32), chance: &mut Chance) -> Canvas {
    let mut piece = Canvas::new(PIECE_SIDE, PIECE_SIDE);
    let (x, y) = (usize::try_from(x).expect("from the left"), usize::try_from(y).expect("from the top"));
    for (row, to) in piece.pixels.chunks_exact_mut(PIECE_SIDE as usize).enumerate() {
        let from = (y + row) * picture.width + x;
        to.copy_from_slice(&picture.pixels[from..from + PIECE_SIDE as usize]);
    }
    let outline = form.path(0.0, 0.0);
    let tint = colour(0.0, 0.0, if chance.coin() { 0.0 } else { 1.0 }, chance.float(0.0..0.1));
    piece.fill(&outline, tint);
    grain(&mut piece, chance, GRAIN);
    piece.keep(&outline);
    piece.stroke(&outline, colour(0.0, 0.0, 1.0, 0.85), 1.6);
    piece
}

/// Turned and sized a little round its middle, which stays where it is.
fn askew(x: i32, y: i32, chance: &mut Chance) -> Transform {
    let (middle_x, middle_y) = (x as f32 + PIECE_SIDE as f32 / 2.0, y as f32 + PIECE_SIDE as f32 / 2.0);
    let size = chance.float(0.92..1.06);
    Transform::from_rotate_at(chance.float(-10.0..10.0), middle_x, middle_y)
        .pre_concat(Transform::from_translate(middle_x, middle_y))
        .pre_scale(size, size)
        .pre_translate(-middle_x, -middle_y)
}

/// A gap: what lies elsewhere in the picture, darker or lighter, more or less so by chance. What was there before is not seen through it.
fn hollow(picture: &mut Canvas, whole: &[[u8; 4]], path: &Path, chance: &mut Chance) {
    let shift = (chance.int(40..300).unsigned_abs() as usize, chance.int(10..90).unsigned_abs() as usize);
    picture.fill_from(path, whole, shift);
    let light = if chance.coin() { 0.0 } else { 1.0 };
    picture.fill(path, colour(0.0, 0.0, light, chance.float(0.24..0.55)));
    let rim = colour(0.0, 0.0, if chance.coin() { 0.0 } else { 1.0 }, chance.float(0.15..0.4));
    picture.stroke(path, rim, chance.float(1.0..2.2));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::chunks;

    #[test]
    fn the_piece_fits_its_gap_and_files_tell_nothing() {
        let mut chance = Chance::repeatable(5);
        for _ in 0..50 {
            let Puzzle { background, piece, piece_y, x } = draw_puzzle(&mut chance);
            assert!((X_MIN..=X_MAX).contains(&i32::from(x)), "{x}");
            assert!(u32::from(piece_y) + PIECE_SIDE <= PUZZLE_HEIGHT);
            for file in [&background, &piece] {
                assert_eq!(chunks(file), ["IHDR", "IDAT", "IEND"]);
            }
            assert!(background.len() < 160 * 1_024 && piece.len() < 24 * 1_024);
        }
    }

    #[test]
    fn gaps_do_not_touch_and_every_place_is_as_likely() {
        let mut chance = Chance::repeatable(6);
        let mut thirds = [0; 3];
        for _ in 0..3_000 {
            let places = places(&mut chance);
            let mut sorted = places;
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|w| w[1] - w[0] >= APART), "{sorted:?}");
            assert!(sorted[0] >= X_MIN && sorted[2] <= X_MAX, "{sorted:?}");
            thirds[sorted.iter().position(|x| *x == places[0]).expect("it is one of them")] += 1;
        }
        assert!(thirds.iter().all(|n| (900..1_100).contains(n)), "{thirds:?}");
    }

    #[test]
    fn a_place_is_right_within_the_tolerance() {
        let within = u32::from(TOLERANCE_PX);
        assert!(is_in_place(100, 100) && is_in_place(100 - within, 100) && is_in_place(100 + within, 100));
        assert!(!is_in_place(99 - within, 100) && !is_in_place(101 + within, 100) && !is_in_place(u32::MAX, 100));
    }
}
