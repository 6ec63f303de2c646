//! Decodes pictures to pixels for the robots.

use png::{ColorType, Decoder};

/// A picture in shades of grey, 0 to 255, with its alpha channel.
pub struct Grey {
    pub width: usize,
    pub height: usize,
    pub light: Vec<f32>,
    pub alpha: Vec<u8>,
}

impl Grey {
    pub fn read(file: &[u8]) -> Self {
        Self::weighed(file, [0.3, 0.6, 0.1])
    }

    /// Returns the red, green and blue parts of a picture file, each in shades of grey.
    pub fn channels(file: &[u8]) -> [Self; 3] {
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
            .map(|weights| Self::weighed(file, weights))
    }

    fn weighed(file: &[u8], [red, green, blue]: [f32; 3]) -> Self {
        let mut reader = Decoder::new(std::io::Cursor::new(file)).read_info().expect("a PNG");
        let mut data = vec![0; reader.output_buffer_size().expect("a small picture")];
        let info = reader.next_frame(&mut data).expect("a whole PNG");
        let step = match info.color_type {
            ColorType::Rgb => 3,
            ColorType::Rgba => 4,
            other => panic!("{other:?}"),
        };
        let pixels = data.chunks_exact(step);
        let light = pixels
            .clone()
            .map(|p| red * f32::from(p[0]) + green * f32::from(p[1]) + blue * f32::from(p[2]));
        let alpha = pixels.clone().map(|p| p.get(3).copied().unwrap_or(255));
        let (width, height) = (info.width as usize, info.height as usize);
        Self { width, height, light: light.collect(), alpha: alpha.collect() }
    }

    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.light[y * self.width + x]
    }

    pub fn is_solid(&self, x: usize, y: usize) -> bool {
        self.alpha[y * self.width + x] > 127
    }

    /// Returns the strength of the edge at each pixel.
    pub fn edges(&self) -> Self {
        let mut light = vec![0.0; self.light.len()];
        for y in 1..self.height - 1 {
            for x in 1..self.width - 1 {
                let across = self.at(x + 1, y) - self.at(x - 1, y);
                let down = self.at(x, y + 1) - self.at(x, y - 1);
                light[y * self.width + x] = across.hypot(down);
            }
        }
        Self { width: self.width, height: self.height, light, alpha: self.alpha.clone() }
    }

    /// Returns, for each pixel, how much brighter its neighbour at (`dx`, `dy`) is than its
    /// neighbour on the opposite side.
    pub fn slope(&self, dx: usize, dy: usize) -> Self {
        let mut light = vec![0.0; self.light.len()];
        for y in 1..self.height - 1 {
            for x in 1..self.width - 1 {
                light[y * self.width + x] = self.at(x + dx, y + dy) - self.at(x - dx, y - dy);
            }
        }
        Self { width: self.width, height: self.height, light, alpha: self.alpha.clone() }
    }

    /// Returns the picture without its grain: each pixel is the mean of its neighbourhood.
    pub fn smooth(&self) -> Self {
        let mut light = self.light.clone();
        for y in 1..self.height - 1 {
            for x in 1..self.width - 1 {
                let around = (0..9).map(|n| self.at(x + n % 3 - 1, y + n / 3 - 1));
                light[y * self.width + x] = around.sum::<f32>() / 9.0;
            }
        }
        Self { width: self.width, height: self.height, light, alpha: self.alpha.clone() }
    }
}
