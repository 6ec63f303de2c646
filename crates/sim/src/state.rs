//! The state of a simulated sale as plain values: slots, nodes, the payment provider, delivery
//! workers, and the messages between them. [`crate::world`] changes this state.
mod deliveries;
mod messages;
mod money;
mod node;
mod provider;
mod reversals;
mod slot;
mod spread;

pub(crate) use deliveries::{
    Deliveries, DeliveryMessage, ENDPOINTS, Endpoint, EndpointMemory, EndpointMode, Sending,
    WORKERS, Worker, WorkerTransaction,
};
pub(crate) use messages::{
    Drain, ItemRound, Message, Settling, Starting, StockAction, UnitsAction,
};
pub(crate) use money::{AfterPayment, Closing, MoneyMessage};
pub(crate) use node::{Attempt, AttemptState, ItemSnapshot, Node, Snapshot};
pub(crate) use provider::{Charge, Provider, ProviderMessage, ProviderRefund, RECHECK_MS, Session};
pub(crate) use reversals::{PaymentReversals, ProviderReversal};
pub use slot::{Call, RecordedCall, SlotReply};
pub(crate) use slot::{PlacedSlot, apply_call, fresh_slot, slot_bounds};
pub(crate) use spread::{ItemWidth, first_widths};
