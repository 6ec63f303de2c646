//! The characters of captchas as outlines, and how to bend an outline.

use tiny_skia::{Path, PathBuilder};

mod outlines;

/// One step of the pen that draws an outline. Coordinates are in units of 1/[`EM`] em, and y points
/// upwards.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PathStep {
    /// Moves to this point without drawing.
    M(i16, i16),
    /// Draws a straight line to this point.
    L(i16, i16),
    /// Draws a curve to the second point. The first point is the control point.
    Q(i16, i16, i16, i16),
}

#[derive(Debug)]
pub(crate) struct Glyph {
    pub(crate) character: char,
    /// The distance from the start of this character to the start of the next one.
    pub(crate) advance: i16,
    outline: &'static [PathStep],
}

/// The number of units in an em.
pub(crate) const EM: f32 = 2_048.0;
pub(crate) const FACES: [&[Glyph]; 3] = [outlines::SANS, outlines::SANS_BOLD, outlines::SERIF_BOLD];
/// Each line or curve of an outline is divided into this many straight lines, so that it can be
/// bent.
const PIECES: u16 = 5;

impl Glyph {
    pub(crate) fn warped_path(&self, mut bend: impl FnMut(f32, f32) -> (f32, f32)) -> Option<Path> {
        let mut path = PathBuilder::new();
        let mut here = (0.0, 0.0);
        let mut is_open = false;
        for step in self.outline {
            let (control, to) = match *step {
                PathStep::M(x, y) => {
                    if is_open {
                        path.close();
                    }
                    is_open = true;
                    here = (f32::from(x), f32::from(y));
                    let (x, y) = bend(here.0, here.1);
                    path.move_to(x, y);
                    continue;
                }
                PathStep::L(x, y) => {
                    let to = (f32::from(x), f32::from(y));
                    (((here.0 + to.0) / 2.0, (here.1 + to.1) / 2.0), to)
                }
                PathStep::Q(cx, cy, x, y) => {
                    ((f32::from(cx), f32::from(cy)), (f32::from(x), f32::from(y)))
                }
            };
            for n in 1..=PIECES {
                let t = f32::from(n) / f32::from(PIECES);
                let (a, b, c) = ((1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t);
                let along =
                    (a * here.0 + b * control.0 + c * to.0, a * here.1 + b * control.1 + c * to.1);
                let (x, y) = bend(along.0, along.1);
                path.line_to(x, y);
            }
            here = to;
        }
        path.close();
        path.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_face_has_the_same_characters_and_each_has_an_outline() {
        let of = |face: &[Glyph]| face.iter().map(|g| g.character).collect::<String>();
        for face in FACES {
            assert_eq!(of(face), of(FACES[0]));
            for glyph in face {
                let path = glyph.warped_path(|x, y| (x, y)).expect("an outline");
                let bounds = path.bounds();
                assert!(
                    bounds.width() > 300.0 && bounds.height() > 800.0 && glyph.advance > 600,
                    "{glyph:?}"
                );
            }
        }
    }
}
