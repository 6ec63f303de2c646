//! Writes pictures as PNG files that contain no metadata: only the three required chunks.

use png::{BitDepth, ColorType, Compression, Encoder, Filter};
use tiny_skia::Color;

use crate::canvas::Canvas;
use crate::random::RandomSource;

pub(crate) fn encode_rgb(canvas: &Canvas) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(3 * canvas.pixels.len());
    canvas.pixels.iter().for_each(|pixel| rgb.extend_from_slice(&pixel[..3]));
    encode_png(canvas, &rgb, ColorType::Rgb)
}

pub(crate) fn encode_rgba(canvas: &Canvas) -> Vec<u8> {
    encode_png(canvas, canvas.pixels.as_flattened(), ColorType::Rgba)
}

fn encode_png(canvas: &Canvas, data: &[u8], colours: ColorType) -> Vec<u8> {
    let mut file = Vec::with_capacity(data.len() / 2);
    let mut encoder = Encoder::new(&mut file, canvas.width as u32, canvas.height as u32);
    encoder.set_color(colours);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(Filter::Paeth);
    let mut writer =
        encoder.write_header().expect("writing into memory does not fail, and no side is 0");
    writer.write_image_data(data).expect("there are as many bytes as the header says");
    writer.finish().expect("writing into memory does not fail");
    file
}

/// Returns a colour. `hue` is a position on the colour circle: one whole turn is 1. The other
/// values are from 0 to 1.
pub(crate) fn colour(hue: f32, saturation: f32, lightness: f32, alpha: f32) -> Color {
    let part = |n: f32| {
        let k = (n + hue.rem_euclid(1.0) * 12.0) % 12.0;
        let reach = saturation * lightness.min(1.0 - lightness);
        (lightness - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)).clamp(0.0, 1.0)
    };
    Color::from_rgba(part(0.0), part(8.0), part(4.0), alpha.clamp(0.0, 1.0))
        .expect("every component is from 0 to 1")
}

/// Adds random grain in squares of two by two pixels, so that equal shapes do not have exactly
/// equal pixels. Only a few squares get grain, because grain makes the picture's file larger.
pub(crate) fn add_grain(canvas: &mut Canvas, random: &mut RandomSource, strength: u8) {
    let width = canvas.width;
    for rows in canvas.pixels.chunks_mut(width * 2) {
        let (mut bits, mut left) = (0, 0);
        for column in (0..width).step_by(2) {
            if left == 0 {
                (bits, left) = (random.bits(), 12);
            }
            let step = |byte: u8| match bits & 31 {
                0 => byte.saturating_sub(strength),
                _ => byte.saturating_add(strength),
            };
            if bits & 31 < 2 {
                for row in rows.chunks_mut(width) {
                    let end = (column + 2).min(width);
                    row[column..end]
                        .iter_mut()
                        .for_each(|p| *p = [step(p[0]), step(p[1]), step(p[2]), p[3]]);
                }
            }
            (bits, left) = (bits >> 5, left - 1);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn chunks(file: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        let mut rest = &file[8..];
        while rest.len() >= 12 {
            let length = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
            names.push(String::from_utf8_lossy(&rest[4..8]).into_owned());
            rest = &rest[12 + length..];
        }
        assert!(rest.is_empty(), "bytes follow the last chunk");
        names.dedup();
        names
    }

    #[test]
    fn an_image_file_has_no_metadata() {
        let mut canvas = Canvas::new(31, 7);
        let green = colour(0.3, 0.5, 0.5, 1.0);
        canvas.fill_gradient(green, green, green);
        add_grain(&mut canvas, &mut RandomSource::from_seed(1), 4);
        assert_eq!(chunks(&encode_rgb(&canvas)), ["IHDR", "IDAT", "IEND"]);
        assert_eq!(chunks(&encode_rgba(&canvas)), ["IHDR", "IDAT", "IEND"]);
    }

    #[test]
    fn hues_give_the_expected_colours() {
        let rgb = |hue: f32| {
            let c = colour(hue, 1.0, 0.5, 1.0);
            [c.red(), c.green(), c.blue()].map(|part| (part * 255.0).round() as u8)
        };
        assert_eq!(
            [rgb(0.0), rgb(1.0 / 3.0), rgb(2.0 / 3.0)],
            [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        );
    }
}
