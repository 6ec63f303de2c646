//! A figure of the benches: a measured value, its comparison with a peer (another program that does
//! similar work), and whether the value reaches the figure's floor and goal.

/// The floor and the goal of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A larger value is better.
    AtLeast {
        /// The required value.
        floor: f64,
        /// The desired value.
        goal: f64,
    },
    /// A smaller value is better.
    AtMost {
        /// The required value.
        floor: f64,
        /// The desired value.
        goal: f64,
    },
    /// A smaller value is better. The figure has a goal but no floor.
    Reported {
        /// The desired value.
        goal: f64,
    },
}

/// The status of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureStatus {
    /// The goal is reached.
    Goal,
    /// The floor is reached.
    Floor,
    /// The floor is not reached.
    Below,
    /// The goal is not reached, and the figure has no floor.
    Reported,
    /// The figure is not valid: a server returned a wrong result, or the measurement failed.
    Invalid,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The figure's id, such as `R1`.
    pub id: &'static str,
    /// The measured quantity.
    pub measured: String,
    /// Our server's value, and its unit.
    pub ours: Option<(f64, &'static str)>,
    /// The peer's value, and a text with its unit and the peer's name.
    pub peer: Option<(f64, &'static str)>,
    /// The value that is compared with the floor and the goal. It is the ratio of our value to the
    /// peer's value or, without a peer, our value in the unit `unit`.
    pub value: f64,
    /// The unit of a value that is not a ratio.
    pub unit: &'static str,
    /// The floor and the goal.
    pub target: Target,
    /// The compared value of each round.
    pub rounds: Vec<f64>,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// The reason why the figure is not valid.
    pub invalid: Option<String>,
}

impl Figure {
    /// Returns a figure without a value.
    #[must_use]
    pub fn new(id: &'static str, measured: impl Into<String>, target: Target) -> Self {
        Self {
            id,
            measured: measured.into(),
            ours: None,
            peer: None,
            value: f64::NAN,
            unit: "×",
            target,
            rounds: Vec::new(),
            notes: Vec::new(),
            invalid: None,
        }
    }

    /// Sets the figure's value to the median of the rounds' ratios. Our value and the peer's value
    /// come from the round whose ratio is nearest to the median.
    #[must_use]
    pub fn comparison(
        mut self,
        comparison: &Comparison,
        unit: &'static str,
        peer: &'static str,
    ) -> Self {
        self.rounds = comparison.ratios();
        self.value = median(&self.rounds);
        let off = |round: &usize| (self.rounds[*round] - self.value).abs();
        if let Some(round) = (0..self.rounds.len()).min_by(|a, b| off(a).total_cmp(&off(b))) {
            self.ours = Some((comparison.ours[round], unit));
            self.peer = Some((comparison.peer[round], peer));
        }
        self
    }

    /// Sets our measured value and its unit. The floor and the goal then refer to this value, and
    /// not to a ratio to a peer.
    #[must_use]
    pub fn with_value(mut self, value: f64, unit: &'static str) -> Self {
        self.ours = Some((value, unit));
        self.value = value;
        self.unit = unit;
        self.rounds = vec![value];
        self
    }

    /// Adds a note for the reader.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Marks the figure as not valid.
    #[must_use]
    pub fn invalid(mut self, reason: &anyhow::Error) -> Self {
        self.invalid = Some(format!("{reason:#}"));
        self
    }

    /// Returns the figure's status.
    #[must_use]
    pub fn status(&self) -> FigureStatus {
        if self.invalid.is_some() || !self.value.is_finite() {
            return FigureStatus::Invalid;
        }
        let value = self.value;
        match self.target {
            Target::AtLeast { goal, .. } if value >= goal => FigureStatus::Goal,
            Target::AtLeast { floor, .. } if value >= floor => FigureStatus::Floor,
            Target::AtMost { goal, .. } | Target::Reported { goal } if value <= goal => {
                FigureStatus::Goal
            }
            Target::AtMost { floor, .. } if value <= floor => FigureStatus::Floor,
            Target::AtLeast { .. } | Target::AtMost { .. } => FigureStatus::Below,
            Target::Reported { .. } => FigureStatus::Reported,
        }
    }
}

impl FigureStatus {
    /// Returns the status in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Goal => "goal",
            Self::Floor => "floor",
            Self::Below => "below the floor",
            Self::Reported => "reported",
            Self::Invalid => "invalid",
        }
    }

    /// Returns whether the figure meets its floor.
    #[must_use]
    pub fn meets_floor(self) -> bool {
        !matches!(self, Self::Below | Self::Invalid)
    }
}

