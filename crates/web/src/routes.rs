//! The handler of each endpoint. This file compiles only if every endpoint of the contract has a
//! handler and every handler belongs to an endpoint.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use doorbuster_api::admin::export::Export;
use doorbuster_api::endpoints::{self, ByEndpoint};
use doorbuster_core::sale::PhaseStep;

use super::{
    App, admin, buyer_session, console_session, docs, events, gate, health, metrics, order_links,
    orders, payment, purchase_handler, push, sales, waitlist,
};

pub(super) struct Route {
    pub(super) handler: BoxedHandler,
    /// If `true`, the router's guard does not check the caller's identity, because the handler
    /// does.
    pub(super) checks_caller: bool,
}

/// A handler of any type. With this type, the generic code of axum is compiled once instead of once
/// for each handler. That saves more than a third of the compile time of this crate.
#[derive(Clone)]
pub(super) struct BoxedHandler(Arc<dyn Fn(Request, Arc<App>) -> ResponseFuture + Send + Sync>);

type ResponseFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

impl Handler<(), Arc<App>> for BoxedHandler {
    type Future = ResponseFuture;

    fn call(self, request: Request, app: Arc<App>) -> ResponseFuture {
        (self.0)(request, app)
    }
}

fn to<H, T>(handler: H) -> Route
where
    H: Handler<T, Arc<App>, Future = ResponseFuture>,
    T: 'static,
{
    let call = move |request, app| handler.clone().call(request, app);
    Route { handler: BoxedHandler(Arc::new(call)), checks_caller: false }
}

/// Returns the route of a handler that checks the caller's identity itself. There are two such
/// handlers. A purchase is authenticated after its body is read. For a WebSocket, a browser sends
/// the token in a different header.
fn to_self_checking<H, T>(handler: H) -> Route
where
    H: Handler<T, Arc<App>, Future = ResponseFuture>,
    T: 'static,
{
    Route { checks_caller: true, ..to(handler) }
}

fn to_step(step: PhaseStep) -> Route {
    to(move |state, by, names, request| admin::phases::step(step, state, by, names, request))
}

fn to_export(export: Export) -> Route {
    to(move |state, query| admin::export::list(export, state, query))
}

pub(super) fn handlers() -> ByEndpoint<Route> {
    ByEndpoint {
        buyers: buyers(),
        challenge: endpoints::challenge::ByEndpoint { get_challenge: to(gate::challenges::create) },
        passes: endpoints::passes::ByEndpoint {
            issue_pass: to(gate::passes::issue),
            create_codes: to(admin::access_codes::create),
            count_codes: to(admin::access_codes::count),
        },
        waiting_room: endpoints::waiting_room::ByEndpoint {
            enter_waiting_room: to(gate::waiting_room::enter),
            get_place: to(gate::waiting_room::get),
            leave_waiting_room: to(gate::waiting_room::leave),
            get_draw: to(gate::waiting_room::draw),
            export_draw: to(gate::waiting_room::export),
        },
        waitlist: endpoints::waitlist::ByEndpoint {
            join_waitlist: to(waitlist::join),
            get_waitlist_entry: to(waitlist::get),
            leave_waitlist: to(waitlist::leave),
        },
        payments: payments(),
        push: endpoints::push::ByEndpoint {
            subscribe_push: to(push::subscribe),
            unsubscribe_push: to(push::unsubscribe),
        },
        webhooks: webhooks(),
        operators: operators(),
        console: console(),
        privacy: endpoints::privacy::ByEndpoint { erase_buyer: to(admin::erasures::create) },
        export: export(),
        service: endpoints::service::ByEndpoint {
            health: to(health::alive),
            readiness: to(health::ready),
            metrics: to(metrics::show),
            openapi: to(docs::openapi),
            docs: to(docs::page),
        },
    }
}

fn buyers() -> endpoints::buyers::ByEndpoint<Route> {
    endpoints::buyers::ByEndpoint {
        purchase: to_self_checking(purchase_handler::routed),
        list_orders: to(orders::list),
        get_order: to(orders::get),
        cancel_order: to(orders::cancel),
        keep_buyer: to(buyer_session::keep),
        get_buyer_session: to(buyer_session::get),
        forget_buyer: to(buyer_session::forget),
        list_sales: to(sales::list),
        get_sale: to(sales::get),
        get_status: to(sales::status),
        stream_events: to(events::stream),
        open_websocket: to_self_checking(events::websocket),
    }
}

