//! Metrics as text, in the exposition format of Prometheus.

use std::fmt::Write;

use super::histogram::HistogramSnapshot;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A value that only rises.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// A histogram, with its buckets, its sum and its count.
    Histogram,
}

/// Writes a page of metrics.
#[derive(Debug, Default)]
pub struct MetricsText {
    out: String,
    name: &'static str,
}

impl MetricsText {
    /// Begins the metric `name`. The caller then writes the samples of this metric.
    pub fn metric(&mut self, name: &'static str, kind: MetricKind, help: &str) -> &mut Self {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.name = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// Writes a gauge that has one sample and no labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: impl std::fmt::Display) {
        self.gauge_if(name, help, Some(value));
    }

    /// Writes a counter that has one sample and no labels.
    pub fn counter(&mut self, name: &'static str, help: &str, value: impl std::fmt::Display) {
        self.counter_if(name, help, Some(value));
    }

    /// Like [`MetricsText::gauge`], but writes no sample if there is no value.
    pub fn gauge_if(
        &mut self,
        name: &'static str,
        help: &str,
        value: Option<impl std::fmt::Display>,
    ) {
        self.metric(name, MetricKind::Gauge, help);
        value.into_iter().for_each(|value| self.line("", &[], value));
    }

    /// Like [`MetricsText::counter`], but writes no sample if there is no value.
    pub fn counter_if(
        &mut self,
        name: &'static str,
        help: &str,
        value: Option<impl std::fmt::Display>,
    ) {
        self.metric(name, MetricKind::Counter, help);
        value.into_iter().for_each(|value| self.line("", &[], value));
    }

    /// Writes a sample of the current metric. Label values are not escaped, because the names from
    /// this program and from operators have no quote, backslash or line break.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    /// Writes the samples of a histogram, and converts microseconds to seconds.
    pub fn histogram(&mut self, snapshot: &HistogramSnapshot) -> &mut Self {
        for (bound_us, sum) in snapshot.cumulative() {
            let bound = seconds(bound_us);
            self.line("_bucket", &[("le", &bound)], sum);
        }
        self.line("_bucket", &[("le", "+Inf")], snapshot.count());
        self.line("_sum", &[], seconds(snapshot.sum_us));
        self.line("_count", &[], snapshot.count());
        self
    }

    /// Writes the samples of a histogram whose values are not times. `counts` has one count for
    /// each bucket.
    pub fn buckets(&mut self, bounds: &[usize], counts: &[u64], sum: u64) -> &mut Self {
        let mut all = 0;
        for (index, count) in counts.iter().enumerate() {
            all += count;
            // The last bucket has no upper bound. Its sample has the label `+Inf` below.
            if let Some(bound) = bounds.get(index).filter(|_| index + 1 < counts.len()) {
                self.line("_bucket", &[("le", &bound.to_string())], all);
            }
        }
        self.line("_bucket", &[("le", "+Inf")], all);
        self.line("_sum", &[], sum);
        self.line("_count", &[], all);
        self
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let name = self.name;
        self.write(format_args!("{name}{suffix}"));
        for (index, (label, of)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.write(format_args!("{open}{label}=\"{of}\""));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{close} {value}\n"));
    }

    fn write(&mut self, what: std::fmt::Arguments<'_>) {
        self.out.write_fmt(what).expect("writing to a string cannot fail");
    }

    /// Returns the page.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }
}

/// Converts microseconds to seconds, without the rounding errors of floating-point numbers.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn a_page_follows_the_text_format() {
        let histogram = Histogram::default();
        histogram.record(std::time::Duration::from_micros(1_200));
        let mut text = MetricsText::default();
        text.metric("a_total", MetricKind::Counter, "Things.")
            .sample(&[("x", "1"), ("y", "b")], 7)
            .sample(&[], 1.5);
        text.metric("b_seconds", MetricKind::Histogram, "Times.").histogram(&histogram.read());
        text.metric("c_tickets", MetricKind::Histogram, "Sizes.").buckets(
            &[1, 4, 16],
            &[2, 1, 5],
            90,
        );
        let page = text.finish();
        for line in [
            "# HELP a_total Things.",
            "# TYPE a_total counter",
            "a_total{x=\"1\",y=\"b\"} 7",
            "a_total 1.5",
            "b_seconds_bucket{le=\"0.001\"} 0",
            "b_seconds_bucket{le=\"0.0015\"} 1",
            "b_seconds_bucket{le=\"60\"} 1",
            "b_seconds_bucket{le=\"+Inf\"} 1",
            "b_seconds_sum 0.0012",
            "b_seconds_count 1",
            "c_tickets_bucket{le=\"1\"} 2",
            "c_tickets_bucket{le=\"4\"} 3",
            "c_tickets_bucket{le=\"+Inf\"} 8",
            "c_tickets_count 8",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("le=\"16\""), "the last bucket must not have a bound");
    }
}
