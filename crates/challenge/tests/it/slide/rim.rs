//! Robots that compare colours across a gap's rim. They assume that the colours just inside the
//! piece are equal to the colours just outside of the gap that fits. This is true only for the
//! plain puzzles of the tests.

use super::{FROM, SIDE, Seen, cells, outlines};
use crate::pixels::Grey;

/// How far a pair's points are from the piece's outline, in pixels: first the inner point, then the
/// outer point. At these distances, the inner point is not on the line around the piece. The outer
/// point is not on the rim of the gap, although a gap is slightly turned and scaled.
const INSIDE: usize = 3;
const OUTSIDE: std::ops::RangeInclusive<f32> = 2.0..=7.0;
const GAPS: usize = 3;
/// A larger difference of colours counts as this value, because such a difference comes from an
/// edge in the background or from a rim.
const MOST: f32 = 50.0;

type Point = (usize, usize);

/// An inner and an outer point. The outer point is outside of the piece. The inner point is the
/// nearest to it of all points well inside the piece.
pub(super) type Pair = (Point, Point);

pub(super) fn pairs(piece: &Grey) -> Vec<Pair> {
    let solid = |x: usize, y: usize| x < SIDE && y < SIDE && piece.is_solid(x, y);
    let is_deep = |x: usize, y: usize| {
        (0..=2 * INSIDE).all(|n| {
            solid((x + n).wrapping_sub(INSIDE), y) && solid(x, (y + n).wrapping_sub(INSIDE))
        })
    };
    let deep: Vec<bool> = cells().map(|(x, y)| is_deep(x, y)).collect();
    let far = |a: Point, b: Point| (a.0 as f32 - b.0 as f32).hypot(a.1 as f32 - b.1 as f32);
    let reach = INSIDE + *OUTSIDE.end() as usize + 1;
    let around = |at: usize| at.saturating_sub(reach)..(at + reach + 1).min(SIDE);
    let pair = |outer: Point| {
        let near = around(outer.1).flat_map(|y| around(outer.0).map(move |x| (x, y)));
        let near =
            near.filter(|&(x, y)| deep[y * SIDE + x]).map(|inner| (far(inner, outer), inner));
        let (distance, inner) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
        OUTSIDE.contains(&(distance - INSIDE as f32)).then_some((inner, outer))
    };
    cells().filter(|&(x, y)| !solid(x, y)).filter_map(pair).collect()
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

/// Returns how much colours change across the rim at a position. A difference that is the same
/// along the whole rim does not count, because the piece may be lighter or darker than the picture.
fn change_across_rim(seen: &Seen, at: usize) -> f32 {
    let of_colour = seen.colours.iter().map(|(picture, piece)| {
        let step = |&(inner, outer): &Pair| {
            piece.at(inner.0, inner.1) - picture.at(at + outer.0, seen.y + outer.1)
        };
        let steps: Vec<f32> = seen.pairs.iter().map(step).collect();
        let tint = median(steps.clone()).clamp(-20.0, 20.0);
        steps.iter().map(|step| (step - tint).abs().min(MOST)).sum::<f32>() / steps.len() as f32
    });
    of_colour.sum()
}

/// Returns how well the colours just inside the rim correlate with the colours just outside of it.
fn similarity_along_rim(seen: &Seen, at: usize) -> f32 {
    let of_colour = seen.colours.iter().map(|(picture, piece)| {
        let both = seen.pairs.iter().map(|&(inner, outer)| {
            (piece.at(inner.0, inner.1), picture.at(at + outer.0, seen.y + outer.1))
        });
        let both: Vec<(f32, f32)> = both.collect();
        let count = both.len() as f32;
        let mean =
            both.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0 / count, sum.1 + one.1 / count));
        let (mut ab, mut aa, mut bb) = (0.0, 1.0, 1.0);
        for (a, b) in both {
            let (a, b) = (a - mean.0, b - mean.1);
            (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
        }
        ab / (aa * bb).sqrt()
    });
    of_colour.sum()
}

/// Returns the three positions at which the edges of the picture best match the outline of the
/// piece. Leaves out positions close to a better position.
fn gaps(seen: &Seen) -> Vec<usize> {
    let mut scores = outlines(seen);
    let mut found = Vec::new();
    for _ in 0..GAPS {
        let best = (0..scores.len())
            .max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
            .expect("at least one place");
        found.push(FROM + best);
        let (from, to) = (best.saturating_sub(40), (best + 40).min(scores.len()));
        scores[from..to].fill(f32::MIN);
    }
    found
}

fn least(places: impl Iterator<Item = usize>, cost: impl Fn(usize) -> f32) -> u16 {
    places.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).expect("at least one place") as u16
}

pub(super) fn least_change_across_rim(seen: &Seen) -> u16 {
    least(gaps(seen).into_iter(), |at| change_across_rim(seen, at))
}

pub(super) fn most_similar_variation(seen: &Seen) -> u16 {
    least(gaps(seen).into_iter(), |at| -similarity_along_rim(seen, at))
}
