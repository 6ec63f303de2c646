//! Endpoints for operators: sales and their phases, stock, orders, keys, blocks, audit.

use super::response::{created, no_content, ok};
use super::{
    Auth, Endpoint, EndpointGroup, Method, Param, ResponseHeader, json_body, merge_patch_body,
};
use crate::admin::audit::Audit;
use crate::admin::blocks::{Block, BlockList, NewBlock};
use crate::admin::keys::{CreatedKey, KeyList, NewKey, Role};
use crate::admin::new_sale::NewSale;
use crate::admin::order::AnyOrderDetail;
use crate::admin::payments::Reason;
use crate::admin::sale::{AdminSale, AdminSaleList};
use crate::admin::sale_patch::SalePatch;
use crate::admin::spread::Spread;
use crate::admin::stats::Stats;
use crate::admin::stock::{Adjustment, SlotList, StockList, StockRow};
use crate::order::{Order, OrderList};
use crate::problem::Code;

pub(super) const VIEWER_ENDPOINT: Endpoint = Endpoint {
    method: Method::Get,
    path: "",
    id: "",
    group: EndpointGroup::Operating,
    auth: Auth::Operator(Role::Viewer),
    summary: "",
    description: "",
    params: &[],
    body: None,
    may_lack_body: false,
    responses: &[],
    codes: &[],
};

pub(super) const OPERATOR_ENDPOINT: Endpoint =
    Endpoint { auth: Auth::Operator(Role::Operator), ..VIEWER_ENDPOINT };

const PHASE_ENDPOINT: Endpoint = Endpoint {
    method: Method::Post,
    responses: &[ok::<AdminSale>("The sale, in its new phase.").headers(&[ResponseHeader::ETag])],
    codes: &[Code::WrongState],
    ..OPERATOR_ENDPOINT
};

