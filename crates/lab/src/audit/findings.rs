//! Gathers what is wrong, bounded per rule: a broken store is told in twenty examples and a number, not in a million lines.

use std::collections::BTreeMap;

use doorbuster_api::admin::audit::{Finding, Notice};

use super::limits::FINDINGS_PER_RULE_MAX;
use super::rows::Truth;

/// What has been found so far.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    truth: &'a Truth,
    listed: Vec<Finding>,
    counts: BTreeMap<&'static str, usize>,
    notices: Vec<Notice>,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    pub fn new(truth: &'a Truth) -> Self {
        Self { truth, listed: Vec::new(), counts: BTreeMap::new(), notices: Vec::new() }
    }

    /// Something about one item.
    pub fn item(&mut self, rule: &'static str, item: i64, detail: String) {
        let known = self.truth.items.get(&item);
        let (sale, name) = (known.map(|item| item.sale.clone()), known.map(|item| item.name.clone()));
        self.add(rule, sale, name, detail);
    }

    /// Something about the store as a whole.
    pub fn store(&mut self, rule: &'static str, detail: String) {
        self.add(rule, None, None, detail);
    }

    /// Something that needs no mending but should be known.
    pub fn notice(&mut self, kind: &str, order: Option<&str>, detail: String) {
        self.notices.push(Notice { kind: kind.into(), order: order.map(str::to_owned), detail });
    }

    fn add(&mut self, rule: &'static str, sale: Option<String>, item: Option<String>, detail: String) {
        let count = self.counts.entry(rule).or_default();
        *count += 1;
        if *count <= FINDINGS_PER_RULE_MAX {
            self.listed.push(Finding { rule: rule.into(), sale, item, detail });
        }
    }

    /// All findings and notices.
    pub fn into_parts(mut self) -> (Vec<Finding>, Vec<Notice>) {
        for (rule, count) in self.counts {
            if let Some(more) = count.checked_sub(FINDINGS_PER_RULE_MAX).filter(|more| *more > 0) {
                let detail = format!("and {more} more of this rule");
                self.listed.push(Finding { rule: rule.into(), sale: None, item: None, detail });
            }
        }
        (self.listed, self.notices)
    }
}
