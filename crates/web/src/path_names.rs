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
        // A name with a control character, or a name that cannot be decoded, cannot exist, so the
        // response is `404`. PostgreSQL would also refuse the character U+0000.
        let nothing = || Problem::not_found("there is nothing with this name");
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| nothing())?;
        let names: Vec<String> = params.iter().map(|(_, name)| name.to_owned()).collect();
        if names.iter().any(|name| name.contains(char::is_control)) {
            return Err(nothing().into());
        }
        Ok(Self(names.try_into().map_err(|_| nothing())?))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    async fn show(PathNames([_, name]): PathNames<2>) -> String {
        name
    }

    #[tokio::test]
    async fn a_name_with_a_control_character_is_not_found() {
        let router: Router = Router::new().route("/{kind}/{name}", get(show));
        for (path, expected) in [
            ("/keys/a%20b%C3%A9", StatusCode::OK),
            ("/keys/a%00", StatusCode::NOT_FOUND),
            ("/%0A/a", StatusCode::NOT_FOUND),
            ("/keys/%7F", StatusCode::NOT_FOUND),
            ("/keys/%FF", StatusCode::NOT_FOUND),
        ] {
            let request = Request::get(path).body(Body::empty()).expect("a valid path");
            let response = router.clone().oneshot(request).await.expect("the router answers");
            assert_eq!(response.status(), expected, "{path}");
        }
    }
}
