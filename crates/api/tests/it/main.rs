//! The contract's page, `docs/api.md`, against the code that it describes.

mod page;
mod shapes;
