//! Compares the API reference, `docs/api.md`, with the code.

mod page;
mod shapes;
