//! The table of log events. `cargo xtask tidy` compares it with the log lines in the code.

use super::{LogEvent, LogLevel};

const fn error(code: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { code, level: LogLevel::Error, meaning }
}

const fn warn(code: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { code, level: LogLevel::Warn, meaning }
}

const fn info(code: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { code, level: LogLevel::Info, meaning }
}

/// Every event, in the order of the codes.
pub const LOG_EVENTS: &[LogEvent] = &[
    error("audit.fault", "The regular audit found a fault. The fields describe it."),
    error("audit.pause_failed", "A sale with a fault could not be paused."),
    warn("audit.run_failed", "The regular audit could not run."),
    warn(
        "auth.keys_refresh_failed",
        "The buyers' public keys could not be read again. The keys that are known stay valid.",
    ),
    warn(
        "auth.keys_unread",
        "The buyers' public keys (`auth.buyer_jwks`) could not be read at the start. No buyer can sign in until a later read succeeds.",
    ),
    warn(
        "auth.weak_key_ignored",
        "A key in `auth.buyer_jwks` is weak: anyone could forge signatures for it. The server does not use it.",
    ),
    info("backup.base", "The whole store was copied to the continuous backup."),
    info("backup.continues", "The target of the continuous backup works again."),
    warn(
        "backup.failed",
        "A write to the continuous backup failed. Sales continue, and the write is repeated.",
    ),
    warn(
        "backup.fell_behind",
        "The target of the continuous backup was unavailable for so long that changes were dropped. A new copy of the store follows.",
    ),
    warn(
        "backup.incomplete",
        "At shutdown the last commits could not be written to the continuous backup. The data directory has them.",
    ),
    warn(
        "backup.log_unreadable",
        "The log of the store could not be read for the continuous backup. A new copy of the store follows.",
    ),
    error(
        "backup.panicked",
        "The continuous backup ended, because its task failed. Restart the server.",
    ),
    warn(
        "backup.retention_failed",
        "Old objects of the continuous backup could not be deleted. The next copy of the store tries again.",
    ),
    info("backup.started", "A continuous backup began."),
    error(
        "block.invalid",
        "The store contains a block of an invalid network. The block is ignored.",
    ),
    warn(
        "block.reload_failed",
        "The blocks could not be read again. The known ones stay in force.",
    ),
    error("challenge.threads_missing", "Not every thread that draws challenges could be started."),
    error(
        "clock.stepped",
        "The clock of the machine was set. Nothing expires until both clocks agree again.",
    ),
    error(
        "database.clock_set",
        "The clock of the database was set. Orders expire and sales open by the earlier of the new time and the expected time.",
    ),
    info("database.clock_trusted", "The clock of the database is trusted again."),
    warn(
        "database.commit_unconfirmed",
        "The synchronous standby did not confirm a commit in time. The result counts as unknown.",
    ),
    warn(
        "database.failed_over",
        "The database failed over to another server. Every order is read again.",
    ),
    warn(
        "database.history_changed",
        "The history of the database changed, because a standby was promoted or the place changed.",
    ),
    warn(
        "database.history_unkept",
        "The history of the database could not be written to this node's disk.",
    ),
    error(
        "database.no_synchronous_standby",
        "The database has no synchronous standby any more. A failover would lose orders.",
    ),
    error(
        "database.orders_missing",
        "The database lacks orders that this deployment acknowledged. Open sales are paused.",
    ),
    error("database.outage_began", "The database is unavailable."),
    error(
        "database.outage_continues",
        "The database is still unavailable. This line comes every 10 s.",
    ),
    warn(
        "database.outage_ended",
        "The database is available again. The fields have the length of the outage.",
    ),
    warn(
        "database.registered",
        "The database has a new primary or a new place, which was written into its history.",
    ),
    error(
        "database.sale_paused",
        "A sale was paused because the database changed. Check its orders, then resume it.",
    ),
    warn(
        "database.setting",
        "A setting of the database endangers orders. The message describes it.",
    ),
    warn("database.standby_back", "The synchronous standby is connected again."),
    error(
        "database.standby_missing",
        "Commits wait for a synchronous standby that is not connected.",
    ),
    warn("database.unreachable", "A statement could not reach the database."),
    info("edge.upstream_back", "A node behind this edge answers."),
    warn(
        "edge.upstream_lost",
        "A node behind this edge does not answer. Requests go to the others.",
    ),
    info(
        "key.generated",
        "The server created the first operator's key and wrote it to a file that only its user can read.",
    ),
    warn(
        "key.unwritten",
        "The server created the first operator's key and could not write it to a file. Set `auth.admin_key`.",
    ),
    warn(
        "limits.not_shared",
        "Rate limits cannot be shared with other nodes. Each node applies its part.",
    ),
    info("limits.shared", "Rate limits are shared with other nodes again."),
    info("node.leadership_changed", "This node became the leader, or is not the leader any more."),
    warn("node.lease_failed", "This node could not renew its lease."),
    warn(
        "node.lease_lapsed",
        "The lease of this node lapsed. Its slots start a new epoch if other nodes took their units.",
    ),
    warn("node.lost", "The lease of another node lapsed. Other nodes sell its units."),
    warn(
        "node.release_failed",
        "The leases could not be released while the server stops. They lapse by themselves.",
    ),
    info(
        "operator.action",
        "An operator changed something. The fields name the action, the subject and the key.",
    ),
    warn("order.expiry_failed", "Orders that are due could not be expired."),
    warn("order.expiry_read_failed", "The next order to expire could not be read."),
    warn("payment.ask_failed", "The provider could not be asked about a checkout."),
    error("payment.checkout_refused", "The payment provider refused to create a checkout."),
    warn(
        "payment.checkout_unstored",
        "The provider's answer about a checkout could not be stored.",
    ),
    warn("payment.checkouts_unread", "Expired checkouts could not be read."),
    warn(
        "payment.late_recall_failed",
        "Units for a late payment could not be recalled from slots. Only the pool is used.",
    ),
    warn(
        "payment.late_reconcile_failed",
        "The slots could not be reconciled after a late payment.",
    ),
    warn("payment.postpone_failed", "The checkouts of a silent provider could not be postponed."),
    info("payment.provider_answers", "The payment provider answers again."),
    warn(
        "payment.provider_silent",
        "The payment provider does not answer about checkouts. The server asks about a few at a time.",
    ),
    error(
        "payment.refund_dead",
        "A refund failed for good and is a dead letter. An operator must resolve it.",
    ),
    error("payment.refund_failed", "A refund failed at the provider. An operator must resolve it."),
    warn("payment.refund_unstored", "The provider's answer about a refund could not be stored."),
    info("payment.refunding_stray", "A payment that pays for no order is refunded."),
    warn("payment.refunds_unread", "Refunds could not be read."),
    warn("payment.sandbox", "`payment.provider` is the sandbox. No money moves."),
    warn(
        "payment.stripe_key_limited",
        "The key for Stripe may not read payment intents and charges. Refunds made by hand may stay unknown.",
    ),
    error(
        "payment.undecided",
        "The provider did not decide about a checkout. The server does not ask again.",
    ),
    warn("payment.unknown_provider", "A checkout belongs to a provider that is not configured."),
    error(
        "payment.unrequested_refund",
        "Money went back although the shop did not request it. An operator must act.",
    ),
    warn("sale.catalogue_failed", "The sales could not be read again from the store."),
    error(
        "sale.front_door_invalid",
        "The stored front door of a sale cannot be read. All buyers of the sale are refused.",
    ),
    info(
        "sale.phase_changed",
        "A sale was opened, paused, resumed or closed, by an operator or at its time.",
    ),
    warn("sale.phase_failed", "A sale could not be opened or closed at its time."),
    warn("sandbox.cleanup_failed", "Old documents of the sandbox could not be deleted."),
    warn("sandbox.delivery_failed", "Messages of the sandbox could not be sent."),
    warn("sandbox.message_refused", "The server did not accept a message of the sandbox."),
    warn(
        "secret.directory_readable",
        "Other users can list the data directory. Set its mode to 700.",
    ),
    warn("secret.readable", "Other users can read a secret. Set its mode to 600."),
    warn("server.accept_failed", "A connection could not be accepted."),
    warn(
        "server.connections_cut",
        "Connections did not finish in time while the server stops, and were closed.",
    ),
    warn("server.export_failed", "An export could not be finished."),
    warn(
        "server.few_files",
        "The limit of open files (`ulimit -n`) allows fewer connections than `limits.connections`.",
    ),
    warn(
        "server.notify_failed",
        "The service manager (systemd) could not be told that the server is ready or stops.",
    ),
    warn("server.request_failed", "A request failed with an internal error."),
    info(
        "server.started",
        "The server accepts requests. The fields name the version, the shape and the address.",
    ),
    info(
        "server.stop_requested",
        "The server got a signal to stop. It reports that it is not ready, and still serves.",
    ),
    info(
        "server.stopping",
        "The server finishes the requests in progress and accepts no new ones.",
    ),
    warn(
        "settle.acknowledge_failed",
        "Settled tickets could not be acknowledged. Their slots deliver them again.",
    ),
    warn("settle.batch_failed", "A batch of tickets could not be settled."),
    error("settle.dead_letter", "A ticket could not be settled. It is returned as a dead letter."),
    error("settle.dead_letter_unwritten", "A dead letter could not be written."),
    warn("settle.split", "A batch could not be settled. Its halves are settled separately."),
    warn(
        "slot.drain_cancel_failed",
        "A drain could not be cancelled. Other nodes drain until it times out.",
    ),
    warn(
        "slot.drain_follow_failed",
        "This node could not follow a drain that another node started.",
    ),
    warn(
        "slot.drain_incomplete",
        "Not every slot was drained in time. Tickets in flight are returned.",
    ),
    warn(
        "slot.drain_others_incomplete",
        "Other nodes did not drain their slots in time. Tickets in flight are returned.",
    ),
    warn(
        "slot.drain_stop_failed",
        "A slot could not be stopped for a drain. Tickets that it still issues are returned.",
    ),
    error(
        "slot.entries_unreadable",
        "Entries of a slot's queue could not be read and were dropped.",
    ),
    info("slot.full", "The memory of a slot was full. The slot continues under a new epoch."),
    info("slot.grant_closed", "The grant of a slot from an earlier spread was closed."),
    error(
        "slot.memory_lost",
        "A slot lost its memory. Its grant was closed, and its units go back to the pool.",
    ),
    warn("slot.reconcile_failed", "The slots could not be reconciled with the store."),
    warn(
        "slot.release_failed",
        "Unsettled tickets could not be released while the server stops. Other nodes claim them later.",
    ),
    warn(
        "slot.release_timed_out",
        "Unsettled tickets were not released in time. Other nodes claim them later.",
    ),
    error(
        "slot.server_refused",
        "A server that holds slots now has settings with which a node would refuse to start.",
    ),
    warn("slot.servers_changed", "The servers that hold slots changed."),
    warn("slot.stop_failed", "A slot could not be stopped while the server stops."),
    warn("slot.take_failed", "Tickets could not be taken from a slot."),
    warn(
        "slot.tickets_in_flight",
        "The server stops while tickets are in flight. They are returned, or other nodes settle them.",
    ),
    error("slot.unsettled", "Not every slot's tickets can be settled by this node."),
    warn("slot.watch_failed", "The slots could not be watched."),
    info("spread.slot_closed", "A slot that is no longer in its item's spread was closed."),
    warn(
        "spread.widen_failed",
        "An item with `\"partitions\": \"auto\"` could not get more partitions.",
    ),
    info("spread.widened", "An item with `\"partitions\": \"auto\"` has more partitions."),
    warn("store.backlog_failed", "The backlog of orders could not be read."),
    warn("store.backlog_timed_out", "The backlog of orders was not read in time."),
    warn(
        "store.checkpoint_failed",
        "The log of the store could not be copied into its file while the server stops. The next start does it.",
    ),
    warn("store.checkpoint_panicked", "The thread that writes checkpoints panicked."),
    warn(
        "store.close_failed",
        "The file of the store could not be closed. The next start recovers it.",
    ),
    error("store.failed", "The store failed and cannot be used any more. The server stops."),
    warn(
        "store.holders_failed",
        "The set of request keys that hold orders could not be refreshed.",
    ),
    warn(
        "store.holders_full",
        "The set of request keys that hold orders was full. Keys of sales that ended long ago were removed.",
    ),
    info("store.migrated", "The store was migrated to the schema of this program."),
    info(
        "store.orders_read_again",
        "The last refresh was minutes ago. The node reads every order again.",
    ),
    error("store.read_panicked", "A read of the store panicked."),
    warn("store.removed", "The file of the store was removed while it was in use."),
    warn(
        "store.restored",
        "The store comes from a backup. The sales that were open, scheduled or paused are paused. Compare the orders with the payment provider before resuming.",
    ),
    warn("store.rewriting", "The rows come from another database and are rewritten."),
    warn("store.unlock_failed", "The data directory could not be unlocked."),
    error("store.unusable", "The store failed and must not be used any more."),
    error("stream.lost", "Idle WebSockets were lost because their task panicked."),
    warn("stream.poll_failed", "Idle WebSockets could not be polled. They were woken."),
    warn(
        "stream.poller_failed",
        "No poller for idle WebSockets could be created. They keep their own tasks.",
    ),
    warn(
        "stream.register_failed",
        "An idle WebSocket could not be registered. It keeps its own task.",
    ),
    warn("trace.unsent", "The last traces could not be sent."),
    warn("waitlist.failed", "A waitlist could not be served or ended."),
    warn("webhook.cleanup_failed", "Old events could not be deleted."),
    error("webhook.dead_letter", "An event could not be delivered. It is a dead letter."),
    warn("webhook.delivery_failed", "The store failed while events were delivered to an endpoint."),
    warn(
        "webhook.endpoint_failing",
        "An endpoint does not accept events. The fields have the reason.",
    ),
    error("webhook.endpoint_gone", "An endpoint answered `410 Gone` and is disabled."),
    info("webhook.endpoint_recovered", "An endpoint accepts events again."),
    warn("webhook.endpoints_failed", "The endpoints of webhooks could not be read."),
    info("webhook.other_node_delivered", "Another node delivered events to this endpoint."),
    warn("webhook.positions_failed", "Events could not get their positions."),
    error("webhook.task_failed", "The task that delivers events failed and was started again."),
];
