//! The background of a puzzle: a sky, hills, and many lines and arcs that a robot could take for
//! edges of pieces.

use std::f32::consts::TAU;
use std::ops::Range;

use tiny_skia::PathBuilder;

use super::{PUZZLE_HEIGHT, PUZZLE_WIDTH};
use crate::canvas::Canvas;
use crate::picture::colour;
use crate::random::RandomSource;

const WIDTH: f32 = PUZZLE_WIDTH as f32;
const HEIGHT: f32 = PUZZLE_HEIGHT as f32;
/// The opacity of the patches that are drawn before the gaps. Patches that are drawn over the gaps
/// are less opaque (`FOREGROUND_ALPHA`), so that a person can see the sides of a gap.
const BACKGROUND_ALPHA: Range<f32> = 0.2..0.65;
const FOREGROUND_ALPHA: Range<f32> = 0.2..0.4;

pub(super) fn draw_scene(picture: &mut Canvas, random: &mut RandomSource) {
    let hue = random.float(0.0..1.0);
    draw_sky(picture, random, hue);
    for layer in 0..4 {
        draw_hills(picture, random, hue, layer as f32 / 4.0);
    }
    for _ in 0..24 {
        draw_patch(picture, random, hue, 0.0..HEIGHT, BACKGROUND_ALPHA);
    }
    for _ in 0..14 {
        draw_edge(picture, random, 0.0..HEIGHT);
    }
}

/// Draws patches and edges over the gaps, in the rows from `from` to `to`.
pub(super) fn draw_foreground(picture: &mut Canvas, random: &mut RandomSource, from: f32, to: f32) {
    let hue = random.float(0.0..1.0);
    for _ in 0..6 {
        draw_patch(picture, random, hue, from..to, FOREGROUND_ALPHA);
    }
    for _ in 0..14 {
        draw_edge(picture, random, from..to);
    }
}

fn draw_sky(picture: &mut Canvas, random: &mut RandomSource, hue: f32) {
    let mut light = |by| colour(hue + by, 0.45, random.float(0.3..0.75), 1.0);
    let (top, middle, bottom) = (light(0.0), light(0.08), light(0.2));
    picture.fill_gradient(top, middle, bottom);
}

fn draw_hills(picture: &mut Canvas, random: &mut RandomSource, hue: f32, near: f32) {
    let mut path = PathBuilder::new();
    path.move_to(-2.0, HEIGHT + 2.0);
    let mut y = HEIGHT * (0.25 + 0.6 * near) + random.float(-15.0..15.0);
    let mut x = -2.0;
    path.line_to(x, y);
    while x < WIDTH {
        let step = random.float(14.0..52.0);
        let to = (y + random.float(-30.0..30.0)).clamp(HEIGHT * 0.1, HEIGHT - 6.0);
        if random.coin() {
            path.line_to(x + step, to);
        } else {
            path.quad_to(x + step / 2.0, y + random.float(-20.0..20.0), x + step, to);
        }
        (x, y) = (x + step, to);
    }
    path.line_to(WIDTH + 2.0, HEIGHT + 2.0);
    path.close();
    if let Some(path) = path.finish() {
        picture.fill(&path, colour(hue + 0.4 * near, 0.4, random.float(0.15..0.72), 1.0));
    }
}

/// Draws a triangle, a square or a disc of about the size of a piece.
fn draw_patch(
    picture: &mut Canvas,
    random: &mut RandomSource,
    hue: f32,
    rows: Range<f32>,
    dense: Range<f32>,
) {
    let (x, y) = (random.float(0.0..WIDTH), random.float(rows));
    let size = random.float(7.0..26.0);
    let corners = random.int(3..6);
    let turn = if random.coin() { TAU / 8.0 } else { random.float(0.0..TAU) };
    let mut path = PathBuilder::new();
    if corners == 5 {
        path.push_circle(x, y, size * 0.8);
    } else {
        for n in 0..corners {
            let (sin, cos) = (turn + TAU * n as f32 / corners as f32).sin_cos();
            if n == 0 {
                path.move_to(x + size * cos, y + size * sin);
            } else {
                path.line_to(x + size * cos, y + size * sin);
            }
        }
        path.close();
    }
    if let Some(path) = path.finish() {
        let light = random.float(0.1..0.9);
        picture
            .fill(&path, colour(hue + random.float(-0.3..0.6), 0.45, light, random.float(dense)));
    }
}

/// Draws a line as long as a piece's side, or an arc as round as a tongue.
fn draw_edge(picture: &mut Canvas, random: &mut RandomSource, rows: Range<f32>) {
    let (x, y) = (random.float(0.0..WIDTH), random.float(rows));
    let mut path = PathBuilder::new();
    path.move_to(x, y);
    match random.int(0..3) {
        0 => path.line_to(x + random.float(14.0..50.0), y),
        1 => path.line_to(x, y + random.float(14.0..50.0)),
        _ => {
            let (radius, start) = (random.float(6.0..11.0), random.float(0.0..TAU));
            for step in 0..=10 {
                let (sin, cos) = (start + 4.7 * step as f32 / 10.0).sin_cos();
                let (sin0, cos0) = start.sin_cos();
                path.line_to(x + radius * (cos - cos0), y + radius * (sin - sin0));
            }
        }
    }
    let light = if random.coin() { random.float(0.0..0.2) } else { random.float(0.8..1.0) };
    if let Some(path) = path.finish() {
        picture.stroke(
            &path,
            colour(0.0, 0.0, light, random.float(0.2..0.55)),
            random.float(1.0..2.4),
        );
    }
}
