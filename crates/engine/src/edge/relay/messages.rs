//! The messages that an edge and the node of its relay send to each other, as JSON.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A message of an edge to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EdgeMessage {
    /// Asks the node to send this buyer's events, and the buyer's positions in these sales.
    Follow {
        /// The buyer.
        buyer: String,
        /// The sales that the buyer's streams follow.
        sales: Vec<String>,
        /// The buyer's address.
        address: IpAddr,
    },
    /// The buyer has no more streams.
    Unfollow {
        /// The buyer.
        buyer: String,
    },
}

/// A message of a node to an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NodeMessage {
    /// The node sends all events of this buyer from now on. The edge may have missed earlier
    /// events.
    Following {
        /// The buyer.
        buyer: String,
    },
    /// An event for the streams of this buyer.
    Event {
        /// The buyer.
        buyer: String,
        /// The event as JSON.
        json: String,
    },
}
