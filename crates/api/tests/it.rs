//! The contract's page, `docs/api.md`, against the code that it describes.

#[path = "it/page.rs"]
mod page;
#[path = "it/shapes.rs"]
mod shapes;
