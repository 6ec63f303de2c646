//! Tests how often robots solve the sliding puzzle.

use doorbuster_challenge::{
    PIECE_SIDE, PUZZLE_HEIGHT, PUZZLE_WIDTH, Puzzle, RandomSource, TOLERANCE_PX, draw_puzzle,
    is_in_place,
};

use std::ops::RangeInclusive;

use crate::pixels::Grey;

mod form;
mod rim;

const ROUNDS: usize = 300;
const PLAIN_ROUNDS: usize = 20;
/// Every robot must solve at least this percentage of the puzzles of [`plain`], except the robot
/// that guesses. A robot that cannot solve these puzzles is broken, and says nothing about the real
/// puzzles.
const PLAIN_LEAST: usize = 75;

/// A robot returns the position at which it puts the piece, in pixels from the left.
type Robot = fn(&Seen) -> u16;
const SIDE: usize = PIECE_SIDE as usize;
/// The leftmost position that a robot tries. The piece starts further left.
const FROM: usize = 40;
const TO: usize = PUZZLE_WIDTH as usize - SIDE;

struct Seen {
    picture: Grey,
    piece: Grey,
    /// The picture and the piece for each of the three colours.
    colours: [(Grey, Grey); 3],
    /// Pairs of points along the whole rim of the piece. Each pair has a point inside and a point
    /// outside.
    pairs: Vec<rim::Pair>,
    y: usize,
    round: usize,
}

impl Seen {
    fn best(&self, score: impl Fn(usize) -> f32) -> u16 {
        let best = (FROM..TO).max_by(|a, b| score(*a).total_cmp(&score(*b)));
        best.expect("at least one place") as u16
    }

    fn inside(&self) -> Vec<(usize, usize)> {
        cells().filter(|&(x, y)| self.piece.is_solid(x, y)).collect()
    }

    /// Returns the pixels inside the piece that are at most `near` pixels away from a pixel outside
    /// of it.
    fn rim(&self, near: usize) -> Vec<(usize, usize)> {
        let clear = |x: usize, y: usize| x >= SIDE || y >= SIDE || !self.piece.is_solid(x, y);
        let by_it = |&(x, y): &(usize, usize)| {
            (0..=2 * near).any(|dx| {
                (0..=2 * near)
                    .any(|dy| clear((x + dx).wrapping_sub(near), (y + dy).wrapping_sub(near)))
            })
        };
        self.inside().into_iter().filter(by_it).collect()
    }
}

fn cells() -> impl Iterator<Item = (usize, usize)> {
    (0..SIDE * SIDE).map(|n| (n % SIDE, n / SIDE))
}

fn guesses(seen: &Seen) -> u16 {
    (60 + seen.round * 7_919 % 210) as u16
}

fn darkest(seen: &Seen) -> u16 {
    let inside = seen.inside();
    seen.best(|at| -inside.iter().map(|&(x, y)| seen.picture.at(at + x, seen.y + y)).sum::<f32>())
}

fn differs(seen: &Seen) -> u16 {
    let mean = |from: usize, to: usize| {
        let all = (from..to).flat_map(|x| (seen.y + 14..seen.y + 54).map(move |y| (x, y)));
        let (sum, count) =
            all.fold((0.0, 0), |(sum, n), (x, y)| (sum + seen.picture.at(x, y), n + 1));
        sum / count as f32
    };
    seen.best(|at| {
        (mean(at + 12, at + 56) - f32::midpoint(mean(at, at + 9), mean(at + 59, at + 68))).abs()
    })
}

/// Template matching: looks for the strongest edges along the piece's outline.
fn outline(seen: &Seen) -> u16 {
    let (edges, rim) = (seen.picture.edges(), seen.rim(1));
    seen.best(|at| rim.iter().map(|&(x, y)| edges.at(at + x, seen.y + y)).sum())
}

/// Careful template matching. It removes the grain and limits the strength of edges. From the mean
/// strength along the outline, it subtracts the mean strength of the whole square under the piece.
fn outline_with_care(seen: &Seen) -> u16 {
    let score = outlines(seen);
    seen.best(|at| score[at - FROM])
}

fn outlines(seen: &Seen) -> Vec<f32> {
    let (edges, rim) = (seen.picture.smooth().edges(), seen.rim(1));
    let strength = |x: usize, y: usize| edges.at(x, y).min(30.0);
    let score = |at: usize| {
        let along: f32 = rim.iter().map(|&(x, y)| strength(at + x, seen.y + y)).sum();
        let all: f32 = cells().map(|(x, y)| strength(at + x, seen.y + y)).sum();
        along / rim.len() as f32 - all / (SIDE * SIDE) as f32
    };
    (FROM..TO).map(score).collect()
}

fn content(seen: &Seen) -> u16 {
    let (picture, piece, inside) = (seen.picture.smooth(), seen.piece.smooth(), seen.inside());
    let count = inside.len() as f32;
    let mean = |light: &dyn Fn(usize, usize) -> f32| {
        inside.iter().map(|&(x, y)| light(x, y)).sum::<f32>() / count
    };
    let of_piece = mean(&|x, y| piece.at(x, y));
    seen.best(|at| {
        let under = mean(&|x, y| picture.at(at + x, seen.y + y));
        let (mut both, mut a, mut b) = (0.0, 1.0, 1.0);
        for &(x, y) in &inside {
            let (p, q) = (piece.at(x, y) - of_piece, picture.at(at + x, seen.y + y) - under);
            (both, a, b) = (both + p * q, a + p * p, b + q * q);
        }
        both / (a * b).sqrt()
    })
}

