//! The sliding puzzle: a picture with several gaps, and a piece. Only one gap has the shape of the
//! piece. The buyer must slide the piece to this gap.

use std::f32::consts::TAU;
use std::ops::Range;

use tiny_skia::{Path, PathBuilder, Point, Transform};

use crate::canvas::Canvas;
use crate::picture::{add_grain, colour, encode_rgb, encode_rgba};
use crate::random::RandomSource;

mod scene;

/// Width of the picture, in pixels.
pub const PUZZLE_WIDTH: u32 = 340;
/// Height of the picture, in pixels.
pub const PUZZLE_HEIGHT: u32 = 170;
/// The width and height of the piece's picture, in pixels. The piece is smaller than this picture.
pub const PIECE_SIDE: u32 = 68;
/// A piece counts as placed correctly if it is at most this many pixels from its gap.
pub const TOLERANCE_PX: u16 = 5;

const SIDE: i32 = PIECE_SIDE as i32;
/// The length of a piece's side, in pixels. Tongues stick out of the side and do not count.
const BODY: f32 = 44.0;
/// The radius of a tongue or notch, in pixels. In a gap, this radius is multiplied by a random
/// number from `GAP_RADIUS_FACTOR`.
const TONGUE: f32 = 7.5;
const GAP_RADIUS_FACTOR: Range<f32> = 0.8..1.15;
/// The number of straight lines that form the round outline of a tongue or notch.
const CIRCLE_STEPS: usize = 12;
/// A gap's bend moves a point of the outline by at most this many pixels in each direction.
const BEND_MAX: f32 = 3.0;
/// Each straight part of an outline is divided into this many lines, so that it can be bent.
const STEPS: usize = 3;
const GAPS: usize = 3;
/// The leftmost position of a gap, in pixels. The piece starts to the left of all gaps, so a buyer
/// must always move the piece.
const X_MIN: i32 = 60;
const X_MAX: i32 = PUZZLE_WIDTH as i32 - PIECE_SIDE as i32 - 2;
const GRAIN: u8 = 18;
/// How strongly a gap is darkened or lightened. Because of this tint and the gap's rim, a person
/// immediately recognizes the sides of the gap.
const GAP_TINT: Range<f32> = 0.36..0.6;
const RIM_ALPHA: Range<f32> = 0.2..0.4;
/// The shortest distance between the positions of two gaps, in pixels. At this distance, the gaps
/// do not touch.
const GAP_DISTANCE_MIN: i32 = 66;

const _: () =
    assert!(X_MIN + (GAPS as i32 - 1) * GAP_DISTANCE_MIN < X_MAX, "every gap must have room");

/// A picture with gaps, and a piece.
#[derive(Clone, Debug)]
pub struct Puzzle {
    /// The picture, a PNG.
    pub background: Vec<u8>,
    /// The picture of the piece, a PNG of [`PIECE_SIDE`] by [`PIECE_SIDE`] pixels, transparent
    /// outside of the piece.
    pub piece: Vec<u8>,
    /// The distance from the top of `background` to the top of the picture `piece`.
    pub piece_y: u16,
    /// The answer: the distance from the left of `background` to the left of the picture `piece`
    /// when the piece is in its gap.
    pub x: u16,
}

/// Returns whether a buyer who moved the piece to `at` found the gap at `x`, within the tolerance.
#[must_use]
pub fn is_in_place(at: u32, x: u16) -> bool {
    at.abs_diff(x.into()) <= TOLERANCE_PX.into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Straight,
    Tongue,
    Notch,
}

impl Side {
    fn different(self, random: &mut RandomSource) -> Self {
        *random.pick(match self {
            Self::Straight => &[Self::Tongue, Self::Notch],
            Self::Tongue => &[Self::Straight, Self::Notch],
            Self::Notch => &[Self::Straight, Self::Tongue],
        })
    }
}

/// One side of a piece, with the position and the radius of its tongue or notch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Edge {
    side: Side,
    along: f32,
    radius: f32,
}

#[derive(Clone, Debug, PartialEq)]
struct PieceShape([Edge; 4]);

impl PieceShape {
    fn choose(random: &mut RandomSource) -> Self {
        let mut sides =
            [Side::Tongue, Side::Notch, *random.pick(&[Side::Tongue, Side::Notch]), Side::Straight];
        random.shuffle(&mut sides);
        Self(sides.map(|side| Edge { side, along: random.float(0.36..0.64), radius: TONGUE }))
    }

    /// Returns a copy of this outline, and changes the kind of one random side of the copy. A robot
    /// must compare all four sides of a gap with the piece to know that the gap does not fit.
    fn different(&self, random: &mut RandomSource) -> Self {
        let mut form = self.clone();
        let n = *random.pick(&[0, 1, 2, 3]);
        form.0[n].side = form.0[n].side.different(random);
        form
    }

