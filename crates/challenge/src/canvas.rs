//! A canvas that fills paths with exact antialiasing. For example, if a path covers 30 % of a
//! pixel's area, the pixel gets 30 % of the path's colour.
//!
//! Font rasterisers call this method "signed areas". For each pixel on the outline, the canvas
//! stores a difference: the pixel's covered area minus the covered area of the pixel to its left.
//! The running sum of these numbers along a row is the covered area of each pixel.
//!
//! The crate tiny-skia computes paths and strokes. The canvas does not use the painter of
//! tiny-skia, because that painter takes three times as long for many small shapes.

use std::ops::Range;

use tiny_skia::{Color, LineCap, Path, PathSegment, Point, Stroke};

/// The number of straight lines that replace a curve.
const PIECES: u16 = 6;

/// A picture, and a buffer (`sums`) for the shape that is being drawn. For each pixel, the buffer
/// has the change of the covered area along the row.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Red, green, blue and alpha. The colours are not premultiplied by alpha.
    pub(crate) pixels: Vec<[u8; 4]>,
    sums: Vec<f32>,
}

struct TouchedArea {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        // The buffer has two more columns than the picture. These two columns store the numbers for
        // the right edge of the canvas, and are never drawn.
        let sums = vec![0.0; (width + 2) * height];
        Self { width, height, pixels: vec![[0; 4]; width * height], sums }
    }

    pub(crate) fn fill_gradient(&mut self, top: Color, middle: Color, bottom: Color) {
        let height = self.height as f32;
        for (y, row) in self.pixels.chunks_exact_mut(self.width).enumerate() {
            let at = 2.0 * y as f32 / height;
            let (from, to, at) =
                if at < 1.0 { (top, middle, at) } else { (middle, bottom, at - 1.0) };
            let mix = |from: f32, to: f32| ((from + (to - from) * at) * 255.0) as u8;
            let pixel = [
                mix(from.red(), to.red()),
                mix(from.green(), to.green()),
                mix(from.blue(), to.blue()),
                255,
            ];
            row.fill(pixel);
        }
    }

    pub(crate) fn fill(&mut self, path: &Path, colour: Color) {
        let rgb = [colour.red(), colour.green(), colour.blue()].map(|part| part * 255.0);
        self.for_covered_pixels(path, |pixel, _, covered| {
            blend(pixel, rgb, covered * colour.alpha())
        });
    }

    pub(crate) fn stroke(&mut self, path: &Path, colour: Color, width: f32) {
        let stroke = Stroke { width, line_cap: LineCap::Round, ..Stroke::default() };
        if let Some(add_outline) = path.stroke(&stroke, 1.0) {
            self.fill(&add_outline, colour);
        }
    }

    /// Fills a path with pixels of `other`, a picture of the same size. Each pixel is copied from
    /// the point of `other` that is `shift` further to the right and down. If this point is outside
    /// of `other`, `other` is mirrored at its edge.
    pub(crate) fn fill_from(&mut self, path: &Path, other: &[[u8; 4]], shift: (usize, usize)) {
        let (width, height) = (self.width, self.height);
        // A shift is shorter than a side of the picture. So a shifted point is less than one side
        // outside of the picture, and one mirroring is enough.
        let mirror = |at: usize, of: usize| if at < of { at } else { 2 * of - 1 - at };
        debug_assert!(shift.0 < width && shift.1 < height);
        self.for_covered_pixels(path, |pixel, (x, y), covered| {
            let (x, y) = (mirror(x + shift.0, width), mirror(y + shift.1, height));
            let [red, green, blue, _] = other[y * width + x].map(f32::from);
            blend(pixel, [red, green, blue], covered);
        });
    }

    pub(crate) fn clip(&mut self, path: &Path) {
        let mut kept = vec![[0; 4]; self.pixels.len()];
        let whole = self.pixels.clone();
        let width = self.width;
        self.for_covered_pixels(path, |_, (x, y), covered| {
            let [red, green, blue, alpha] = whole[y * width + x];
            kept[y * width + x] = [red, green, blue, (f32::from(alpha) * covered) as u8];
        });
        self.pixels = kept;
    }

    /// Calls `paint` for each pixel that the path covers, with the pixel, its position, and the
    /// covered share of its area.
    fn for_covered_pixels(
        &mut self,
        path: &Path,
        mut paint: impl FnMut(&mut [u8; 4], (usize, usize), f32),
    ) {
        let TouchedArea { rows, columns } = self.add_outline(path);
        let (width, stride) = (self.width, self.width + 2);
        for y in rows {
            let sums = &mut self.sums[y * stride..(y + 1) * stride];
            let pixels = &mut self.pixels[y * width..(y + 1) * width];
            let mut sum = 0.0;
            let start = columns.start.min(width);
            for (x, (pixel, add_edge)) in
                pixels[start..].iter_mut().zip(&mut sums[columns.clone()]).enumerate()
            {
                sum += std::mem::take(add_edge);
                let covered = sum.abs().min(1.0);
                if covered > 0.004 {
                    paint(pixel, (start + x, y), covered);
                }
            }
            sums[width..].fill(0.0);
        }
    }

    /// Adds the outline of a path to the buffer, as changes of the covered area. Returns the rows
    /// and columns that the outline touches.
    fn add_outline(&mut self, path: &Path) -> TouchedArea {
        let bounds = path.bounds();
        let (mut start, mut here) = (Point::zero(), Point::zero());
        for segment in path.segments() {
            match segment {
                PathSegment::MoveTo(to) => {
                    self.add_edge(here, start);
                    (start, here) = (to, to);
                }
                PathSegment::LineTo(to) => {
                    self.add_edge(here, to);
                    here = to;
                }
                PathSegment::QuadTo(by, to) => {
                    self.add_curve(here, |t| lerp_quadratic(here, by, to, t));
                    here = to;
                }
                PathSegment::CubicTo(a, b, to) => {
                    self.add_curve(here, |t| {
                        let (from, on) =
                            (lerp_quadratic(here, a, b, t), lerp_quadratic(a, b, to, t));
                        lerp(from, on, t)
                    });
                    here = to;
                }
                PathSegment::Close => {
                    self.add_edge(here, start);
                    here = start;
                }
            }
        }
        self.add_edge(here, start);
        let within = |at: f32, most: usize| (at.max(0.0) as usize).min(most);
        let rows =
            within(bounds.top() - 1.0, self.height)..within(bounds.bottom() + 2.0, self.height);
        let columns =
            within(bounds.left() - 1.0, self.width)..within(bounds.right() + 3.0, self.width + 2);
        TouchedArea { rows, columns }
    }

    fn add_curve(&mut self, mut from: Point, at: impl Fn(f32) -> Point) {
        for n in 1..=PIECES {
            let to = at(f32::from(n) / f32::from(PIECES));
            self.add_edge(from, to);
            from = to;
        }
    }

    fn add_edge(&mut self, from: Point, to: Point) {
        if from.y == to.y {
            return;
        }
        let (sign, from, to) = if from.y < to.y { (1.0, from, to) } else { (-1.0, to, from) };
        let slope = (to.x - from.x) / (to.y - from.y);
        let (first, last) = (from.y.max(0.0), to.y.min(self.height as f32));
        let mut x = from.x + (first - from.y) * slope;
        let most = self.width as f32;
        for y in first as usize..last.ceil().max(0.0) as usize {
            let high = (y as f32 + 1.0).min(last) - (y as f32).max(first);
            let next = x + slope * high;
            let row = &mut self.sums[y * (self.width + 2)..(y + 1) * (self.width + 2)];
            add_row_coverage(row, x.clamp(0.0, most), next.clamp(0.0, most), high * sign);
            x = next;
        }
    }
}

