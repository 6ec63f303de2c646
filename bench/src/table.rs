//! The table of results, as text and as JSON.
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table};
use serde_json::{Value, json};

use crate::figure::{Figure, FigureStatus, Target};

/// The machine that ran the measurement, and the number of rounds.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The number of cores that the measurement could use.
    pub cores: usize,
    /// How long one synced write takes.
    pub sync: Duration,
    /// The number of measured rounds, without the warm-up round.
    pub rounds: usize,
}

/// Returns the table as text, with the notes below it.
#[must_use]
pub fn text(machine: &Machine, figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["", "measured", "figure", "peer", "ratio", "floor", "goal", "verdict"]);
    for figure in figures {
        let (floor, goal) = targets(figure);
        let ratio = if figure.unit == "×" && figure.status() != FigureStatus::Invalid {
            format_value(figure.value)
        } else {
            String::new()
        };
        let cells = [
            figure.id.to_owned(),
            figure.measured.clone(),
            figure
                .ours
                .map_or(String::new(), |(value, unit)| format!("{} {unit}", format_value(value))),
            figure
                .peer
                .map_or(String::new(), |(value, who)| format!("{} {who}", format_value(value))),
            ratio,
            floor,
            goal,
            figure.status().as_str().to_owned(),
        ];
        table.add_row(cells.into_iter().enumerate().map(|(at, text)| {
            Cell::new(text).set_alignment(if (2..=6).contains(&at) {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            })
        }));
    }
    let mut text = format!(
        "{} cores, one synced write {:.0} µs, {} round(s) and a warm-up; ratios are \
         medians\n\n{table}\n",
        machine.cores,
        machine.sync.as_secs_f64() * 1e6,
        machine.rounds
    );
    for figure in figures {
        if let Some(reason) = &figure.invalid {
            text.push_str(&format!("\n{} {}: invalid: {reason}", figure.id, figure.measured));
        }
        for note in &figure.notes {
            text.push_str(&format!("\n{} {}: {note}", figure.id, figure.measured));
        }
        if figure.rounds.len() > 1 {
            let rounds: Vec<String> = figure.rounds.iter().map(|&r| format_value(r)).collect();
            text.push_str(&format!(
                "\n{} {}: rounds {}",
                figure.id,
                figure.measured,
                rounds.join(" ")
            ));
        }
    }
    text
}

/// Returns the table as JSON.
#[must_use]
pub fn json(machine: &Machine, figures: &[Figure]) -> Value {
    let rows: Vec<Value> = figures.iter().map(row).collect();
    json!({
        "ok": figures.iter().all(|f| f.status().meets_floor()),
        "machine": {"cores": machine.cores, "sync_us": machine.sync.as_secs_f64() * 1e6},
        "rounds": machine.rounds,
        "figures": rows,
    })
}

fn row(figure: &Figure) -> Value {
    let (floor, goal) = match figure.target {
        Target::AtLeast { floor, goal } | Target::AtMost { floor, goal } => (Some(floor), goal),
        Target::Reported { goal } => (None, goal),
    };
    json!({
        "id": figure.id,
        "measured": figure.measured,
        "figure": figure.ours.map(|(value, _)| value),
        "figure_unit": figure.ours.map(|(_, unit)| unit),
        "peer": figure.peer.map(|(_, who)| who),
        "peer_figure": figure.peer.map(|(value, _)| value),
        "value": figure.value.is_finite().then_some(figure.value),
        "unit": if figure.unit == "×" { "ratio" } else { figure.unit },
        "less_is_better": !matches!(figure.target, Target::AtLeast { .. }),
        "floor": floor,
        "goal": goal,
        "verdict": figure.status().as_str(),
        "invalid": figure.invalid,
        "rounds": figure.rounds,
        "notes": figure.notes,
    })
}

fn targets(figure: &Figure) -> (String, String) {
    let unit = if figure.unit == "×" { String::new() } else { format!(" {}", figure.unit) };
    match figure.target {
        Target::AtLeast { floor, goal } => {
            (format!("{}{unit}", format_value(floor)), format!("≥ {}{unit}", format_value(goal)))
        }
        Target::AtMost { floor, goal } => {
            (format!("{}{unit}", format_value(floor)), format!("≤ {}{unit}", format_value(goal)))
        }
        Target::Reported { goal } => {
            ("reported".to_owned(), format!("≤ {}{unit}", format_value(goal)))
        }
    }
}

/// Formats a value with at least three digits. With five or more digits before the decimal point,
/// separates thousands by commas.
fn format_value(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(w, r)| (w, r));
    let mut out = String::new();
    for (at, c) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && c.is_ascii_digit() && whole.len() > 4 {
            out.push(',');
        }
        out.push(c);
    }
    if rest.is_empty() { out } else { format!("{out}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Comparison;

    fn machine() -> Machine {
        Machine { cores: 2, sync: Duration::from_micros(170), rounds: 2 }
    }

    #[test]
    fn numbers_show_three_digits_and_their_thousands() {
        for (value, text) in [
            (0.853, "0.85"),
            (12.34, "12.3"),
            (4567.0, "4567"),
            (98_765.4, "98,765"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }

    #[test]
    fn the_table_and_its_json_have_the_same_values() {
        let comparison =
            Comparison { ours: vec![90_000.0, 80_000.0], peer: vec![100_000.0, 100_000.0] };
        let figures =
            [
                Figure::new("R1", "sold out", Target::AtLeast { floor: 0.85, goal: 1.0 })
                    .comparison(&comparison, "/s", "nginx"),
                Figure::new("R6", "buyer", Target::AtMost { floor: 200.0, goal: 100.0 })
                    .invalid(&anyhow::anyhow!("lost 3")),
            ];
        let text = text(&machine(), &figures);
        assert!(
            text.contains("90,000 /s") && text.contains("100,000 nginx") && text.contains("0.85"),
            "{text}"
        );
        assert!(text.contains("R6 buyer: invalid: lost 3"), "{text}");
        let json = json(&machine(), &figures);
        assert_eq!(json["ok"], false, "an invalid figure must be a failure");
        assert_eq!(json["figures"][0]["verdict"], "floor");
        assert_eq!(json["figures"][1]["value"], Value::Null);
    }
}
