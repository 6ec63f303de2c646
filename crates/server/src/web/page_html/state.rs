//! The state of a sale for visitors without JavaScript and for other programs.

use doorbuster_api::sale::{ItemState, Phase, Status};

/// The state that the page of a sale shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownState {
    Soon,
    Open,
    /// No item has free units, but units may come back.
    NoneLeft,
    SoldOut,
    Paused,
    Ended,
}

impl ShownState {
    /// Returns the state of a sale with this status.
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

    /// Returns the text, in both languages.
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
