//! Computes the slopes of samples, and compares them with the allowed slopes.

/// Returns the slope of the line that fits these points best, by least squares. Returns `None` for
/// fewer than two points, or if all points have the same x.
#[must_use]
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|point| (point.0 - mean_x).powi(2)).sum();
    if points.len() < 2 || spread == 0.0 {
        return None;
    }
    Some(points.iter().map(|point| (point.0 - mean_x) * (point.1 - mean_y)).sum::<f64>() / spread)
}

/// The slope of one measured value, and the largest allowed slope.
#[derive(Debug, Clone, PartialEq)]
pub struct SlopeCheck {
    /// The name of the measured value.
    pub what: String,
    /// The unit of the slope, such as `MiB/h`.
    pub unit: &'static str,
    /// The slope, or `None` if there are too few samples to compute it.
    pub slope: Option<f64>,
    /// The largest allowed slope. `None` means that the slope is only reported.
    pub most: Option<f64>,
    /// The last measured value.
    pub last: f64,
}

impl SlopeCheck {
    /// Returns whether the slope is known and allowed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.most.is_none_or(|most| self.slope.is_some_and(|slope| slope <= most))
    }

    /// Returns the report's line about this value.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { what, unit, last, .. } = self;
        let verdict = match (self.most, self.slope) {
            (None, _) => "reported only".to_owned(),
            (Some(_), None) => "NO SLOPE".to_owned(),
            (Some(most), Some(_)) if self.is_ok() => format!("ok, at most {most:.2}"),
            (Some(most), Some(_)) => format!("GROWS, at most {most:.2} is allowed"),
        };
        let slope = self.slope.unwrap_or(f64::NAN);
        format!("{what:<34} {slope:>12.3} {unit:<14} last {last:>12.1}  {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line_through_the_points() {
        let line = |by: f64| (0..10).map(|x| (f64::from(x), 3.0 + by * f64::from(x))).collect();
        for by in [0.0, 2.0, -1.5] {
            let points: Vec<(f64, f64)> = line(by);
            assert!(slope(&points).is_some_and(|found| (found - by).abs() < 1e-9), "{by}");
        }
        // The deviations above and below the line cancel out, so they change the slope only a
        // little.
        let noisy: Vec<(f64, f64)> =
            (0..100).map(|x| (f64::from(x), f64::from(x % 2) * 10.0 + f64::from(x))).collect();
        let of_noisy = slope(&noisy).expect("different points");
        assert!((of_noisy - 1.0).abs() < 0.02, "{of_noisy}");
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[(1.0, 5.0), (1.0, 9.0)]), None);
    }

    #[test]
    fn a_slope_over_its_bound_is_named() {
        let judged = |slope, most| SlopeCheck {
            what: "memory".into(),
            unit: "MiB/h",
            slope,
            most,
            last: 1.0,
        };
        assert!(judged(Some(5.0), None).is_ok() && judged(Some(5.0), Some(5.0)).is_ok());
        assert!(!judged(Some(5.1), Some(5.0)).is_ok());
        assert!(judged(Some(5.1), Some(5.0)).to_text().contains("GROWS"));
        assert!(!judged(None, Some(5.0)).is_ok() && judged(None, None).is_ok());
    }
}
