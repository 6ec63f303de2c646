//! Draws captchas and puzzles into a directory, and prints the time and the size of each kind of
//! challenge: `cargo run --release -p doorbuster-challenge --example draw -- DIR [COUNT]`.

use std::path::PathBuf;
use std::time::Instant;

use doorbuster_challenge::{Effort, RandomSource, WorkKeys, draw_captcha, draw_puzzle};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let count: u32 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut random = RandomSource::new();
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);

    let (mut bytes, mut largest) = ([0; 2], [0; 2]);
    let began = Instant::now();
    for n in 0..count {
        let captcha = draw_captcha(&mut random);
        bytes[0] += captcha.png.len();
        largest[0] = largest[0].max(captcha.png.len());
        if n < 8 {
            std::fs::write(dir.join(format!("captcha-{n}-{}.png", captcha.text)), captcha.png)?;
        }
    }
    let captchas = began.elapsed() / count;
    let began = Instant::now();
    for n in 0..count {
        let puzzle = draw_puzzle(&mut random);
        let size = puzzle.background.len() + puzzle.piece.len();
        bytes[1] += size;
        largest[1] = largest[1].max(size);
        if n < 8 {
            std::fs::write(dir.join(format!("puzzle-{n}-{}.png", puzzle.x)), puzzle.background)?;
            std::fs::write(dir.join(format!("puzzle-{n}-piece.png")), puzzle.piece)?;
        }
    }
    let puzzles = began.elapsed() / count;
    let began = Instant::now();
    for _ in 0..count {
        drop(keys.new_challenge(&mut random, Effort::DEFAULT));
    }
    let works = began.elapsed() / count;
    println!(
        "captcha {captchas:?}, {} bytes on average, {} bytes at most",
        bytes[0] / count as usize,
        largest[0]
    );
    println!(
        "puzzle  {puzzles:?}, {} bytes on average, {} bytes at most",
        bytes[1] / count as usize,
        largest[1]
    );
    println!("work    {works:?}");
    Ok(())
}
