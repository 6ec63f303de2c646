//! The sliding puzzle: a picture with several gaps, and the piece that fits one of them by its form, and by nothing else.

use std::f32::consts::TAU;
use std::ops::Range;

use tiny_skia::{Path, PathBuilder, Point, Transform};

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
/// Radius of a tongue or notch, of which a gap's is so many parts.
const TONGUE: f32 = 7.5;
const WORN: Range<f32> = 0.8..1.15;
/// Into how many pieces a tongue's circle is cut.
const ROUND: usize = 12;
/// How far a gap's outline is bent at most.
const BEND: f32 = 3.0;
/// Into how many pieces a straight part of an outline is cut, so that it can be bent.
const STEPS: usize = 3;
/// Gaps in a picture: one that fits and others that do not.
const GAPS: usize = 3;
/// The piece starts at the left; its gap is not there.
const X_MIN: i32 = 60;
const X_MAX: i32 = PUZZLE_WIDTH as i32 - PIECE_SIDE as i32 - 2;
/// How strong the grain is.
const GRAIN: u8 = 18;
/// How much darker or lighter a gap is, and how clear its rim: enough for a person to see each side at once.
const TINT: Range<f32> = 0.36..0.6;
const RIM: Range<f32> = 0.2..0.4;
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

/// What may be at one side of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Straight,
    Tongue,
    Notch,
}

impl Side {
    fn other(self, chance: &mut Chance) -> Self {
        *chance.pick(match self {
            Self::Straight => &[Self::Tongue, Self::Notch],
            Self::Tongue => &[Self::Straight, Self::Notch],
            Self::Notch => &[Self::Straight, Self::Tongue],
        })
    }
}

/// A side of a piece: what is at it, how far along it sits, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Edge {
    side: Side,
    along: f32,
    radius: f32,
}

/// The form of a piece: its four sides.
#[derive(Clone, Debug, PartialEq)]
struct Form([Edge; 4]);

impl Form {
    fn draw(chance: &mut Chance) -> Self {
        let mut sides =
            [Side::Tongue, Side::Notch, *chance.pick(&[Side::Tongue, Side::Notch]), Side::Straight];
        chance.shuffle(&mut sides);
        Self(sides.map(|side| Edge { side, along: chance.float(0.36..0.64), radius: TONGUE }))
    }

    /// Another form: one of its sides differs so that a person sees it. All four have to be read to tell.
    fn other(&self, chance: &mut Chance) -> Self {
        let mut form = self.clone();
        let n = *chance.pick(&[0, 1, 2, 3]);
        form.0[n].side = form.0[n].side.other(chance);
        form
    }

    /// Nearly the same form: its tongues sit a little elsewhere, and are a little larger or smaller. A person does not mind; a template does. Every gap is
    /// worn like this, or how much it is would tell which one fits.
    fn like(&self, chance: &mut Chance) -> Self {
        Self(self.0.map(|edge| Edge {
            side: edge.side,
            along: (edge.along + chance.float(-0.15..0.15)).clamp(0.3, 0.7),
            radius: TONGUE * chance.float(WORN),
        }))
    }

    /// Its outline, seen from its middle.
    fn outline(&self) -> Vec<Point> {
        let side = |(n, edge): (usize, &Edge)| {
            let straight = |from: f32, to: f32| {
                (0..STEPS)
                    .map(move |k| on_side(n, from + (to - from) * k as f32 / STEPS as f32, 0.0))
            };
            let middle = BODY * edge.along;
            // Where a tongue begins and ends.
            let (from, to) = (middle - edge.radius * 0.7, middle + edge.radius * 0.7);
            straight(0.0, from).chain(edge.bump(n)).chain(straight(to, BODY)).collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(side).collect()
    }
}

impl Edge {
    /// What is at side `n`: three quarters of a circle whose middle lies half a radius out.
    fn bump(&self, n: usize) -> Vec<Point> {
        let out = match self.side {
            Side::Straight => return Vec::new(),
            Side::Tongue => self.radius,
            Side::Notch => -self.radius,
        };
        let step = |step: usize| {
            let (sin, cos) = (-2.35 + 4.7 * step as f32 / ROUND as f32).sin_cos();
            on_side(n, BODY * self.along + self.radius * sin, out * (0.6 + cos))
        };
        (0..=ROUND).map(step).collect()
    }
}

/// A place on side `n`, counted clockwise from the top, so far along and so far outwards; seen from the middle of the piece.
fn on_side(n: usize, along: f32, out: f32) -> Point {
    let (x, y) = (along - BODY / 2.0, -BODY / 2.0 - out);
    let (x, y) = [(x, y), (-y, x), (-x, -y), (y, -x)][n];
    Point::from_xy(x, y)
}

/// How a gap lies in the picture: bent, turned and sized a little, round its middle.
struct Pose {
    place: Transform,
    /// How far it is bent and where, across and down.
    bends: [(f32, f32); 2],
}

impl Pose {
    /// Upright, with the corner of the piece's file at `(x, y)`.
    fn upright(x: i32, y: i32) -> Self {
        let half = PIECE_SIDE as f32 / 2.0;
        Self {
            place: Transform::from_translate(x as f32 + half, y as f32 + half),
            bends: [(0.0, 0.0); 2],
        }
    }

