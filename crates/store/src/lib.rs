//! Durable truth: the store contract and its backends.
