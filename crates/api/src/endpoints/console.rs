//! Endpoints for operators' consoles.

use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::{no_content, ok};
use super::{Auth, Endpoint, Method, Param, json_body};
use crate::admin::console::{
    ActionList, Admissions, BuyerHistory, CheckReport, NewAdmissions, NewSession, NodeList,
    RevokedCodes, Series, Session, SettingList, WaitlistList,
};
use crate::admin::spread::Spread;
use crate::problem::Code;

endpoints!(
    create_session = Endpoint {
        method: Method::Post,
        path: "/v1/admin/session",
        auth: Auth::Public,
        summary: "Sign in at the console",
        description: "Exchanges an operator's key for a cookie that is valid for 8 hours. With the \
            cookie, every request except `GET` and `HEAD` needs the header \
            `X-Doorbuster-Console: 1`. Wrong keys at all nodes count together: if one address \
            sends 10 wrong keys in a minute, every node refuses sign-ins from that address until \
            the minute ends.",
        body: json_body::<NewSession>(),
        responses: &[no_content("A cookie is set.")],
        codes: &[Code::Unauthenticated, Code::Forbidden, Code::RateLimited],
        ..VIEWER_ENDPOINT
    },
    get_session = Endpoint {
        path: "/v1/admin/session",
        summary: "Read who is signed in",
        responses: &[ok::<Session>("The operator's key and its role.")],
        ..VIEWER_ENDPOINT
    },
    delete_session = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/session",
        summary: "Sign out",
        description: "Ends the session of the request's cookie. A session also ends if an admin \
            deletes the key with which it began.",
        responses: &[no_content("The session has ended.")],
        ..VIEWER_ENDPOINT
    },
    list_actions = Endpoint {
        path: "/v1/admin/actions",
        summary: "List operators' actions",
        description: "Lists every change by an operator, newest first, with the changed fields. \
            The server keeps actions for a year.",
        params: &[Param::By, Param::Action, Param::Subject, Param::Cursor, Param::Limit],
        responses: &[ok::<ActionList>("A page of actions.")],
        ..VIEWER_ENDPOINT
    },
    list_nodes = Endpoint {
        path: "/v1/admin/nodes",
        summary: "List the nodes, the store and the servers that hold slots",
        responses: &[ok::<NodeList>("The installation as this node sees it.")],
        ..VIEWER_ENDPOINT
    },
    list_settings = Endpoint {
        path: "/v1/admin/settings",
        summary: "List the settings of the node that handles the request",
        description: "The response contains no secrets.",
        responses: &[ok::<SettingList>("The settings.")],
        ..VIEWER_ENDPOINT
    },
    get_series = Endpoint {
        path: "/v1/admin/sales/{sale}/series",
        summary: "Read a sale's numbers over time",
        description: "Each number is the sum over all nodes. The server keeps the numbers of each \
            second for a day, and of each minute for 30 days. The default of `from` is one hour \
            before `to`. A response has at most 3,600 steps.",
        params: &[Param::From, Param::To, Param::Step],
        responses: &[ok::<Series>("The numbers.")],
        ..VIEWER_ENDPOINT
    },
    get_buyer_history = Endpoint {
        path: "/v1/admin/sales/{sale}/buyers/{buyer}",
        summary: "Read a buyer's orders, waitlist entries and refusals in a sale",
        description: "Each node keeps only recent refusals, in its memory. The server collects the \
            refusals from all nodes, so the response can take two seconds.",
        responses: &[ok::<BuyerHistory>("Orders, waitlist entries and refusals.")],
        ..VIEWER_ENDPOINT
    },
    list_waitlist = Endpoint {
        path: "/v1/admin/sales/{sale}/items/{item}/waitlist",
        summary: "List an item's waitlist",
        description: "Lists the entries that wait for a unit. The first entry gets the next \
            returned unit.",
        params: &[Param::Cursor, Param::Limit],
        responses: &[ok::<WaitlistList>("A page of entries.")],
        ..VIEWER_ENDPOINT
    },
    check_sale = Endpoint {
        method: Method::Post,
        path: "/v1/admin/sales/{sale}/check",
        summary: "List the problems that would occur when the sale opens",
        responses: &[ok::<CheckReport>("The problems.")],
        ..VIEWER_ENDPOINT
    },
    admit_visitors = Endpoint {
        method: Method::Post,
        path: "/v1/admin/sales/{sale}/waiting-room/admissions",
        summary: "Admit visitors of a waiting room now",
        description: "Admits the next visitors at once, even if fewer units than visitors are \
            left. The sale must be open. An admission cannot be undone, and each request admits \
            further visitors. If the sale has no waiting room, the response is `404`.",
        body: json_body::<NewAdmissions>(),
        responses: &[ok::<Admissions>("The numbers of visitors.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    get_spread = Endpoint {
        path: "/v1/admin/sales/{sale}/items/{item}/spread",
        summary: "Read how an item's stock is spread over its slots",
        responses: &[ok::<Spread>("The present spread.")],
        ..VIEWER_ENDPOINT
    },
    revoke_codes = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/sales/{sale}/access-codes/{prefix}",
        summary: "Revoke access codes",
        description: "Revokes one code, or all codes that begin with these 1 to 4 characters. \
            A buyer who has already used a revoked code can continue to use it. No further \
            buyer can use the code.",
        responses: &[ok::<RevokedCodes>("The number of codes.")],
        ..OPERATOR_ENDPOINT
    },
);
