//! Traces of purchases. A build without the feature `otel` has functions that do nothing.

#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub use off::*;
#[cfg(feature = "otel")]
pub use otel::*;
