//! The counters of removed sales. The totals in the metrics include these counters, so that a total
//! does not fall when a sale is removed.
use doorbuster_api::problem::RateLimitScope;
use doorbuster_telemetry::answer_counts::{AnswerCounts, AnswerKind};

use crate::sale_limits::{Route, SaleLimitState};

#[derive(Clone, Debug, Default)]
pub(super) struct RemovedCounts {
    answers: [u64; AnswerKind::ALL.len()],
    refused: [[u64; RateLimitScope::ALL.len()]; Route::ALL.len()],
}

impl RemovedCounts {
    pub(super) fn add(&mut self, answers: &AnswerCounts, limits: &SaleLimitState) {
        for kind in AnswerKind::ALL {
            self.answers[*kind as usize] += answers.get(*kind);
        }
        for route in Route::ALL {
            for scope in RateLimitScope::ALL {
                self.refused[route as usize][scope as usize] += limits.refused(route, scope);
            }
        }
    }

    pub(super) fn answers(&self, kind: AnswerKind) -> u64 {
        self.answers[kind as usize]
    }

    pub(super) fn refused(&self, route: Route, scope: RateLimitScope) -> u64 {
        self.refused[route as usize][scope as usize]
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::{IdKey, Millis, Phase};
    use doorbuster_store::SaleRow;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::slot_layout::SlotLayout;

    #[test]
    fn the_totals_keep_the_counters_of_a_removed_sale() {
        let row = SaleRow {
            id: "spring".into(),
            title: "Spring".into(),
            phase: Phase::Closed,
            starts_at: None,
            ends_at: None,
            front_door: "{}".into(),
            page: String::new(),
            version: 1,
            created_at: Millis(0),
            opened_at: None,
            closed_at: None,
            draining_until: None,
            items: Vec::new(),
        };
        let mut catalogue = Catalogue::default();
        catalogue.put_sale(row, &[], &IdKey::new([7; 32]), SlotLayout::SingleNode);
        let runtime = catalogue.sale("spring").expect("just put").runtime.clone();
        runtime.answer_counts.add(AnswerKind::SoldOut, 3);
        runtime.limits.count_refusal(Route::Pass, RateLimitScope::Ip);
        let totals = |catalogue: &Catalogue| {
            let refused = catalogue.refused(Route::Pass, RateLimitScope::Ip);
            (catalogue.answers(AnswerKind::SoldOut), refused)
        };
        assert_eq!(totals(&catalogue), (3, 1));
        catalogue.remove("spring");
        assert!(catalogue.sale("spring").is_none());
        assert_eq!(totals(&catalogue), (3, 1));
    }
}
