//! What this node has in memory about one request, for the step that refuses from memory.
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::{Millis, Phase, RequestHash};
use doorbuster_steps::memory::{self, NodeMemory};

use super::{RETRY_SECS, Refusal};
use crate::catalogue::{ItemState, SaleState};
use crate::engine::Engine;

/// A request and this node's memory of its item.
pub(super) struct RequestMemory<'a> {
    pub(super) engine: &'a Engine,
    pub(super) sale: &'a SaleState,
    pub(super) item: &'a ItemState,
    pub(super) request: RequestHash,
}

impl NodeMemory for RequestMemory<'_> {
    fn free(&self) -> FreeUnits {
        self.item.gauge.free()
    }

    fn phase(&self) -> (Phase, Option<Millis>) {
        (self.sale.row.phase, self.sale.row.starts_at)
    }

    fn is_stopping(&self) -> bool {
        self.sale.is_draining() || self.engine.is_stopping()
    }

    fn may_hold(&self) -> bool {
        self.engine.may_hold(self.sale, self.request)
    }

    fn age_ms(&self) -> i64 {
        self.engine.memory_age_ms()
    }
}

impl From<memory::Refusal> for Refusal {
    fn from(refusal: memory::Refusal) -> Self {
        match refusal {
            memory::Refusal::SoldOut(sold_out) => Self::SoldOut(sold_out),
            memory::Refusal::LimitReached { limit, used } => Self::LimitReached { limit, used },
            memory::Refusal::NotStarted { opens_at } => Self::NotStarted { opens_at },
            memory::Refusal::Paused => Self::Paused,
            memory::Refusal::Ended => Self::Ended,
            memory::Refusal::KeyReused => Self::KeyReused,
            memory::Refusal::Overloaded => Self::Overloaded { retry_after_secs: RETRY_SECS },
            memory::Refusal::Unavailable => Self::Unavailable { retry_after_secs: RETRY_SECS },
        }
    }
}
