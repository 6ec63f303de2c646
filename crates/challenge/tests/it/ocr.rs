//! Tests how often a robot reads the captcha. The robot is Debian's Tesseract, which reads the
//! original picture and a cleaned picture. `DOORBUSTER_CAPTCHAS` sets the number of captchas.

use std::io::Write;
use std::process::{Command, Stdio};

use doorbuster_challenge::{
    CAPTCHA_CHARACTERS, Captcha, RandomSource, draw_captcha, normalize_answer,
};
use doorbuster_testkit::tool::program;
use png::{BitDepth, ColorType, Encoder};

use crate::pixels::Grey;

/// The number of captchas, if `DOORBUSTER_CAPTCHAS` is not set. Tesseract needs about a second to
/// read a captcha.
const ROUNDS: usize = 25;
/// Out of a hundred captchas, the robot may read at most this many. Otherwise the test fails.
const MOST: usize = 4;

/// Returns the text that Tesseract reads if it treats the picture as one line (mode 7) or as one
/// word (mode 8).
fn reads(png: &[u8], mode: &str) -> Option<String> {
    let mut child = Command::new(program("tesseract"))
        .args([
            "stdin",
            "stdout",
            "--psm",
            mode,
            "-c",
            "tessedit_char_whitelist=2347ACDEFHJKNPRTUXYadekpxy",
        ])
        .env("OMP_THREAD_LIMIT", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // This statement also drops the pipe, so Tesseract sees the end of its input.
    child.stdin.take()?.write_all(png).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| normalize_answer(&String::from_utf8_lossy(&output.stdout)))
}

fn read_each_way(png: &[u8]) -> [String; 3] {
    let read = [reads(png, "7"), reads(png, "8"), reads(&cleaned(png), "7")];
    read.map(|read| read.expect("tesseract runs and has its data for English"))
}

fn plain() -> Vec<u8> {
    // The bars of each letter: left, top, width and height, in tenths of the letter's width.
    const T: &[[usize; 4]] = &[[0, 0, 10, 2], [4, 0, 2, 14]];
    const E: &[[usize; 4]] = &[[0, 0, 2, 14], [0, 0, 9, 2], [0, 6, 8, 2], [0, 12, 9, 2]];
    const H: &[[usize; 4]] = &[[0, 0, 2, 14], [8, 0, 2, 14], [0, 6, 10, 2]];
    let (width, height) = (240, 90);
    let mut pixels = vec![255; width * height * 3];
    for (n, letter) in [T, E, E, T, H].into_iter().enumerate() {
        for [left, top, wide, high] in letter.iter().map(|bar| bar.map(|part| part * 3)) {
            for y in 24 + top..24 + top + high {
                let from = (y * width + 20 + 42 * n + left) * 3;
                pixels[from..from + wide * 3].fill(0);
            }
        }
    }
    encode_png(width, height, ColorType::Rgb, &pixels)
}

fn encode_png(width: usize, height: usize, colours: ColorType, data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(colours);
    encoder.set_depth(BitDepth::Eight);
    encoder
        .write_header()
        .expect("writing into memory")
        .write_image_data(data)
        .expect("as many bytes as the header says");
    file
}

/// Returns the picture as dark characters on white, at twice the size, without grain, background
/// and thin lines.
fn cleaned(png: &[u8]) -> Vec<u8> {
    let picture = Grey::read(png).smooth();
    let (width, height) = (picture.width, picture.height);
    let mean = picture.light.iter().sum::<f32>() / picture.light.len() as f32;
    // Most of a picture is background, so the ink is dark if most pixels are lighter than the mean.
    let lighter = picture.light.iter().filter(|light| **light > mean).count();
    let is_ink = |light: f32| {
        if lighter * 2 > picture.light.len() { light < mean - 25.0 } else { light > mean + 25.0 }
    };
    let ink = |x: usize, y: usize| x < width && y < height && is_ink(picture.at(x, y));
    // Keeps a pixel of ink if it is in a square of three by three pixels of ink. This removes thin
    // lines.
    let is_thick = |x: usize, y: usize| {
        (0..9).any(|n| {
            (0..9).all(|m| {
                ink((x + n % 3 + m % 3).wrapping_sub(2), (y + n / 3 + m / 3).wrapping_sub(2))
            })
        })
    };
    let kept: Vec<bool> = (0..width * height).map(|n| is_thick(n % width, n / width)).collect();
    let pixel =
        |n: usize| if kept[n / (width * 2) / 2 * width + n % (width * 2) / 2] { 0 } else { 255 };
    let data: Vec<u8> = (0..width * height * 4).map(pixel).collect();
    encode_png(width * 2, height * 2, ColorType::Grayscale, &data)
}

#[test]
fn tesseract_reads_few_captchas() {
    // First checks that Tesseract works. If Tesseract read nothing, the rest of the test would
    // pass.
    assert_eq!(read_each_way(&plain()), ["teeth"; 3], "Tesseract did not read a plain word");
    let rounds = std::env::var("DOORBUSTER_CAPTCHAS")
        .map_or(ROUNDS, |text| text.parse().expect("DOORBUSTER_CAPTCHAS is a number of captchas"));
    let mut random = RandomSource::from_seed(2_026);
    let (mut whole, mut characters) = ([0; 3], [0; 3]);
    for _ in 0..rounds {
        let Captcha { png, text } = draw_captcha(&mut random);
        for (n, read) in read_each_way(&png).into_iter().enumerate() {
            whole[n] += usize::from(read == text);
            characters[n] += text.chars().zip(read.chars()).filter(|(a, b)| a == b).count();
        }
    }
    let of = |n: usize, all: usize| n as f32 * 100.0 / all as f32;
    for (n, how) in ["as a line", "as a word", "cleaned, as a line"].into_iter().enumerate() {
        let (all, some) = (of(whole[n], rounds), of(characters[n], rounds * CAPTCHA_CHARACTERS));
        println!("Tesseract reads {all:.1} % of captchas and {some:.1} % of characters: {how}");
        assert!(
            whole[n] * 100 <= MOST * rounds,
            "Tesseract reads too many captchas, {} of {rounds}: {how}",
            whole[n]
        );
    }
}
