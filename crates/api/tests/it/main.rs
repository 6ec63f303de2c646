//! Compares the contract's page, `docs/api.md`, with the code that it describes.

mod page;
mod shapes;
