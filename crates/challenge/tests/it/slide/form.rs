//! A robot that was written for this puzzle, with the sizes and shapes of `puzzle.rs`. It estimates
//! the position, rotation and size of each gap, and compares the gap's four sides with those of the
//! piece.

use super::{SIDE, Seen};
use crate::pixels::Grey;

/// Half of the length of a piece's side, in pixels.
const HALF: f32 = 22.0;
/// The radius of a tongue, in pixels.
const TONGUE: f32 = 7.5;
const GAPS: usize = 3;
/// The positions at which the robot looks for gaps, in pixels from the left.
const PLACES: std::ops::Range<usize> = 56..272;
/// The smallest distance between gaps.
const APART: usize = 50;
/// To find a gap, the robot ignores the outline within this many pixels of the middle of a side,
/// because a tongue may be there.
const OPEN: f32 = 11.0;
/// An edge that is stronger than this value counts as this value.
const STEEP: f32 = 30.0;
/// The robot searches for an outline up to this many pixels from the expected position.
const BENT: i16 = 2;
/// The kinds of a side: straight (0), tongue (1, outwards) and notch (-1, inwards).
const KINDS: [f32; 3] = [0.0, 1.0, -1.0];

type Point = (f32, f32);

/// A point of an outline, relative to the middle of the piece, and the direction across the
/// outline.
type Mark = (Point, Point);

#[derive(Clone, Copy)]
struct Pose {
    middle: Point,
    turn: Point,
    size: f32,
}

/// How much the brightness changes from left to right and from top to bottom, for each colour.
struct Slopes(Vec<(Grey, Grey)>);

impl Slopes {
    fn of(seen: &Seen) -> Self {
        let slopes = |(picture, _): &(Grey, Grey)| {
            let smooth = picture.smooth();
            (smooth.slope(1, 0), smooth.slope(0, 1))
        };
        Self(seen.colours.iter().map(slopes).collect())
    }

    /// Returns how clearly the outline `marks` is visible in the picture at a pose. An edge that is
    /// up to `BENT` pixels inside or outside of the outline also counts.
    fn clear(&self, marks: &[Mark], pose: Pose) -> f32 {
        let (sin, cos) = pose.turn;
        let turned = |(x, y): Point| (x * cos - y * sin, x * sin + y * cos);
        let clearest = |&(at, across): &Mark| {
            let ((x, y), across) = (turned(at), turned(across));
            let (x, y) = (pose.middle.0 + x * pose.size, pose.middle.1 + y * pose.size);
            let beside = |off: i16| (x + across.0 * f32::from(off), y + across.1 * f32::from(off));
            (-BENT..=BENT).map(|off| self.steep(beside(off), across)).fold(0.0, f32::max)
        };
        marks.iter().map(clearest).sum::<f32>() / marks.len() as f32
    }

    fn steep(&self, (x, y): Point, across: Point) -> f32 {
        let of_colour = |(a, d): &(Grey, Grey)| {
            let (x, y) =
                ((x.max(0.0) as usize).min(a.width - 1), (y.max(0.0) as usize).min(a.height - 1));
            (a.at(x, y) * across.0 + d.at(x, y) * across.1).abs().min(STEEP)
        };
        self.0.iter().map(of_colour).sum()
    }
}

/// Turns a point by `n` quarter turns. An outline's other sides are turned copies of its top side.
fn quarter(n: usize, (x, y): Point) -> Point {
    (0..n).fold((x, y), |(x, y), _| (-y, x))
}

/// Returns the outline of side `n`. `out` is 1 for a tongue, -1 for a notch, and 0 for neither.
/// `along` is the position of the tongue or notch, from 0 to 1.
fn side(n: usize, out: f32, along: f32) -> Vec<Mark> {
    let mut corners = vec![(-HALF, -HALF)];
    if out != 0.0 {
        corners.extend((0..=16).map(|step| {
            let (sin, cos) = (-2.35 + 4.7 * step as f32 / 16.0_f32).sin_cos();
            ((2.0 * along - 1.0) * HALF + TONGUE * sin, -HALF - out * TONGUE * (0.6 + cos))
        }));
    }
    corners.push((HALF, -HALF));
    let marks = corners.windows(2).flat_map(|ends| {
        let (dx, dy) = (ends[1].0 - ends[0].0, ends[1].1 - ends[0].1);
        let (long, from) = (dx.hypot(dy), ends[0]);
        let count = (long / 1.5).ceil() as usize;
        (0..count).map(move |k| {
            let part = (k as f32 + 0.5) / count as f32;
            (
                quarter(n, (from.0 + dx * part, from.1 + dy * part)),
                quarter(n, (-dy / long, dx / long)),
            )
        })
    });
    marks.collect()
}