/// Adds the part of an edge that is within one row. Everything to the right of the edge counts as
/// covered. The row stores, for each pixel, its covered area minus the covered area of the pixel to
/// its left.
fn add_row_coverage(row: &mut [f32], a: f32, b: f32, high: f32) {
    let (left, right) = if a < b { (a, b) } else { (b, a) };
    let (first, last) = (left as usize, right.ceil() as usize);
    if last <= first + 1 {
        let middle = f32::midpoint(left, right) - first as f32;
        row[first] += high - high * middle;
        row[first + 1] += high * middle;
        return;
    }
    let (per, into) = ((right - left).recip(), left - first as f32);
    let out = right - last as f32 + 1.0;
    // The areas of the triangles that the edge cuts off in the first and in the last pixel.
    let (head, tail) = (0.5 * per * (1.0 - into) * (1.0 - into), 0.5 * per * out * out);
    row[first] += high * head;
    if last == first + 2 {
        row[first + 1] += high * (1.0 - head - tail);
    } else {
        let second = per * (1.5 - into);
        row[first + 1] += high * (second - head);
        for sum in &mut row[first + 2..last - 1] {
            *sum += high * per;
        }
        row[last - 1] += high * (1.0 - second - (last - first - 3) as f32 * per - tail);
    }
    row[last] += high * tail;
}