    fn askew(x: i32, y: i32, chance: &mut Chance) -> Self {
        let size = chance.float(0.92..1.06);
        let place =
            Self::upright(x, y).place.pre_concat(Transform::from_rotate(chance.float(-10.0..10.0)));
        let bends = [(); 2].map(|()| (chance.float(-BEND..BEND), chance.float(0.0..TAU)));
        Self { place: place.pre_scale(size, size), bends }
    }

    /// The outline of a form that lies like this.
    fn path(&self, form: &Form) -> Path {
        let [across, down] = self.bends;
        // A wave as long as a body, so that its middle stays where it is.
        let bent = |(far, from): (f32, f32), at: f32| far * (from + at * TAU / BODY).sin();
        let mut path = PathBuilder::new();
        for (n, point) in form.outline().into_iter().enumerate() {
            let mut at =
                Point::from_xy(point.x + bent(across, point.y), point.y + bent(down, point.x));
            self.place.map_point(&mut at);
            if n == 0 { path.move_to(at.x, at.y) } else { path.line_to(at.x, at.y) }
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
    let anywhere =
        (chance.int(0..PUZZLE_WIDTH as i32 - SIDE), chance.int(0..PUZZLE_HEIGHT as i32 - SIDE));
    let piece = cut(&picture, &form, anywhere, chance);
    let whole = picture.pixels.clone();
    for (n, &x) in places.iter().enumerate() {
        let gap = if n == 0 { form.clone() } else { form.other(chance) }.like(chance);
        hollow(&mut picture, &whole, &Pose::askew(x, y, chance).path(&gap), chance);
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
    let (x, y) =
        (usize::try_from(x).expect("from the left"), usize::try_from(y).expect("from the top"));
    for (row, to) in piece.pixels.chunks_exact_mut(PIECE_SIDE as usize).enumerate() {
        let from = (y + row) * picture.width + x;
        to.copy_from_slice(&picture.pixels[from..from + PIECE_SIDE as usize]);
    }
    let outline = Pose::upright(0, 0).path(form);
    let tint = colour(0.0, 0.0, if chance.coin() { 0.0 } else { 1.0 }, chance.float(0.0..0.1));
    piece.fill(&outline, tint);
    grain(&mut piece, chance, GRAIN);
    piece.keep(&outline);
    piece.stroke(&outline, colour(0.0, 0.0, 1.0, 0.85), 1.6);
    piece
}

/// A gap: what lies elsewhere in the picture, darker or lighter, more or less so by chance. What was there before is not seen through it.
fn hollow(picture: &mut Canvas, whole: &[[u8; 4]], path: &Path, chance: &mut Chance) {
    let shift =
        (chance.int(40..300).unsigned_abs() as usize, chance.int(10..90).unsigned_abs() as usize);
    picture.fill_from(path, whole, shift);
    let light = if chance.coin() { 0.0 } else { 1.0 };
    picture.fill(path, colour(0.0, 0.0, light, chance.float(TINT)));
    let rim = colour(0.0, 0.0, if chance.coin() { 0.0 } else { 1.0 }, chance.float(RIM));
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
    fn forms_that_do_not_fit_differ_at_one_side_and_wear_changes_none() {
        let mut chance = Chance::repeatable(7);
        for _ in 0..500 {
            let form = Form::draw(&mut chance);
            let (other, worn) = (form.other(&mut chance), form.like(&mut chance));
            let differ =
                |a: &Form| a.0.iter().zip(&form.0).filter(|(a, b)| a.side != b.side).count();
            assert_eq!((differ(&other), differ(&worn)), (1, 0), "{form:?} {other:?} {worn:?}");
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
        assert!(
            is_in_place(100, 100)
                && is_in_place(100 - within, 100)
                && is_in_place(100 + within, 100)
        );
        assert!(
            !is_in_place(99 - within, 100)
                && !is_in_place(101 + within, 100)
                && !is_in_place(u32::MAX, 100)
        );
    }
}
