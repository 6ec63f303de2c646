//! The way to PostgreSQL: an address read with every `sslmode` that PostgreSQL's own programs know
//! but `allow`, and TLS by rustls.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer`, and none given | if the server can | not looked at |
//! | `require` | yes, or no connection | not looked at; with `sslrootcert` as `verify-ca` |
//! | `verify-ca` | yes | signed by a trusted authority |
//! | `verify-full` | yes | the same, and for the host of the address, by its subject alternative names |
//!
//! Trusted are the certificates of the PEM file `sslrootcert`, or those that the system trusts if
//! there is none. A server's own certificate may stand in that file itself: then it is trusted
//! until it is taken out, whatever its dates say. Nothing goes through TLS over a Unix socket.

mod address;
mod connect;
mod verify;

pub use address::{Address, AddressError};
pub use connect::{Tls, TlsError};
