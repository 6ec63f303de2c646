//! Texts about the state of a sale, in both languages, for visitors without JavaScript.

use doorbuster_api::sale::{ItemState, Phase, Status};

/// Returns the text for a sale with this status.
pub(crate) fn state_words(status: &Status) -> &'static str {
    let all = |wanted: &[ItemState]| {
        !status.items.is_empty() && status.items.iter().all(|item| wanted.contains(&item.state))
    };
    match status.phase {
        Phase::Open if all(&[ItemState::SoldOut]) => "Sold out / 已售罄",
        Phase::Open if all(&[ItemState::SoldOut, ItemState::HeldOut]) => "None left now / 暂时无货",
        phase => phase_words(phase),
    }
}

/// Returns the text for a sale in this phase, if the stock is not known.
pub(crate) const fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::Draft | Phase::Scheduled => "Opens soon / 即将开抢",
        Phase::Open => "Open now / 正在抢购",
        Phase::Paused => "Paused / 已暂停",
        Phase::Closed => "Ended / 已结束",
    }
}