/// Returns the kind of side `n` of the piece, and the position of its tongue or notch.
fn read(piece: &Grey, n: usize) -> (f32, f32) {
    let differs = |out: f32, solid: bool| {
        let places = (6..38).map(|s| s as f32).filter(move |s| {
            let (x, y) = quarter(n, (s - HALF, -HALF - 6.0 * out));
            piece.is_solid((x + SIDE as f32 / 2.0) as usize, (y + SIDE as f32 / 2.0) as usize)
                == solid
        });
        places.collect::<Vec<_>>()
    };
    let of =
        |out, found: &[f32]| (out, found.iter().sum::<f32>() / found.len() as f32 / (2.0 * HALF));
    match (differs(1.0, true), differs(-1.0, false)) {
        (tongue, _) if tongue.len() >= 4 => of(1.0, &tongue),
        (_, notch) if notch.len() >= 4 => of(-1.0, &notch),
        _ => (0.0, 0.5),
    }
}

/// Returns a pose for each of the three gaps. At this pose, the outline of the gap without its
/// tongues is most clearly visible.
fn poses(slopes: &Slopes, y: usize) -> Vec<Pose> {
    let mut body: Vec<Mark> = (0..4).flat_map(|n| side(n, 0.0, 0.5)).collect();
    body.retain(|(at, _)| at.0.abs().min(at.1.abs()) > OPEN);
    let turned = |x: usize, degrees: i32, size: f32| {
        let middle = (x as f32 + SIDE as f32 / 2.0, y as f32 + SIDE as f32 / 2.0);
        Pose { middle, turn: (degrees as f32).to_radians().sin_cos(), size }
    };
    let best = |poses: &mut dyn Iterator<Item = Pose>| {
        let rated = poses.map(|pose| (slopes.clear(&body, pose), pose));
        rated.max_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one pose")
    };
    let rough = |x: usize| best(&mut (-2..=2).map(|n| turned(x, 4 * n, 1.0))).0;
    let mut rated: Vec<(usize, f32)> = PLACES.map(|x| (x, rough(x))).collect();
    let mut found = Vec::new();
    for _ in 0..GAPS {
        let x = rated.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("at least one place").0;
        rated.retain(|(other, _)| other.abs_diff(x) > APART);
        let near = (x - 8..=x + 8).flat_map(|x| (-4..=4).map(move |n| (x, 5 * n / 2)));
        let mut near =
            near.flat_map(|(x, n)| (0..5).map(move |s| turned(x, n, 0.92 + 0.035 * s as f32)));
        found.push(best(&mut near).1);
    }
    found
}

/// Returns the position of the gap that the piece fits: each side of the gap has the kind of the
/// same side of the piece.
pub(super) fn fits(seen: &Seen) -> u16 {
    let slopes = Slopes::of(seen);
    let form: Vec<(f32, f32)> = (0..4).map(|n| read(&seen.piece, n)).collect();
    let seems = |pose: Pose, n: usize| {
        let (own, along) = form[n];
        let clear = |out: f32| {
            let steps = (0..9)
                .map(|k| 0.3 + 0.05 * k as f32)
                .filter(|at| out != own || (at - along).abs() < 0.2);
            steps.map(|at| slopes.clear(&side(n, out, at), pose)).fold(0.0, f32::max)
        };
        let others = KINDS.into_iter().filter(|kind| *kind != own).map(clear).fold(0.0, f32::max);
        clear(own) - others
    };
    let rated = poses(&slopes, seen.y)
        .into_iter()
        .map(|pose| ((0..4).map(|n| seems(pose, n)).sum::<f32>(), pose));
    let (_, best) = rated.max_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one gap");
    (best.middle.0 - SIDE as f32 / 2.0).round() as u16
}
