//! Deterministic simulation of the protocol under faults.
