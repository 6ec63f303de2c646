//! Parses a PostgreSQL address with any `sslmode` except `allow`, and opens TLS connections with
//! rustls.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer` (the default) | if the server supports it | not verified |
//! | `require` | yes | not verified; with `sslrootcert`, verified as in `verify-ca` |
//! | `verify-ca` | yes | signed by a trusted authority |
//! | `verify-full` | yes | signed by a trusted authority, with the host of the address among its subject alternative names |
//!
//! If a mode requires encryption and the server does not support it, the connection fails.
//! Connections over a Unix socket do not use TLS.
//!
//! `sslrootcert` names a PEM file of trusted certificates; the default is the system's
//! certificates. If the file contains the server's own certificate, this certificate is trusted
//! even after it has expired.

mod address;
mod connect;
mod verify;

pub use address::{Address, AddressError};
pub use connect::{Tls, TlsError};
