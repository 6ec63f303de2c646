//! Routes that accept only `GET`.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::app::App;

/// Creates a route for `GET` requests, for a path that is not in the table of endpoints.
pub(crate) fn get<H, T>(handler: H) -> MethodRouter<Arc<App>>
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    on(MethodFilter::GET, handler)
}