    /// Returns a copy whose tongues and notches are moved and resized a little. A person does not
    /// notice this, but a program that searches for the exact shape finds nothing. The gap that
    /// fits is changed in the same way. Otherwise, the exact shape would reveal the gap that fits.
    fn worn_copy(&self, random: &mut RandomSource) -> Self {
        Self(self.0.map(|edge| Edge {
            side: edge.side,
            along: (edge.along + random.float(-0.15..0.15)).clamp(0.3, 0.7),
            radius: TONGUE * random.float(GAP_RADIUS_FACTOR),
        }))
    }

    /// Returns the outline, relative to the middle of the piece.
    fn outline(&self) -> Vec<Point> {
        let side = |(n, edge): (usize, &Edge)| {
            let straight = |from: f32, to: f32| {
                (0..STEPS).map(move |k| {
                    point_on_side(n, from + (to - from) * k as f32 / STEPS as f32, 0.0)
                })
            };
            let middle = BODY * edge.along;
            let (from, to) = (middle - edge.radius * 0.7, middle + edge.radius * 0.7);
            straight(0.0, from)
                .chain(edge.tongue_points(n))
                .chain(straight(to, BODY))
                .collect::<Vec<_>>()
        };
        self.0.iter().enumerate().flat_map(side).collect()
    }
}

impl Edge {
    /// Returns the tongue or notch of side `n`: three quarters of a circle. The middle of the
    /// circle is 0.6 radii away from the side: outside the piece for a tongue, inside the piece for
    /// a notch.
    fn tongue_points(&self, n: usize) -> Vec<Point> {
        let out = match self.side {
            Side::Straight => return Vec::new(),
            Side::Tongue => self.radius,
            Side::Notch => -self.radius,
        };
        let step = |step: usize| {
            let (sin, cos) = (-2.35 + 4.7 * step as f32 / CIRCLE_STEPS as f32).sin_cos();
            point_on_side(n, BODY * self.along + self.radius * sin, out * (0.6 + cos))
        };
        (0..=CIRCLE_STEPS).map(step).collect()
    }
}

/// Returns a point near side `n`, relative to the middle of the piece. The sides are counted
/// clockwise from the top. `along` is the distance from the side's start, and `out` the distance
/// outwards.
fn point_on_side(n: usize, along: f32, out: f32) -> Point {
    let (x, y) = (along - BODY / 2.0, -BODY / 2.0 - out);
    let (x, y) = [(x, y), (-y, x), (-x, -y), (y, -x)][n];
    Point::from_xy(x, y)
}

/// The position of a gap in the picture. The gap is also bent, turned and scaled a little around
/// its middle.
struct Pose {
    place: Transform,
    /// The strength and the phase of the bend, across and down.
    bends: [(f32, f32); 2],
}

impl Pose {
    /// `(x, y)` is the top left corner of the piece's picture.
    fn upright(x: i32, y: i32) -> Self {
        let half = PIECE_SIDE as f32 / 2.0;
        Self {
            place: Transform::from_translate(x as f32 + half, y as f32 + half),
            bends: [(0.0, 0.0); 2],
        }
    }

    fn tilted(x: i32, y: i32, random: &mut RandomSource) -> Self {
        let size = random.float(0.92..1.06);
        let place =
            Self::upright(x, y).place.pre_concat(Transform::from_rotate(random.float(-10.0..10.0)));
        let bends = [(); 2].map(|()| (random.float(-BEND_MAX..BEND_MAX), random.float(0.0..TAU)));
        Self { place: place.pre_scale(size, size), bends }
    }

    fn path(&self, form: &PieceShape) -> Path {
        let [across, down] = self.bends;
        // One wave is as long as a side of a piece. So the displacements of a side's points add up
        // to about zero, and the shape as a whole stays in its position.
        let bent = |(far, from): (f32, f32), at: f32| far * (from + at * TAU / BODY).sin();
        let mut path = PathBuilder::new();
        for (n, point) in form.outline().into_iter().enumerate() {
            let mut at =
                Point::from_xy(point.x + bent(across, point.y), point.y + bent(down, point.x));
            self.place.map_point(&mut at);
            if n == 0 { path.move_to(at.x, at.y) } else { path.line_to(at.x, at.y) }
        }
        path.close();
        path.finish().expect("the outline has an area")
    }
}

/// Draws a puzzle.
#[must_use]
pub fn draw_puzzle(random: &mut RandomSource) -> Puzzle {
    let mut picture = Canvas::new(PUZZLE_WIDTH, PUZZLE_HEIGHT);
    scene::draw_scene(&mut picture, random);
    let form = PieceShape::choose(random);
    let y = random.int(2..(PUZZLE_HEIGHT - PIECE_SIDE) as i32 - 2);
    let places = gap_positions(random);
    // The piece shows a random part of the picture, and not the part at its gap. Otherwise, the
    // colours around the gap would continue in the piece, which would help a robot more than a
    // person.
    let anywhere =
        (random.int(0..PUZZLE_WIDTH as i32 - SIDE), random.int(0..PUZZLE_HEIGHT as i32 - SIDE));
    let piece = cut_piece(&picture, &form, anywhere, random);
    let whole = picture.pixels.clone();
    for (n, &x) in places.iter().enumerate() {
        let gap = if n == 0 { form.clone() } else { form.different(random) }.worn_copy(random);
        draw_gap(&mut picture, &whole, &Pose::tilted(x, y, random).path(&gap), random);
    }
    scene::draw_foreground(&mut picture, random, y as f32, (y + PIECE_SIDE as i32) as f32);
    add_grain(&mut picture, random, GRAIN);
    Puzzle {
        background: encode_rgb(&picture),
        piece: encode_rgba(&piece),
        piece_y: u16::try_from(y).expect("a position within the picture"),
        x: u16::try_from(places[0]).expect("a position within the picture"),
    }
}

