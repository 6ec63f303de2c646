//! Reads the names in a request's path.

use axum::extract::{FromRequestParts, RawPathParams};
use doorbuster_api::problem::Problem;
use http::request::Parts;

use super::reply::HandlerError;

/// The names in a path, percent-decoded, in the order of the path.
#[derive(Debug)]
pub(crate) struct PathNames<const N: usize>(pub [String; N]);

impl<S: Send + Sync, const N: usize> FromRequestParts<S> for PathNames<N> {
    type Rejection = HandlerError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        // A name that cannot be decoded matches nothing.
        let nothing = || Problem::not_found("there is nothing with this name");
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| nothing())?;
        let names: Vec<String> = params.iter().map(|(_, name)| name.to_owned()).collect();
        Ok(Self(names.try_into().map_err(|_| nothing())?))
    }
}
