//! Erasure of a buyer's personal data.

use super::operators::VIEWER_ENDPOINT;
use super::response::ok;
use super::{Auth, Endpoint, Method, json_body};
use crate::admin::erasures::{Erasure, NewErasure};
use crate::admin::keys::Role;

endpoints!(
    erase_buyer = Endpoint {
        method: Method::Post,
        path: "/v1/admin/erasures",
        auth: Auth::Operator(Role::Admin),
        summary: "Erase a buyer",
        description: "In every closed sale, the server replaces the buyer's id and the keys of the \
            buyer's requests with a keyed hash. Rows of sales that are not closed, and rows with \
            pending money, do not change. The response says how many rows did not change, by \
            sale and reason. A repeated request erases the rows that can be erased by then.",
        body: json_body::<NewErasure>(),
        responses: &[ok::<Erasure>(
            "The numbers of erased rows, and of rows that cannot be erased yet.",
        )],
        ..VIEWER_ENDPOINT
    },
);
