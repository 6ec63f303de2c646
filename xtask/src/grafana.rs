//! `cargo xtask grafana`: writes the Grafana dashboard `packaging/grafana/doorbuster.json` from the
//! tables of metrics in `docs/operating.md`. Tests check that the dashboard is up to date, and that
//! the rules of Prometheus use only metrics of these tables.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const DASHBOARD: &str = "packaging/grafana/doorbuster.json";
/// The number of panels in a row. Grafana has 24 columns.
const PER_LINE: usize = 3;
const COLUMNS: usize = 24;
const HEIGHT: usize = 8;

/// If the guide's text about a counter contains these words, the counter is the same at every node.
const SHARED: &str = "each node reports the total of all nodes";

/// A metric of the guide.
struct Metric {
    name: String,
    labels: Vec<String>,
    meaning: String,
}

/// A section of the guide with its metrics.
struct Group {
    title: String,
    metrics: Vec<Metric>,
}

/// Writes the dashboard.
pub fn run() -> Result<()> {
    let root = root()?;
    let path = root.join(DASHBOARD);
    std::fs::create_dir_all(path.parent().context("the file has no directory")?)?;
    std::fs::write(&path, rendered(root)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("grafana: wrote {DASHBOARD}");
    Ok(())
}

fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")
}

fn rendered(root: &Path) -> Result<String> {
    let guide = std::fs::read_to_string(root.join("docs/operating.md"))?;
    let groups = metric_groups(&guide);
    ensure!(!groups.is_empty(), "docs/operating.md has no tables of metrics");
    Ok(format!("{:#}\n", dashboard(&groups)))
}

/// Reads the metrics of the guide. Each subsection of the guide's section "Metrics" becomes one
/// group.
fn metric_groups(guide: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut is_inside = false;
    for line in guide.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            is_inside = title == "Metrics";
        } else if let Some(title) = line.strip_prefix("### ").filter(|_| is_inside) {
            groups.push(Group { title: title.to_owned(), metrics: Vec::new() });
        } else if is_inside
            && let Some(group) = groups.last_mut()
            && let Some(metric) = metric(line)
        {
            group.metrics.push(metric);
        }
    }
    groups
}

fn metric(line: &str) -> Option<Metric> {
    let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.splitn(3, '|').map(str::trim);
    let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
    let in_code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let labels = in_code(cells.next()?);
    Some(Metric { name, labels, meaning: cells.next()?.to_owned() })
}

fn dashboard(groups: &[Group]) -> Value {
    let (mut panels, mut y, mut id) = (Vec::new(), 0, 0);
    let mut next_id = || {
        id += 1;
        id
    };
    for group in groups {
        panels.push(json!({
            "id": next_id(), "type": "row", "title": group.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }));
        y += 1;
        for (at, metric) in group.metrics.iter().enumerate() {
            let (line, place) = (at / PER_LINE, at % PER_LINE);
            let width = COLUMNS / PER_LINE;
            let grid = json!({
                "x": place * width, "y": y + line * HEIGHT, "w": width, "h": HEIGHT,
            });
            panels.push(panel(metric, next_id(), &grid));
        }
        y += group.metrics.len().div_ceil(PER_LINE) * HEIGHT;
    }
    json!({
        "title": "Doorbuster",
        "uid": "doorbuster",
        "description": "Every metric of docs/operating.md. Written by `cargo xtask grafana`.",
        "schemaVersion": 39,
        "editable": true,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": [{
            "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source",
        }]},
        "panels": panels,
    })
}

fn panel(metric: &Metric, id: u32, grid: &Value) -> Value {
    let (expression, unit) = expression(metric);
    let legend = match metric.labels.as_slice() {
        [] => "{{instance}}".to_owned(),
        labels => {
            labels.iter().map(|label| format!("{{{{{label}}}}}")).collect::<Vec<_>>().join(" ")
        }
    };
    json!({
        "id": id,
        "type": "timeseries",
        "title": metric.name,
        "description": metric.meaning.replace('`', ""),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": grid,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": expression, "legendFormat": legend}],
    })
}

