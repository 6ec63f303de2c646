//! The state of a sale, as pages show it to visitors without JavaScript and to search engines. The
//! pages' script `scene.js` derives the state by the same rules. The cases in `state/cases.json`
//! test both this file and the script.

use doorbuster_api::sale::{ItemState, Phase, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownState {
    Soon,
    Open,
    /// No item has free units, but units may be returned.
    NoneLeft,
    SoldOut,
    Paused,
    Ended,
}

impl ShownState {
    pub(crate) fn of(status: &Status) -> Self {
        let all = |wanted: &[ItemState]| {
            !status.items.is_empty() && status.items.iter().all(|item| wanted.contains(&item.state))
        };
        match status.phase {
            Phase::Draft | Phase::Scheduled => Self::Soon,
            Phase::Open if all(&[ItemState::SoldOut]) => Self::SoldOut,
            Phase::Open if all(&[ItemState::SoldOut, ItemState::HeldOut]) => Self::NoneLeft,
            Phase::Open => Self::Open,
            Phase::Paused => Self::Paused,
            Phase::Closed => Self::Ended,
        }
    }

    /// The text in both languages.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Soon => "Opens soon / 即将开抢",
            Self::Open => "Open now / 正在抢购",
            Self::NoneLeft => "None left now / 暂时无货",
            Self::SoldOut => "Sold out / 已售罄",
            Self::Paused => "Paused / 已暂停",
            Self::Ended => "Ended / 已结束",
        }
    }

    /// Returns the `ItemAvailability` of schema.org.
    pub(super) const fn availability(self) -> &'static str {
        match self {
            Self::Soon => "https://schema.org/PreSale",
            Self::Open => "https://schema.org/LimitedAvailability",
            Self::NoneLeft | Self::Paused => "https://schema.org/OutOfStock",
            Self::SoldOut | Self::Ended => "https://schema.org/SoldOut",
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_api::sale::ItemStatus;
    use doorbuster_api::value::Time;
    use serde::Deserialize;

    use super::*;

    /// The browser tests read the same cases.
    const CASES: &str = include_str!("state/cases.json");
    const NOW_MS: i64 = 1_795_800_000_000;

    type Row = (ItemState, Option<u64>, Option<u64>, u64);

    /// A test case: a status, and the state that pages must show for it.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        phase: Phase,
        started: bool,
        starts_secs: Option<i64>,
        ends_secs: Option<i64>,
        /// For each item: its state, all its units, its free units and its held units.
        items: Vec<Row>,
        shown: String,
    }

    fn status(case: &Case) -> Status {
        let time = |secs: i64| Time::from_millis(NOW_MS + secs * 1_000);
        let item = |(n, &(state, count, remaining, held)): (usize, &Row)| ItemStatus {
            item: format!("item-{n}"),
            state,
            count,
            access: count.unwrap_or_default() - remaining.unwrap_or_default(),
            remaining,
            held,
        };
        Status {
            server_time: Time::from_millis(NOW_MS),
            sale: String::from("spring"),
            phase: case.phase,
            started: case.started,
            starts_at: case.starts_secs.map(time),
            ends_at: case.ends_secs.map(time),
            version: String::from("v"),
            front_door: doorbuster_api::sale::StatusFrontDoor::default(),
            items: case.items.iter().enumerate().map(item).collect(),
        }
    }

    #[test]
    fn the_page_without_a_script_shows_the_state_of_the_common_cases() {
        let cases: Vec<Case> = serde_json::from_str(CASES).expect("the cases are valid");
        for case in &cases {
            let shown = match ShownState::of(&status(case)) {
                ShownState::Soon => "soon",
                ShownState::Open => "open",
                ShownState::NoneLeft => "none_left",
                ShownState::SoldOut => "sold_out",
                ShownState::Paused => "paused",
                ShownState::Ended => "ended",
            };
            assert_eq!(shown, case.shown, "{}", case.name);
        }
    }
}