/// Returns the positions of the gaps. The first position is that of the gap that fits. In the
/// picture, this gap is equally often the left, the middle or the right gap.
fn gap_positions(random: &mut RandomSource) -> [i32; GAPS] {
    let spare = X_MAX - X_MIN - (GAPS as i32 - 1) * GAP_DISTANCE_MIN;
    let mut shifts = [(); GAPS].map(|()| random.int(0..spare + 1));
    shifts.sort_unstable();
    let mut n = 0;
    let mut places = shifts.map(|shift| {
        n += 1;
        X_MIN + shift + (n - 1) * GAP_DISTANCE_MIN
    });
    random.shuffle(&mut places);
    places
}

/// Cuts the piece out of a picture without gaps, and makes the piece a little lighter or darker.
fn cut_piece(
    picture: &Canvas,
    form: &PieceShape,
    (x, y): (i32, i32),
    random: &mut RandomSource,
) -> Canvas {
    let mut piece = Canvas::new(PIECE_SIDE, PIECE_SIDE);
    let (x, y) =
        (usize::try_from(x).expect("from the left"), usize::try_from(y).expect("from the top"));
    for (row, to) in piece.pixels.chunks_exact_mut(PIECE_SIDE as usize).enumerate() {
        let from = (y + row) * picture.width + x;
        to.copy_from_slice(&picture.pixels[from..from + PIECE_SIDE as usize]);
    }
    let outline = Pose::upright(0, 0).path(form);
    let tint = colour(0.0, 0.0, if random.coin() { 0.0 } else { 1.0 }, random.float(0.0..0.1));
    piece.fill(&outline, tint);
    add_grain(&mut piece, random, GRAIN);
    piece.clip(&outline);
    piece.stroke(&outline, colour(0.0, 0.0, 1.0, 0.85), 1.6);
    piece
}

/// Draws a gap. The gap shows another part of the picture, so a robot cannot know what was there
/// before.
fn draw_gap(picture: &mut Canvas, whole: &[[u8; 4]], path: &Path, random: &mut RandomSource) {
    let shift =
        (random.int(40..300).unsigned_abs() as usize, random.int(10..90).unsigned_abs() as usize);
    picture.fill_from(path, whole, shift);
    let light = if random.coin() { 0.0 } else { 1.0 };
    picture.fill(path, colour(0.0, 0.0, light, random.float(GAP_TINT)));
    let rim = colour(0.0, 0.0, if random.coin() { 0.0 } else { 1.0 }, random.float(RIM_ALPHA));
    picture.stroke(path, rim, random.float(1.0..2.2));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::chunks;

    #[test]
    fn the_piece_lies_in_the_picture_and_files_have_no_metadata() {
        let mut random = RandomSource::from_seed(5);
        for _ in 0..50 {
            let Puzzle { background, piece, piece_y, x } = draw_puzzle(&mut random);
            assert!((X_MIN..=X_MAX).contains(&i32::from(x)), "{x}");
            assert!(u32::from(piece_y) + PIECE_SIDE <= PUZZLE_HEIGHT);
            for file in [&background, &piece] {
                assert_eq!(chunks(file), ["IHDR", "IDAT", "IEND"]);
            }
            assert!(background.len() < 160 * 1_024 && piece.len() < 24 * 1_024);
        }
    }

    #[test]
    fn a_wrong_shape_differs_at_one_side_and_a_worn_copy_at_none() {
        let mut random = RandomSource::from_seed(7);
        for _ in 0..500 {
            let form = PieceShape::choose(&mut random);
            let (different, worn) = (form.different(&mut random), form.worn_copy(&mut random));
            let differ =
                |a: &PieceShape| a.0.iter().zip(&form.0).filter(|(a, b)| a.side != b.side).count();
            assert_eq!(
                (differ(&different), differ(&worn)),
                (1, 0),
                "{form:?} {different:?} {worn:?}"
            );
        }
    }

    #[test]
    fn gaps_do_not_touch_and_the_right_one_is_equally_likely_at_each_place() {
        let mut random = RandomSource::from_seed(6);
        let mut thirds = [0; 3];
        for _ in 0..3_000 {
            let places = gap_positions(&mut random);
            let mut sorted = places;
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|w| w[1] - w[0] >= GAP_DISTANCE_MIN), "{sorted:?}");
            assert!(sorted[0] >= X_MIN && sorted[2] <= X_MAX, "{sorted:?}");
            thirds[sorted.iter().position(|x| *x == places[0]).expect("a gap")] += 1;
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