/// Returns the Prometheus expression that shows a metric, and its unit. If each node reports the
/// total of all nodes, the expression takes the maximum over the nodes, and not the sum.
fn expression(Metric { name, labels, meaning }: &Metric) -> (String, &'static str) {
    let by = if labels.is_empty() { "instance".to_owned() } else { labels.join(", ") };
    let unit = if name.ends_with("_seconds") { "s" } else { "short" };
    if meaning.contains("(histogram)") {
        let rate = format!("sum by (le, {by}) (rate({name}_bucket[1m]))");
        (format!("histogram_quantile(0.99, {rate})"), unit)
    } else if name.ends_with("_total") {
        let function = if meaning.contains(SHARED) { "max" } else { "sum" };
        (format!("{function} by ({by}) (rate({name}[1m]))"), "cps")
    } else if name.ends_with("_bytes") {
        (name.clone(), "bytes")
    } else if name == "process_start_time_seconds" {
        (format!("time() - {name}"), "s")
    } else {
        (name.clone(), unit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use doorbuster_testkit::tool::program;

    use super::*;

    #[test]
    fn a_row_has_a_name_labels_and_a_meaning() {
        let plain = metric("| `up` | | `0` after a failure (histogram) |").expect("a row");
        assert_eq!((plain.name.as_str(), plain.labels.len()), ("up", 0));
        assert_eq!(plain.meaning, "`0` after a failure (histogram)");
        let labelled = metric("| `requests` | `route`, `status` | requests |").expect("a row");
        assert_eq!(labelled.labels, ["route", "status"]);
        assert!(metric("| metric | labels | meaning |").is_none());
    }

    #[test]
    fn the_expression_of_a_metric_keeps_the_labels_of_its_legend() {
        let of = |row: &str| expression(&metric(row).expect("a row")).0;
        assert_eq!(of("| `a_total` | `b` | requests |"), "sum by (b) (rate(a_total[1m]))");
        let shared = format!("| `a_total` | `b` | grants; {SHARED} |");
        assert_eq!(of(&shared), "max by (b) (rate(a_total[1m]))");
        let percentile = "histogram_quantile(0.99, sum by (le, instance) (rate(a_bucket[1m])))";
        assert_eq!(of("| `a` | | time (histogram) |"), percentile);
    }

    #[test]
    fn counters_that_the_store_counts_are_not_added_up() {
        let guide = root().expect("a root").join("docs/operating.md");
        let groups = metric_groups(&std::fs::read_to_string(guide).expect("a guide"));
        for name in ["doorbuster_waiting_room_admitted_total", "doorbuster_grants_closed_total"] {
            let mut metrics = groups.iter().flat_map(|group| &group.metrics);
            let metric = metrics.find(|metric| metric.name == name).expect("a row");
            assert!(expression(metric).0.starts_with("max by "), "{name}");
        }
    }

    #[test]
    fn the_dashboard_matches_the_guide() {
        let root = root().expect("a root");
        let found = std::fs::read_to_string(root.join(DASHBOARD)).unwrap_or_default();
        assert!(found == rendered(root).expect("a guide"), "run `cargo xtask grafana`");
    }

    fn promtool(words: [&str; 3]) {
        let dir = root().expect("a root").join("packaging/prometheus");
        let mut command = std::process::Command::new(program("promtool"));
        let output = command.current_dir(dir).args(words).output().expect("promtool starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}{error}");
    }

    #[test]
    fn the_rules_of_prometheus_are_valid_and_each_fires_in_a_test() {
        promtool(["check", "rules", "alerts.yml"]);
        promtool(["test", "rules", "alerts_test.yml"]);
        let dir = root().expect("a root").join("packaging/prometheus");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
        let (rules, tests) = (read("alerts.yml"), read("alerts_test.yml"));
        let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        for name in names {
            assert!(tests.contains(&format!("alertname: {name}\n")), "no test fires {name}");
        }
    }

    #[test]
    fn every_event_that_a_rule_counts_exists() {
        let file = root().expect("a root").join("packaging/prometheus/alerts.yml");
        let rules = std::fs::read_to_string(file).expect("rules");
        let events = rules.split("event=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let mut counted = 0;
        for code in events {
            let known =
                doorbuster_api::log_event::LOG_EVENTS.iter().any(|event| event.code == code);
            assert!(known, "alerts.yml counts {code}, which no log line has");
            counted += 1;
        }
        assert!(counted > 5, "{counted}");
    }

    #[test]
    fn every_rule_of_prometheus_has_an_alarm_in_the_guide() {
        let root = root().expect("a root");
        let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("a file");
        let (guide, rules) = (read("docs/operating.md"), read("packaging/prometheus/alerts.yml"));
        let (_, alarms) = guide.split_once("\n## Alarms\n").expect("a section");
        let alarms = alarms.split("\n## ").next().unwrap_or_default();
        for event in rules.split("event=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(alarms.contains(&format!("event=\"{event}\"")), "no alarm has {event}");
        }
        let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.starts_with("doorbuster_")) {
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(alarms.contains(&format!("`{name}`")), "no alarm has {name}");
        }
    }

    #[test]
    fn every_rule_of_prometheus_uses_metrics_of_the_guide() {
        let root = root().expect("a root");
        let guide = std::fs::read_to_string(root.join("docs/operating.md")).expect("a guide");
        let groups = metric_groups(&guide);
        let known: BTreeSet<&str> = groups
            .iter()
            .flat_map(|group| &group.metrics)
            .map(|metric| metric.name.as_str())
            .collect();
        assert!(known.len() > 50, "{}", known.len());
        let rules = std::fs::read_to_string(root.join("packaging/prometheus/alerts.yml"));
        let rules = rules.expect("rules");
        let words = rules.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let mut used = 0;
        for word in words.filter(|word| word.starts_with("doorbuster_")) {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            let is_known = known.contains(word) || name.is_some_and(|name| known.contains(name));
            assert!(is_known, "alerts.yml uses {word}, which docs/operating.md does not have");
            used += 1;
        }
        assert!(used > 15, "{used}");
    }
}
