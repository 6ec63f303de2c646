//! Converts the page of metrics to an OTLP request.

use serde_json::{Value, json};

use super::{attribute, nanos, resource};

/// OTLP's number for cumulative counters. The counters of Prometheus are cumulative.
const CUMULATIVE: u8 = 2;

#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

/// Returns the OTLP request for `page`, a page of metrics in the format of Prometheus. `page` was
/// rendered at `at_ms`, by a program that started at `began_ms`.
pub(super) fn request(page: &str, began_ms: i64, at_ms: i64) -> Value {
    let metrics: Vec<Value> = families(page)
        .iter()
        .filter_map(|family| family.to_json(&nanos(began_ms), &nanos(at_ms)))
        .collect();
    json!({"resourceMetrics": [{
        "resource": resource(),
        "scopeMetrics": [{"scope": {"name": "doorbuster"}, "metrics": metrics}],
    }]})
}

#[derive(Debug, Default)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'a str,
    samples: Vec<Sample<'a>>,
}

fn families(page: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            families.push(Family { name, help, ..Family::default() });
        } else if let Some((_, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.last_mut().into_iter().for_each(|family| family.kind = kind);
        } else if let (Some(family), Some(sample)) = (families.last_mut(), sample(line)) {
            family.samples.push(sample);
        }
    }
    families
}

/// Parses a line such as `name{label="value"} 1`. No label value contains a quote, because the
/// program writes none. Returns `None` for any other line.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (head, ""),
    };
    let mut found = Vec::new();
    let mut rest = labels;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        found.push((label, value));
        rest = next.trim_start_matches(',');
    }
    Some(Sample { name, labels: found, value: value.parse().ok()? })
}

impl Family<'_> {
    /// Returns `None` if the metric has no sample.
    fn to_json(&self, began: &str, at: &str) -> Option<Value> {
        if self.samples.is_empty() {
            return None;
        }
        let point = |sample: &Sample<'_>| {
            let labels: Vec<Value> =
                sample.labels.iter().map(|(label, value)| attribute(label, value)).collect();
            json!({
                "attributes": labels, "startTimeUnixNano": began, "timeUnixNano": at,
                "asDouble": sample.value,
            })
        };
        let points = || self.samples.iter().map(point).collect::<Vec<_>>();
        let (kind, data) = match self.kind {
            "counter" => (
                "sum",
                json!({
                    "dataPoints": points(), "aggregationTemporality": CUMULATIVE,
                    "isMonotonic": true,
                }),
            ),
            "histogram" => ("histogram", self.histogram(began, at)),
            _ => ("gauge", json!({"dataPoints": points()})),
        };
        let mut metric = json!({"name": self.name, "description": self.help});
        metric[kind] = data;
        Some(metric)
    }

    /// Returns the OTLP histogram. All histograms of this program have cumulative buckets, and only
    /// the label `le`.
    fn histogram(&self, began: &str, at: &str) -> Value {
        let ends = |end: &str| {
            let of = self.samples.iter().find(|sample| sample.name.ends_with(end));
            of.map_or(0.0, |sample| sample.value)
        };
        let (mut bounds, mut counts, mut before) = (Vec::new(), Vec::new(), 0.0);
        for bucket in self.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
            counts.push(format!("{}", bucket.value - before));
            before = bucket.value;
            let bound = bucket.labels.iter().find(|(label, _)| *label == "le");
            bounds
                .extend(bound.and_then(|(_, le)| le.parse::<f64>().ok()).filter(|b| b.is_finite()));
        }
        json!({
            "aggregationTemporality": CUMULATIVE,
            "dataPoints": [{
                "startTimeUnixNano": began, "timeUnixNano": at,
                "count": format!("{}", ends("_count")), "sum": ends("_sum"), "bucketCounts": counts, "explicitBounds": bounds,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_metrics_becomes_a_request() {
        let page = "# HELP one_total Things.\n# TYPE one_total counter\n\
                    one_total{kind=\"a\",sale=\"b\"} 3\none_total{kind=\"c\",sale=\"b\"} 4\n\
                    # HELP two Now.\n# TYPE two gauge\ntwo 0.5\n\
                    # HELP none Nothing.\n# TYPE none gauge\n\
                    # HELP long Times.\n# TYPE long histogram\n\
                    long_bucket{le=\"0.1\"} 1\nlong_bucket{le=\"0.2\"} 3\n\
                    long_bucket{le=\"+Inf\"} 4\nlong_sum 1.5\nlong_count 4\n";
        let request = request(page, 1, 2);
        let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        assert_eq!(metrics.as_array().map(Vec::len), Some(3), "{request:#}");
        let sum = &metrics[0]["sum"];
        assert_eq!((&metrics[0]["name"], &sum["isMonotonic"]), (&"one_total".into(), &true.into()));
        assert_eq!(sum["dataPoints"][1]["asDouble"], 4.0);
        assert_eq!(sum["dataPoints"][0]["timeUnixNano"], "2000000");
        assert_eq!(sum["dataPoints"][0]["attributes"][1], attribute("sale", "b"));
        assert_eq!(metrics[1]["gauge"]["dataPoints"][0]["asDouble"], 0.5);
        let point = &metrics[2]["histogram"]["dataPoints"][0];
        assert_eq!(point["bucketCounts"], json!(["1", "2", "1"]));
        assert_eq!(point["explicitBounds"], json!([0.1, 0.2]));
        assert_eq!((&point["count"], &point["sum"]), (&"4".into(), &1.5.into()));
    }
}