fn payments() -> endpoints::payments::ByEndpoint<Route> {
    endpoints::payments::ByEndpoint {
        open_checkout: to(payment::checkout::open),
        get_order_link: to(order_links::get),
        get_linked_order: to(order_links::read),
        open_linked_checkout: to(order_links::pay),
        get_history: to(orders::history),
        take_sandbox_message: to(payment::webhook::handle_message),
        take_stripe_message: to(payment::webhook::handle_message),
        list_payments: to(admin::payments::payments),
        list_refunds: to(admin::payments::refunds),
        refund_any_order: to(admin::orders::refund),
        extend_any_order: to(admin::orders::extend),
    }
}

fn webhooks() -> endpoints::webhooks::ByEndpoint<Route> {
    endpoints::webhooks::ByEndpoint {
        list_webhook_endpoints: to(admin::webhook_endpoints::list),
        create_webhook_endpoint: to(admin::webhook_endpoints::create),
        get_webhook_endpoint: to(admin::webhook_endpoints::get),
        change_webhook_endpoint: to(admin::webhook_endpoints::change),
        delete_webhook_endpoint: to(admin::webhook_endpoints::delete),
        rotate_webhook_secret: to(admin::webhook_endpoints::rotate),
        list_deliveries: to(admin::webhook_endpoints::deliveries),
        redeliver: to(admin::webhook_endpoints::redeliver),
        list_dead_letters: to(admin::dead_letters::list),
        get_dead_letter: to(admin::dead_letters::get),
        retry_dead_letter: to(admin::dead_letters::retry),
        discard_dead_letter: to(admin::dead_letters::discard),
        retry_dead_letters: to(admin::dead_letters::retry_many),
        discard_dead_letters: to(admin::dead_letters::discard_many),
    }
}

fn operators() -> endpoints::operators::ByEndpoint<Route> {
    endpoints::operators::ByEndpoint {
        create_sale: to(admin::sales::create),
        list_all_sales: to(admin::sales::list),
        get_any_sale: to(admin::sales::get),
        change_sale: to(admin::sales::change),
        delete_sale: to(admin::sales::delete),
        schedule_sale: to_step(PhaseStep::Schedule),
        unschedule_sale: to_step(PhaseStep::Unschedule),
        open_sale: to_step(PhaseStep::Open),
        pause_sale: to_step(PhaseStep::Pause),
        resume_sale: to_step(PhaseStep::Resume),
        close_sale: to_step(PhaseStep::Close),
        adjust_stock: to(admin::stock::adjust),
        set_spread: to(admin::spread::set),
        get_stock: to(admin::stock::get),
        get_slots: to(admin::stock::slots),
        get_stats: to(admin::stats::get),
        list_all_orders: to(admin::orders::list),
        get_any_order: to(admin::orders::get),
        cancel_any_order: to(admin::orders::cancel),
        list_keys: to(admin::keys::list),
        create_key: to(admin::keys::create),
        delete_key: to(admin::keys::delete),
        list_blocks: to(admin::blocks::list),
        create_block: to(admin::blocks::create),
        delete_block: to(admin::blocks::delete),
        audit: to(admin::audit::get),
    }
}

fn console() -> endpoints::console::ByEndpoint<Route> {
    endpoints::console::ByEndpoint {
        create_session: to(console_session::create),
        get_session: to(console_session::get),
        delete_session: to(console_session::delete),
        list_actions: to(admin::actions::list),
        list_nodes: to(admin::nodes::list),
        list_settings: to(admin::nodes::settings),
        get_series: to(admin::series::get),
        get_buyer_history: to(admin::buyers::get),
        list_waitlist: to(admin::waitlist::list),
        check_sale: to(admin::check::check),
        admit_visitors: to(admin::admissions::admit),
        get_spread: to(admin::spread::get),
        revoke_codes: to(admin::access_codes::revoke),
    }
}

fn export() -> endpoints::export::ByEndpoint<Route> {
    endpoints::export::ByEndpoint {
        export_orders: to_export(Export::Orders),
        export_payments: to_export(Export::Payments),
        export_refunds: to_export(Export::Refunds),
        export_ledger: to_export(Export::Ledger),
        export_actions: to(admin::export::actions),
        reconcile: to(admin::export::reconciliation::get),
    }
}