/// The robots, each with the fewest and the most puzzles out of a hundred that it may solve. The
/// lower bound ensures that no robot is weaker than the table in `docs/front-door.md` says.
const ROBOTS: [(&str, Robot, RangeInclusive<usize>); 9] = [
    ("guesses", guesses, 1..=10),
    ("looks for the darkest place", darkest, 15..=35),
    ("looks for the place that differs from its sides", differs, 15..=38),
    ("matches the outline with edges", outline, 30..=52),
    ("matches the outline carefully", outline_with_care, 30..=52),
    ("matches the content", content, 10..=30),
    ("looks for equal colours on both sides of the rim", rim::least_change_across_rim, 22..=44),
    ("compares how colours vary along the rim", rim::most_similar_variation, 22..=44),
    ("was written for the puzzle", form::fits, 80..=95),
];

/// Makes a puzzle without protection: soft colours, and one dark gap with exactly the piece's shape
/// and content.
fn plain(form: Grey, x: usize, y: usize) -> Seen {
    let light = |part: usize, x: usize, y: usize| {
        let (x, y, part) = (x as f32, y as f32, part as f32);
        140.0
            + 35.0 * (x / 23.0 + part).sin()
            + 25.0 * (y / 17.0 + 2.0 * part).sin()
            + 15.0 * (x * y / 300.0).sin()
    };
    let is_gap = |at: usize, down: usize| {
        let (at, down) = (at.wrapping_sub(x), down.wrapping_sub(y));
        at < SIDE && down < SIDE && form.is_solid(at, down)
    };
    let (width, height) = (PUZZLE_WIDTH as usize, PUZZLE_HEIGHT as usize);
    let colour = |part: usize| {
        let all = (0..width * height).map(|n| (n % width, n / width));
        let picture =
            all.map(|(x, y)| light(part, x, y) * if is_gap(x, y) { 0.6 } else { 1.0 }).collect();
        let piece = cells().map(|(at, down)| light(part, x + at, y + down)).collect();
        let picture = Grey { width, height, light: picture, alpha: vec![255; width * height] };
        (picture, Grey { light: piece, alpha: form.alpha.clone(), ..form })
    };
    let (picture, piece) = colour(0);
    let pairs = rim::pairs(&form);
    Seen { picture, piece, colours: [colour(0), colour(1), colour(2)], pairs, y, round: 0 }
}

#[test]
fn every_robot_except_the_guessing_one_solves_plain_puzzles() {
    let mut random = RandomSource::from_seed(2_027);
    let mut solved = [0; ROBOTS.len()];
    for _ in 0..PLAIN_ROUNDS {
        let Puzzle { piece, piece_y, x, .. } = draw_puzzle(&mut random);
        let seen = plain(Grey::read(&piece), x.into(), piece_y.into());
        for (n, (_, robot, _)) in ROBOTS.iter().enumerate() {
            solved[n] += usize::from(is_in_place(robot(&seen).into(), x));
        }
    }
    for (n, (name, _, _)) in ROBOTS.iter().enumerate().skip(1) {
        let least = PLAIN_LEAST * PLAIN_ROUNDS;
        assert!(
            solved[n] * 100 >= least,
            "a robot that {name} solves only {} of {PLAIN_ROUNDS} plain puzzles",
            solved[n]
        );
    }
}

#[test]
fn robots_solve_the_puzzle_as_often_as_documented() {
    let mut random = RandomSource::from_seed(2_026);
    let mut solved = [0; ROBOTS.len()];
    let mut near = [0; ROBOTS.len()];
    for round in 0..ROUNDS {
        let Puzzle { background, piece, piece_y, x } = draw_puzzle(&mut random);
        let mut pieces = Grey::channels(&piece).into_iter();
        let colours =
            Grey::channels(&background).map(|of_it| (of_it, pieces.next().expect("three colours")));
        let (picture, grey) = (Grey::read(&background), Grey::read(&piece));
        let pairs = rim::pairs(&grey);
        let seen = Seen { picture, piece: grey, colours, pairs, y: usize::from(piece_y), round };
        for (n, (_, robot, _)) in ROBOTS.iter().enumerate() {
            let at = robot(&seen);
            solved[n] += usize::from(is_in_place(at.into(), x));
            near[n] += usize::from(at.abs_diff(x) <= 2 * TOLERANCE_PX);
        }
    }
    println!("of 100 puzzles, solved within {TOLERANCE_PX} px ({} px):", 2 * TOLERANCE_PX);
    for (n, (name, _, _)) in ROBOTS.iter().enumerate() {
        println!(
            "{:>5.1} ({:.1})  a robot that {name}",
            solved[n] as f32 * 100.0 / ROUNDS as f32,
            near[n] as f32 * 100.0 / ROUNDS as f32
        );
    }
    for (n, (name, _, may)) in ROBOTS.iter().enumerate() {
        let within = may.start() * ROUNDS..=may.end() * ROUNDS;
        assert!(
            within.contains(&(solved[n] * 100)),
            "a robot that {name} solves {} of {ROUNDS} puzzles, which is outside its range",
            solved[n]
        );
    }
}
