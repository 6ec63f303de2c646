//! Who is asking: buyers by the shop's tokens, operators by their keys.

mod bearer;
mod buyers;
mod claims;
mod hs256;
mod issue;
mod jwks;
mod operators;

pub use bearer::bearer;
pub use buyers::{Buyers, JwksError};
pub use claims::{BuyerName, ExpectedClaims, VerifiedBuyer};
pub use issue::{NewToken, token};
pub(crate) use jwks::check_file as check_jwks_file;
pub use operators::{CONFIGURED_KEY, Operator, Operators, role_of_row, role_to_store};

/// Why somebody is not let in, for a person: it says nothing about secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nothing was presented.
    Missing,
    /// Something was, and it does not hold.
    Bad(&'static str),
    /// It cannot be judged now: public keys have not been had yet.
    Unknown,
}
