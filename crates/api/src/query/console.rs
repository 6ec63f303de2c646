//! Query strings of the list of actions, of a waitlist, and of a sale's time series.

use super::pairs::Pairs;
use super::{Page, page};
use crate::limits::{ACTION_FILTER_BYTES_MAX, SERIES_STEPS};
use crate::problem::Problem;
use crate::value::Time;

/// The query of `GET /v1/admin/actions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionQuery {
    /// Only actions of this operator.
    pub by: Option<String>,
    /// Only actions with this name, such as `sale.opened`.
    pub action: Option<String>,
    /// Only actions on this subject.
    pub subject: Option<String>,
    /// The requested page of the list.
    pub page: Page,
}

impl ActionQuery {
    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_operator(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let [by, action, subject] = filters(&mut pairs);
        let page = page(&mut pairs);
        pairs.into_result(Self { by, action, subject, page })
    }

    /// Parses the query of an export, which has no pages.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_export(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let [by, action, subject] = filters(&mut pairs);
        pairs.into_result(Self { by, action, subject, page: Page::default() })
    }
}

fn filters(pairs: &mut Pairs<'_>) -> [Option<String>; 3] {
    ["by", "action", "subject"].map(|parameter| {
        pairs.single_value(parameter, "must be 1 to 128 visible ASCII characters", |text| {
            let fits = text.len() <= ACTION_FILTER_BYTES_MAX
                && text.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| text.to_owned())
        })
    })
}

/// Parses the query for one page of a waitlist.
///
/// # Errors
/// `422`; the problem lists each invalid parameter.
pub fn parse_page(query: &str) -> Result<Page, Problem> {
    let mut pairs = Pairs::parse(query);
    let page = page(&mut pairs);
    pairs.into_result(page)
}

/// The query of `GET /v1/admin/sales/{sale}/series`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// The requested start of the time series. `None` means one hour before its end.
    pub from: Option<Time>,
    /// The requested end of the time series. `None` means the present time.
    pub to: Option<Time>,
    /// The length of a step, in seconds: one of [`SERIES_STEPS`].
    pub step_secs: u32,
}

impl SeriesQuery {
    /// Parses an operator's query.
    ///
    /// # Errors
    /// `422`; the problem lists each invalid parameter.
    pub fn for_operator(query: &str) -> Result<Self, Problem> {
        let mut pairs = Pairs::parse(query);
        let [from, to] = ["from", "to"].map(|parameter| {
            pairs.single_value(
                parameter,
                "must be an RFC 3339 time, such as 2026-11-20T10:00:00.000Z",
                Time::parse,
            )
        });
        let step = pairs.single_value("step", "must be 1, 10 or 60", |text| {
            SERIES_STEPS.into_iter().find(|step| step.to_string() == text)
        });
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            pairs.fault("to", "must not be before from");
        }
        pairs.into_result(Self { from, to, step_secs: step.unwrap_or(SERIES_STEPS[0]) })
    }
}
