//! Draws the timeline of the incident. Each actor has a lane, in which a bar shows each piece of
//! work under the lock. If the lock ends before the work ends, the rest of the bar is red.

use std::fmt::Write;

use crate::incident::{Event, EventKind, LOCK_MS, VariantReport};

const EVENTS_DRAWN: usize = 30;
/// The left end and the right end of all lanes, and the height of one lane.
const LEFT: f64 = 90.0;
const RIGHT: f64 = 880.0;
const LANE: f64 = 56.0;

/// Returns the drawing, and below it the list of its events.
pub fn render(variant: &VariantReport) -> String {
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
        for bar in bars(&variant.timeline, actor, first.at_ms, last.at_ms) {
            bar.draw(&mut svg, y, &x);
        }
        for (index, event) in story.iter().enumerate().filter(|(_, event)| event.actor == *actor) {
            let class = if event.kind.is_failure() { "dot--late" } else { "dot" };
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
        let class = if event.kind.is_failure() { " class=\"late\"" } else { "" };
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

/// The bar of one piece of work: when the work begins, when its lock ends, and when the work ends.
#[derive(Debug, PartialEq, Eq)]
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

/// Returns the bars of one actor's work between the times `from` and `to`. If the timeline has no
/// end for a piece of work, its bar ends at `to`.
fn bars(timeline: &[Event], actor: &str, from: u64, to: u64) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut is_open = false;
    for event in timeline.iter().filter(|event| event.actor == actor) {
        if event.kind.begins_work() {
            let lock_ends = event.at_ms + LOCK_MS;
            bars.push(Bar { from: event.at_ms, lock_ends, to });
            is_open = true;
        } else if let Some(bar) = bars.last_mut().filter(|_| is_open) {
            if event.kind == EventKind::RenewsLock {
                bar.lock_ends = event.at_ms + LOCK_MS;
            } else if event.kind.ends_work() {
                bar.to = event.at_ms.min(to);
                is_open = false;
            }
        }
    }
    bars.retain(|bar| bar.from < to && bar.to > from);
    for bar in &mut bars {
        bar.from = bar.from.max(from);
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: u64, kind: EventKind) -> Event {
        Event { at_ms, actor: "server A".to_owned(), kind, event: String::new() }
    }

    fn one_bar(events: &[Event], to: u64) -> Bar {
        let mut bars = bars(events, "server A", 0, to);
        assert_eq!(bars.len(), 1, "{bars:?}");
        bars.remove(0)
    }

    #[test]
    fn work_after_the_end_of_the_lock_is_late_in_every_variant_without_renewal() {
        for end in [EventKind::ReleasesLock, EventKind::ReleasesLate] {
            let events = [event(10, EventKind::TakesLock), event(100, end)];
            let bar = one_bar(&events, 200);
            assert_eq!(bar, Bar { from: 10, lock_ends: 10 + LOCK_MS, to: 100 });
            let mut svg = String::new();
            bar.draw(&mut svg, 0.0, &|at_ms| at_ms as f64);
            assert!(svg.contains("class=\"late\""), "{svg}");
        }
    }

    #[test]
    fn work_under_a_renewed_lock_is_not_late() {
        let events = [
            event(10, EventKind::TakesLock),
            event(30, EventKind::RenewsLock),
            event(50, EventKind::RenewsLock),
            event(100, EventKind::ReleasesLock),
        ];
        let mut svg = String::new();
        one_bar(&events, 200).draw(&mut svg, 0.0, &|at_ms| at_ms as f64);
        assert!(svg.contains("class=\"holds\"") && !svg.contains("class=\"late\""), "{svg}");
    }

    #[test]
    fn work_that_crosses_an_edge_of_the_drawing_is_drawn_up_to_the_edge() {
        let events = [event(10, EventKind::TakesOverlappingLock), event(90, EventKind::IsRefused)];
        assert_eq!(one_bar(&events, 50).to, 50);
        let events = [event(10, EventKind::TakesLock), event(90, EventKind::ReleasesLate)];
        assert_eq!(bars(&events, "server A", 40, 60), [Bar { from: 40, lock_ends: 70, to: 60 }]);
    }
}