endpoints!(
    create_sale = Endpoint {
        method: Method::Post,
        path: "/v1/admin/sales",
        summary: "Create a sale",
        description: "The sale starts as a draft, which buyers do not see.",
        body: json_body::<NewSale>(),
        responses: &[created::<AdminSale>("The draft.")
            .headers(&[ResponseHeader::Location, ResponseHeader::ETag])],
        codes: &[Code::AlreadyExists],
        ..OPERATOR_ENDPOINT
    },
    list_all_sales = Endpoint {
        path: "/v1/admin/sales",
        summary: "List all sales",
        params: &[Param::Phase, Param::Cursor, Param::Limit],
        responses: &[ok::<AdminSaleList>("A page of sales.")],
        ..VIEWER_ENDPOINT
    },
    get_any_sale = Endpoint {
        path: "/v1/admin/sales/{sale}",
        summary: "Read a sale with all its settings",
        responses: &[ok::<AdminSale>("The sale.").headers(&[ResponseHeader::ETag])],
        ..VIEWER_ENDPOINT
    },
    change_sale = Endpoint {
        method: Method::Patch,
        path: "/v1/admin/sales/{sale}",
        summary: "Change a sale by a JSON merge patch",
        description: "You can change title, times, texts and front door at any time, and prices \
            and limits until the sale opens. An element of `items` changes the item with the same \
            id. All other items do not change.",
        params: &[Param::IfMatch],
        body: merge_patch_body::<SalePatch>(),
        responses: &[ok::<AdminSale>("The sale, changed.").headers(&[ResponseHeader::ETag])],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    delete_sale = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/sales/{sale}",
        summary: "Delete a draft",
        params: &[Param::IfMatch],
        responses: &[no_content("The draft was deleted.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    schedule_sale = Endpoint {
        path: "/v1/admin/sales/{sale}/schedule",
        summary: "Schedule a draft to open at its `starts_at`",
        description: "`starts_at` must be in the future. A repeated request changes nothing.",
        codes: &[Code::WrongState, Code::InvalidRequest],
        ..PHASE_ENDPOINT
    },
    unschedule_sale = Endpoint {
        path: "/v1/admin/sales/{sale}/unschedule",
        summary: "Make a scheduled sale a draft again",
        description: "Buyers do not see the sale any more. A repeated request changes nothing.",
        ..PHASE_ENDPOINT
    },
    open_sale = Endpoint {
        path: "/v1/admin/sales/{sale}/open",
        summary: "Open a draft or a scheduled sale at once",
        description: "`ends_at` must not be in the past. A repeated request changes nothing.",
        codes: &[Code::WrongState, Code::InvalidRequest],
        ..PHASE_ENDPOINT
    },
    pause_sale = Endpoint {
        path: "/v1/admin/sales/{sale}/pause",
        summary: "Pause an open sale",
        description: "The server answers after the tickets in progress are settled. A repeated \
            request changes nothing.",
        ..PHASE_ENDPOINT
    },
    resume_sale = Endpoint {
        path: "/v1/admin/sales/{sale}/resume",
        summary: "Resume a paused sale",
        description: "A repeated request changes nothing.",
        ..PHASE_ENDPOINT
    },
    close_sale = Endpoint {
        path: "/v1/admin/sales/{sale}/close",
        summary: "Close a sale permanently",
        description: "Every sale except a draft can be closed. Unpaid orders keep their holds. The \
            server answers after the tickets in progress are settled. A repeated request changes \
            nothing.",
        ..PHASE_ENDPOINT
    },
    adjust_stock = Endpoint {
        method: Method::Post,
        path: "/v1/admin/sales/{sale}/items/{item}/adjustments",
        summary: "Raise or lower an item's stock",
        description: "A negative adjustment removes free units. If an adjustment would remove \
            more units than are free, the server refuses the adjustment, with `free` in the \
            response. Unlimited stock cannot be adjusted. If a request repeats a key with the same \
            content, the server does not apply the adjustment again.",
        params: &[Param::IdempotencyKey],
        body: json_body::<Adjustment>(),
        responses: &[ok::<StockRow>("The item's stock after the change.")
            .headers(&[ResponseHeader::IdempotentReplayed])],
        codes: &[Code::WrongState, Code::IdempotencyKeyReused],
        ..OPERATOR_ENDPOINT
    },
    set_spread = Endpoint {
        method: Method::Put,
        path: "/v1/admin/sales/{sale}/items/{item}/spread",
        summary: "Set how an item's stock is spread over its slots",
        description: "You can change the spread until the sale is closed. While the sale runs, the \
            server answers at once and changes the slots afterwards. New slots get units, and \
            slots that are no longer in the spread are drained. `…/slots` shows the progress. A \
            repeated request changes nothing.",
        body: json_body::<Spread>(),
        responses: &[ok::<Spread>("The present spread.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    get_stock = Endpoint {
        path: "/v1/admin/sales/{sale}/stock",
        summary: "Read where the units of a sale are",
        description: "The rows are from one snapshot. For counted stock `total = pool + in_slots + \
            held + paid` at every instant.",
        responses: &[ok::<StockList>("One row for each item.")],
        ..VIEWER_ENDPOINT
    },
    get_slots = Endpoint {
        path: "/v1/admin/sales/{sale}/slots",
        summary: "Read the slots of a sale",
        responses: &[ok::<SlotList>("One row for each slot.")],
        ..VIEWER_ENDPOINT
    },
    get_stats = Endpoint {
        path: "/v1/admin/sales/{sale}/stats",
        summary: "Read a sale's statistics: rates, latencies, refusals by code, queue depth",
        responses: &[ok::<Stats>("The statistics of this process.")],
        ..VIEWER_ENDPOINT
    },
    list_all_orders = Endpoint {
        path: "/v1/admin/orders",
        summary: "List orders of all buyers",
        description: "Lists orders, newest first. Queued and refused requests are not in the list.",
        params: &[
            Param::Sale,
            Param::Item,
            Param::Buyer,
            Param::State,
            Param::Cursor,
            Param::Limit,
        ],
        responses: &[ok::<OrderList>("A page of orders.")],
        ..VIEWER_ENDPOINT
    },
    get_any_order = Endpoint {
        path: "/v1/admin/orders/{order}",
        summary: "Read an order with its history and payments",
        description: "A queued request can be read only at the node that queued it. Another node \
            needs the buyer's id to verify the id of the request. A refused request has an empty \
            `buyer`.",
        responses: &[ok::<AnyOrderDetail>("The object that the id refers to now.")],
        ..VIEWER_ENDPOINT
    },
    cancel_any_order = Endpoint {
        method: Method::Post,
        path: "/v1/admin/orders/{order}/cancel",
        summary: "Cancel a buyer's unpaid order",
        description: "If the order is already cancelled, the request changes nothing.",
        body: json_body::<Reason>(),
        may_lack_body: true,
        responses: &[ok::<Order>("The order, cancelled.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    list_keys = Endpoint {
        path: "/v1/admin/keys",
        summary: "List operators' keys",
        description: "Lists the keys that were created with this API, without their secrets. The configured key is not in the list.",
        responses: &[ok::<KeyList>("The keys.")],
        ..VIEWER_ENDPOINT
    },
    create_key = Endpoint {
        method: Method::Post,
        path: "/v1/admin/keys",
        auth: Auth::Operator(Role::Admin),
        summary: "Create an operator's key",
        description: "The server shows the key only in this response. At most 1,000 keys can exist.",
        body: json_body::<NewKey>(),
        responses: &[created::<CreatedKey>("The key.")],
        codes: &[Code::WrongState],
        ..VIEWER_ENDPOINT
    },
    delete_key = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/keys/{key}",
        auth: Auth::Operator(Role::Admin),
        summary: "Delete an operator's key",
        description: "The key's console sessions end at once. After about a second, the other \
            nodes also refuse the key.",
        responses: &[no_content("The key was deleted.")],
        ..VIEWER_ENDPOINT
    },
    list_blocks = Endpoint {
        path: "/v1/admin/blocks",
        summary: "List blocks",
        description: "Lists the buyers, addresses and networks that operators block. Each block \
            has its end and its reason.",
        responses: &[ok::<BlockList>("The blocks.")],
        ..VIEWER_ENDPOINT
    },
    create_block = Endpoint {
        method: Method::Post,
        path: "/v1/admin/blocks",
        summary: "Block a buyer, an address or a network",
        description: "The block takes effect at every node within a second, for every sale. The \
            block replaces an earlier block of the same value. At most 10,000 blocks can exist.",
        body: json_body::<NewBlock>(),
        responses: &[created::<Block>("The block.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    delete_block = Endpoint {
        method: Method::Delete,
        path: "/v1/admin/blocks/{block}",
        summary: "Delete a block",
        responses: &[no_content("The block was deleted.")],
        ..OPERATOR_ENDPOINT
    },
    audit = Endpoint {
        path: "/v1/admin/audit",
        summary: "Check every invariant now",
        responses: &[ok::<Audit>("The findings.")],
        ..VIEWER_ENDPOINT
    },
);