/// The values of our server and the values of the peer. Each list has one value per round.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Our server's values.
    pub ours: Vec<f64>,
    /// The peer's values.
    pub peer: Vec<f64>,
}

impl Comparison {
    /// Returns the ratio of each round: our value divided by the peer's value.
    #[must_use]
    pub fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.peer).map(|(ours, peer)| ours / peer).collect()
    }
}

/// Measures our server and the peer, one after the other, in one warm-up round and in `rounds`
/// further rounds. Each round starts with the program that was second in the previous round.
///
/// # Errors
///
/// Fails if a measurement failed or had a wrong result.
pub fn compare_alternating(
    rounds: usize,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut peer: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::default();
    for round in 0..=rounds {
        let (a, b) = if round % 2 == 0 {
            let a = ours()?;
            (a, peer()?)
        } else {
            let b = peer()?;
            (ours()?, b)
        };
        if round > 0 {
            comparison.ours.push(a);
            comparison.peer.push(b);
        }
    }
    Ok(comparison)
}

/// Returns the median. For an even number of values, the median is the mean of the middle two.
/// Without values, returns NaN.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: Target, value: f64, verdict: FigureStatus) {
        let figure = Figure { value, ..Figure::new("R0", "a test", target) };
        assert_eq!(figure.status(), verdict, "{value}");
    }

    #[test]
    fn a_figure_has_the_status_of_its_goal_or_floor() {
        let more = Target::AtLeast { floor: 0.85, goal: 1.0 };
        check(more, 1.0, FigureStatus::Goal);
        check(more, 0.85, FigureStatus::Floor);
        check(more, 0.84, FigureStatus::Below);
        check(more, f64::NAN, FigureStatus::Invalid);
        let less = Target::AtMost { floor: 200.0, goal: 100.0 };
        check(less, 100.0, FigureStatus::Goal);
        check(less, 150.0, FigureStatus::Floor);
        check(less, 201.0, FigureStatus::Below);
        check(Target::Reported { goal: 1.2 }, 1.1, FigureStatus::Goal);
        check(Target::Reported { goal: 1.2 }, 1.3, FigureStatus::Reported);
    }

    #[test]
    fn an_invalid_figure_never_meets_its_floor() {
        let figure =
            Figure::new("R0", "a test", Target::Reported { goal: 1.0 }).with_value(0.5, "×");
        assert_eq!(
            figure.clone().invalid(&anyhow::anyhow!("oversold")).status(),
            FigureStatus::Invalid
        );
        assert_eq!(figure.status(), FigureStatus::Goal);
    }

    #[test]
    fn rounds_alternate_and_the_warm_up_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let ours = || {
            order.borrow_mut().push('o');
            Ok(order.borrow().len() as f64)
        };
        let peer = || {
            order.borrow_mut().push('p');
            Ok(2.0)
        };
        let comparison = compare_alternating(2, ours, peer).expect("both sides can be measured");
        assert_eq!(*order.borrow(), "oppoop");
        assert_eq!(comparison.ratios(), [2.0, 2.5]);
        assert!((median(&comparison.ratios()) - 2.25).abs() < 1e-9);
    }
}
