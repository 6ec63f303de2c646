//! Connections to PostgreSQL: parses an address with every `sslmode` of PostgreSQL's own programs
//! except `allow`, and opens TLS connections with rustls.
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
//! Connections trust the certificates in the PEM file that `sslrootcert` names. If no file is
//! given, they trust the system's certificates. The file can also contain the certificate of a
//! server itself. Such a certificate is trusted as long as it is in the file, even after it has
//! expired. Connections over a Unix socket do not use TLS.

mod address;
mod connect;
mod verify;

pub use address::{Address, AddressError};
pub use connect::{Tls, TlsError};