fn lerp(from: Point, to: Point, t: f32) -> Point {
    Point::from_xy(from.x + (to.x - from.x) * t, from.y + (to.y - from.y) * t)
}

fn lerp_quadratic(from: Point, by: Point, to: Point, t: f32) -> Point {
    lerp(lerp(from, by, t), lerp(by, to, t), t)
}

fn blend(pixel: &mut [u8; 4], rgb: [f32; 3], alpha: f32) {
    if alpha > 0.999 {
        *pixel = [rgb[0] as u8, rgb[1] as u8, rgb[2] as u8, 255];
        return;
    }
    if pixel[3] == 255 {
        for (byte, part) in pixel.iter_mut().zip(rgb) {
            let below = f32::from(*byte);
            *byte = (below + (part - below) * alpha) as u8;
        }
        return;
    }
    let below = f32::from(pixel[3]) / 255.0 * (1.0 - alpha);
    let all = alpha + below;
    if all <= 0.0 {
        return;
    }
    for (byte, part) in pixel.iter_mut().zip(rgb) {
        *byte = ((part * alpha + f32::from(*byte) * below) / all) as u8;
    }
    pixel[3] = (all * 255.0).min(255.0) as u8;
}

#[cfg(test)]
mod tests {
    use tiny_skia::PathBuilder;

    use super::*;

    const WHITE: Color = Color::WHITE;

    fn alphas(canvas: &Canvas) -> Vec<u8> {
        canvas.pixels.iter().map(|pixel| pixel[3]).collect()
    }

    fn path(points: &[(f32, f32)]) -> Path {
        let mut path = PathBuilder::new();
        path.move_to(points[0].0, points[0].1);
        points[1..].iter().for_each(|(x, y)| path.line_to(*x, *y));
        path.close();
        path.finish().expect("an area")
    }

    #[test]
    fn the_coverage_of_a_pixel_is_the_area_of_the_path_in_it() {
        let mut canvas = Canvas::new(4, 2);
        canvas.fill(&path(&[(0.5, 0.0), (3.0, 0.0), (3.0, 1.5), (0.5, 1.5)]), WHITE);
        assert_eq!(alphas(&canvas), [127, 255, 255, 0, 63, 127, 127, 0]);
        let mut canvas = Canvas::new(4, 1);
        canvas.fill(&path(&[(0.0, 0.0), (4.0, 1.0), (0.0, 1.0)]), WHITE);
        assert_eq!(alphas(&canvas), [223, 159, 95, 31]);
    }

    #[test]
    fn shapes_outside_the_canvas_are_clipped() {
        let mut canvas = Canvas::new(3, 3);
        canvas.fill(&path(&[(-9.0, -9.0), (12.0, -9.0), (12.0, 12.0), (-9.0, 12.0)]), WHITE);
        assert_eq!(alphas(&canvas), [255; 9]);
        assert!(canvas.sums.iter().all(|sum| *sum == 0.0), "{:?}", canvas.sums);
        let mut canvas = Canvas::new(3, 3);
        for far in [(20.0, 1.0), (-20.0, 1.0), (1.0, 20.0), (1.0, -20.0)] {
            canvas.fill(&path(&[far, (far.0 + 2.0, far.1), (far.0, far.1 + 2.0)]), WHITE);
        }
        assert_eq!(alphas(&canvas), [0; 9]);
    }

    #[test]
    fn only_pixels_under_the_path_are_kept() {
        let mut canvas = Canvas::new(2, 1);
        canvas.fill_gradient(WHITE, WHITE, WHITE);
        canvas.clip(&path(&[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]));
        assert_eq!(canvas.pixels, [[255; 4], [0; 4]]);
    }
}
