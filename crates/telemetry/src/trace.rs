//! Traces of purchases. In a build without the feature `otel`, the functions of this module do
//! nothing.

#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub use off::*;
#[cfg(feature = "otel")]
pub use otel::*;
