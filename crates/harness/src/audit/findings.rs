//! Collects findings. The report lists at most 20 findings of each rule. For further findings, it
//! gives only their number.

use std::collections::BTreeMap;
use std::fmt::Display;

use doorbuster_api::admin::audit::{Finding, Notice};
use jiff::Timestamp;

use super::limits::FINDINGS_PER_RULE_MAX;
use super::snapshot::Snapshot;

pub(super) fn format_time(ms: Option<i64>) -> String {
    match ms.map(Timestamp::from_millisecond) {
        Some(Ok(moment)) => format!("{moment:.3}"),
        // The time is outside of the range of `Timestamp`, so the text shows the milliseconds since
        // 1970.
        Some(Err(_)) => format!("{} ms", ms.unwrap_or_default()),
        None => "never".into(),
    }
}

pub(super) fn format_optional<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".into(), |value| value.to_string())
}

#[derive(Debug)]
pub(super) struct Findings<'a> {
    snapshot: &'a Snapshot,
    listed: Vec<Finding>,
    counts: BTreeMap<&'static str, usize>,
    notices: Vec<Notice>,
}

impl<'a> Findings<'a> {
    /// Returns an empty collection.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, listed: Vec::new(), counts: BTreeMap::new(), notices: Vec::new() }
    }

    /// Adds a finding about one item.
    pub fn add_item_finding(&mut self, rule: &'static str, item: i64, detail: String) {
        let known = self.snapshot.items.get(&item);
        let (sale, name) =
            (known.map(|item| item.sale.clone()), known.map(|item| item.name.clone()));
        self.add(rule, sale, name, detail);
    }

    /// Adds a finding about the whole store.
    pub fn add_store_finding(&mut self, rule: &'static str, detail: String) {
        self.add(rule, None, None, detail);
    }

    /// Adds a notice. A notice is an observation and not a finding, so the audit can still succeed.
    pub fn add_notice(&mut self, kind: &str, order: Option<&str>, detail: String) {
        self.notices.push(Notice { kind: kind.into(), order: order.map(str::to_owned), detail });
    }

    fn add(
        &mut self,
        rule: &'static str,
        sale: Option<String>,
        item: Option<String>,
        detail: String,
    ) {
        let count = self.counts.entry(rule).or_default();
        *count += 1;
        if *count <= FINDINGS_PER_RULE_MAX {
            self.listed.push(Finding { rule: rule.into(), sale, item, detail });
        }
    }

    /// Returns all findings and notices.
    pub fn into_parts(mut self) -> (Vec<Finding>, Vec<Notice>) {
        for (rule, count) in self.counts {
            if let Some(more) = count.checked_sub(FINDINGS_PER_RULE_MAX).filter(|more| *more > 0) {
                let detail = format!("and {more} more findings of this rule");
                self.listed.push(Finding { rule: rule.into(), sale: None, item: None, detail });
            }
        }
        (self.listed, self.notices)
    }
}
