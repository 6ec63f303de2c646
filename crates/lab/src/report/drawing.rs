//! Draws the incident's timeline. Each actor has a lane. The lane has a bar while the actor works
//! under the lock. The bar is red after the lock's time has ended. Each event has the number of its
//! entry in the list.

use std::fmt::Write;

use crate::incident::{Event, Variant};

/// The largest number of events that are drawn.
const EVENTS_DRAWN: usize = 30;
/// The left and right ends of the lanes, and the height of a lane.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 880.0;
const LANE: f64 = 56.0;

/// Returns the drawing, with the list of events below it.
pub fn render(variant: &Variant) -> String {
    let story = variant.failure_excerpt(EVENTS_DRAWN);
    let mut actors: Vec<&str> = story.iter().map(|event| event.actor.as_str()).collect();
    actors.sort_unstable();
    actors.dedup();
    let (Some(first), Some(last)) = (story.first(), story.last()) else { return String::new() };
    let from = first.at_ms;
    let span = (last.at_ms - from).max(1) as f64;
    let x = |at_ms: u64| LEFT + (RIGHT - LEFT) * (at_ms.saturating_sub(from)) as f64 / span;
    let height = 30.0 + LANE * actors.len() as f64;
    let name = format!("timeline-{}", variant.strategy);
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 900 {height}\" role=\"img\" aria-labelledby=\"{name}\">\
         <title id=\"{name}\">Timeline of {}; the list below has every event</title>",
        variant.strategy
    );
    for (lane, actor) in actors.iter().enumerate() {
        let y = 24.0 + LANE * lane as f64 + LANE / 2.0;
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<path class=\"lane\" d=\"M{LEFT} {y}H{RIGHT}\"/>\
             <text class=\"name\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{actor}</text>",
            LEFT - 10.0,
            y + 4.0
        );
        for bar in bars(story, actor) {
            bar.draw(&mut svg, y, &x);
        }
        for (index, event) in story.iter().enumerate().filter(|(_, event)| event.actor == *actor) {
            let class = if is_late(event) { "dot--late" } else { "dot" };
            let up = if index % 2 == 0 { -12.0 } else { 22.0 };
            let _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{0:.1}\" cy=\"{y}\" r=\"4\"/>\
                 <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
                x(event.at_ms),
                y + up,
                index + 1
            );
        }
    }
    svg += "</svg>";
    svg + &list(story)
}

fn list(story: &[Event]) -> String {
    let mut list = String::from("<ol class=\"story\">");
    for event in story {
        let class = if is_late(event) { " class=\"late\"" } else { "" };
        let _ = write!(
            list,
            "<li{class}>{} ms: {} {}</li>",
            event.at_ms,
            super::html::escape(&event.actor),
            super::html::escape(&event.event)
        );
    }
    list + "</ol>"
}

/// Returns whether this event shows that the lock failed.
fn is_late(event: &Event) -> bool {
    [
        "takes the lock: the time",
        "deletes the lock, although",
        "is refused",
        "does not delete the lock",
    ]
    .iter()
    .any(|start| event.event.starts_with(start))
}

/// The time of one piece of work under the lock, and the time at which the lock ended.
struct Bar {
    from: u64,
    lock_ends: u64,
    to: u64,
}

impl Bar {
    fn draw(&self, svg: &mut String, y: f64, x: &impl Fn(u64) -> f64) {
        let mut part = |class: &str, from: u64, to: u64| {
            if to > from {
                // Writing to a string cannot fail.
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{:.1}\" y=\"{}\" width=\"{:.1}\" height=\"12\"/>",
                    x(from),
                    y - 6.0,
                    x(to) - x(from)
                );
            }
        };
        part("holds", self.from, self.to.min(self.lock_ends));
        part("late", self.lock_ends.max(self.from), self.to);
    }
}

fn bars(story: &[Event], actor: &str) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut from = None;
    for event in story.iter().filter(|event| event.actor == actor) {
        let ends = ["releases", "deletes", "leaves"].iter().any(|w| event.event.starts_with(w));
        if event.event.starts_with("takes the lock") {
            from = Some(event.at_ms);
        } else if let Some(begun) = from.filter(|_| ends) {
            let lock_ends = begun + crate::incident::LOCK_MS;
            bars.push(Bar { from: begun, lock_ends, to: event.at_ms });
            from = None;
        }
    }
    bars
}
