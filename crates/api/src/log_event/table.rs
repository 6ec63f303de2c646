//! The table of log events. `cargo xtask tidy` compares this table with the log lines in the code.

use super::{LogEvent, error, info, warn};

/// Every event, sorted by its code.
pub const LOG_EVENTS: &[LogEvent] = &[
    error("audit.fault", "The continuous audit found a fault. The fields describe the fault."),
    error(
        "audit.pause_failed",
        "The audit found a fault in a sale, and the server could not pause the sale. Buyers can continue to buy in the sale.",
    ),
    warn("audit.run_failed", "The continuous audit could not run. The server retries."),
    warn(
        "auth.keys_refresh_failed",
        "The server could not refresh the buyers' public keys. The server continues to use the keys from the last successful read.",
    ),
    warn(
        "auth.keys_unread",
        "The buyers' public keys (`auth.buyer_jwks`) could not be read at the start. No buyer can sign in until a later read succeeds.",
    ),
    warn(
        "auth.weak_key_ignored",
        "A public key of buyers (`auth.buyer_jwks`) or of the console's issuer is weak: anyone could forge signatures for it. The server does not use this key.",
    ),
    info("backup.base", "The whole store was copied to the continuous backup."),
    warn("backup.base_failed", "A copy of the whole store failed. The server repeats the copy."),
    info("backup.continues", "The target of the continuous backup works again."),
    warn("backup.directory_writable", "Other users can write to the backup. Set its mode to 700."),
    warn("backup.failed", "A write to the continuous backup failed. The server repeats the write."),
    warn("backup.fell_behind", "The backup was too slow, or its disk is new. A full copy follows."),
    warn("backup.incomplete", "At shutdown, the backup lacked commits that the store has."),
    warn("backup.log_unreadable", "The backup could not read all changes. A full copy follows."),
    error("backup.panicked", "The continuous backup ended. Restart the server."),
    warn("backup.retention_failed", "Old backup objects were not deleted. The server retries."),
    info("backup.started", "A continuous backup began."),
    error(
        "block.invalid",
        "A stored block has an invalid network. The server ignores the block. Delete it.",
    ),
    warn("block.reload_failed", "The blocks could not be read. The earlier blocks stay in force."),
    error("challenge.threads_missing", "Some threads that make challenges could not be started."),
    error(
        "clock.stepped",
        "The machine's clock was set to another time, or the machine slept. No order expires until the machine's clock and the server's own clock agree.",
    ),
    error(
        "config.reload_refused",
        "The settings or certificates cannot be used, so SIGHUP changed no setting. Correct the faults.",
    ),
    info(
        "config.reloaded",
        "The server got SIGHUP and loaded the settings and certificates again.",
    ),
    warn(
        "console.sign_in_failed",
        "An operator could not sign in by OpenID Connect. The error says why.",
    ),
    error(
        "database.clock_set",
        "The clock of the database was set to another time. To decide whether orders expire and sales open, the node uses the earlier of two times: the new time and the node's own time.",
    ),
    info("database.clock_trusted", "The clock of the database is trusted again."),
    warn(
        "database.commit_unconfirmed",
        "The synchronous standby did not confirm a commit in time. The result of the commit counts as unknown.",
    ),
    warn("database.commits_return", "Commits to the database complete again."),
    error(
        "database.commits_stalled",
        "A commit to the database does not return. The database's disk or a synchronous standby may hang.",
    ),
    warn(
        "database.failed_over",
        "The database failed over to another server. So the node reads every order again.",
    ),
    warn(
        "database.history_changed",
        "The history of the database changed, because a standby was promoted or the database was moved.",
    ),
    warn(
        "database.history_unkept",
        "The history of the database could not be written to this node's disk. After a restart, the node relies on Redis and other nodes to recognize an old primary.",
    ),
    error(
        "database.no_synchronous_standby",
        "No synchronous standby is left. Set `synchronous_standby_names`, or orders can be lost.",
    ),
    error(
        "database.orders_missing",
        "The database lacks orders that this deployment acknowledged. Open sales are paused.",
    ),
    error("database.outage_began", "The database is unavailable."),
    error(
        "database.outage_continues",
        "The database is still unavailable. This log line repeats every 10 s.",
    ),
    warn(
        "database.outage_ended",
        "The database is available again. The field `for_ms` has the length of the outage.",
    ),
    warn(
        "database.registered",
        "The database has a new primary or was moved. The node added a row to the history of the database.",
    ),
    error(
        "database.sale_paused",
        "A sale was paused because the database changed. Check the orders of the sale, and then resume the sale.",
    ),
    warn(
        "database.setting",
        "A setting of the database endangers orders. The message describes the setting.",
    ),
    warn("database.standby_back", "The synchronous standby is connected again."),
    error(
        "database.standby_missing",
        "Commits wait for a synchronous standby that is not connected. Start the standby.",
    ),
    warn(
        "database.standbys_hidden",
        "The database user lacks the permission to see the standbys. Grant the role `pg_monitor` to the user.",
    ),
    info("edge.upstream_back", "A node behind this edge answers again."),
    warn(
        "edge.upstream_lost",
        "A node behind this edge does not answer. The edge sends requests to the other nodes.",
    ),
    warn(
        "edge.upstream_without_api",
        "A node in `edge.upstreams` lacks the role `api`. Remove the node from the setting.",
    ),
    info(
        "key.generated",
        "The server created the first key for operators and wrote this key to a file. Only the server's user can read this file.",
    ),
    warn(
        "key.unwritten",
        "The server could not write the new key for operators to a file. Set `auth.admin_key`.",
    ),
    warn("limits.not_shared", "Nodes cannot share limits. Each node applies its part of a limit."),
    info("limits.shared", "Nodes share rate limits again."),
    info("node.leadership_changed", "This node became the leader, or stopped being the leader."),
    warn("node.lease_failed", "This node could not renew its lease. The node retries."),
    warn(
        "node.lease_lapsed",
        "The lease of this node lapsed. If other nodes took the units of one of this node's slots, that slot starts a new epoch.",
    ),
    warn("node.lost", "Another node's lease lapsed. The live nodes sell that node's units."),
    warn(
        "node.release_failed",
        "The node could not release its leases while it stopped. The leases lapse by themselves.",
    ),
    warn("node.takeover_failed", "Dead nodes' grants could not be closed. The server retries."),
    info("operator.action", "An operator changed something. The fields say who changed what."),
    warn("order.expiry_failed", "Unpaid orders could not be expired. The server retries."),
    warn(
        "order.expiry_read_failed",
        "The next order to expire could not be read. The server retries.",
    ),
    warn(
        "otlp.failed",
        "The collector did not accept metrics or log lines. The server drops this data and continues.",
    ),
    warn(
        "otlp.invalid",
        "An OTLP variable has an invalid entry, which the server ignores. Correct the variable.",
    ),
    info("otlp.recovered", "The collector accepts metrics or log lines again."),
    warn(
        "payment.applied_again",
        "The database lacked payments after a failover. The node applied these payments again.",
    ),
    warn(
        "payment.ask_failed",
        "The server could not query the provider about a checkout. The server retries.",
    ),
    error("payment.checkout_refused", "The payment provider refused to create a checkout."),
    warn(
        "payment.checkout_unstored",
        "The provider's answer about a checkout could not be stored. The server retries.",
    ),
    warn(
        "payment.checkouts_unread",
        "Ended checkouts could not be read from the store. The server retries.",
    ),
    warn(
        "payment.late_recall_failed",
        "Units for a late payment could not be recalled from slots. If the pool has too few units, the server refunds the payment.",
    ),
    warn(
        "payment.late_reconcile_failed",
        "The slots could not be reconciled with the store after a late payment. The server retries.",
    ),
    error(
        "payment.lost_in_failover",
        "A payment could not be applied again after a failover. Check the payment at the provider.",
    ),
    warn(
        "payment.postpone_failed",
        "The provider does not answer, and the server could not postpone its next queries about checkouts. The server retries.",
    ),
    info("payment.provider_answers", "The payment provider answers again."),
    warn(
        "payment.provider_silent",
        "The payment provider does not answer about checkouts. The server queries only a few checkouts at a time.",
    ),
    error(
        "payment.refund_dead",
        "A refund failed for good and is now a dead letter. An operator must resolve the letter.",
    ),
    error("payment.refund_failed", "A refund failed at the provider. An operator must resolve it."),
    warn(
        "payment.refund_unstored",
        "The provider's answer about a refund could not be stored. The server retries.",
    ),
    info("payment.refunding_stray", "The server refunds a payment that pays for no order."),
    warn("payment.refunds_unread", "Refunds could not be read from the store. The server retries."),
    warn(
        "payment.reversal_ask_failed",
        "After a failover, the server could not ask the provider about a payment. The server retries.",
    ),
    error(
        "payment.reversal_unknown",
        "After a failover, the provider refused to answer about a payment. Check whether the payment was refunded.",
    ),
    warn(
        "payment.reversal_unstored",
        "After a failover, the refund of a payment could not be stored. The server retries.",
    ),
    warn("payment.sandbox", "`payment.provider` is the sandbox. No money moves."),
    warn(
        "payment.stripe_key_limited",
        "The key for Stripe cannot read payment intents and charges. Add this permission. Otherwise the server can miss refunds that are made in Stripe's dashboard.",
    ),
    error(
        "payment.undecided",
        "For 30 days, the provider gave no result for a checkout. The server stops asking. Check the payment at the provider.",
    ),
    warn("payment.unknown_provider", "A checkout belongs to a provider that is not configured."),
    error(
        "payment.unrequested_refund",
        "The provider gave money back without a request from the shop. Decide what happens to the order.",
    ),
    warn("push.sync_failed", "Browsers' subscriptions could not be read. The server retries."),
    info("push.taken_over", "This node now sends messages to browsers in place of a lost node."),
    warn(
        "sale.catalogue_failed",
        "The server could not refresh its copy of the sales from the store. The server retries.",
    ),
    error(
        "sale.front_door_invalid",
        "A sale's front door cannot be read, so all buyers are refused. Start the version that wrote it.",
    ),
    warn(
        "sale.numbers_lost",
        "The store did not accept the sales' statistics in time. So `GET /v1/admin/sales/{sale}/series` has no figures of this node for some seconds.",
    ),
    info("sale.phase_changed", "An operator or the schedule changed the phase of a sale."),
    warn("sale.phase_failed", "A sale could not open or close at its time. The server retries."),
    warn("sandbox.cleanup_failed", "Old sandbox documents were not deleted. The server retries."),
    warn("sandbox.delivery_failed", "The sandbox could not send its messages, and retries."),
    warn(
        "sandbox.message_refused",
        "The server did not accept a message of the sandbox. The sandbox sends the message again.",
    ),
    warn(
        "secret.created_again",
        "The store exists, but the file of a secret was missing. So the server created a new secret.",
    ),
    warn(
        "secret.directory_readable",
        "Other users can list the data directory. Set its mode to 700.",
    ),
    warn(
        "secret.directory_writable",
        "Other users can write to the data directory. They could remove the record that protects against an old primary. Set the directory's mode to 700.",
    ),
    warn("secret.readable", "Other users can read a secret's file. Set the file's mode to 600."),
    warn("server.accept_failed", "The server could not accept a connection. It retries."),
    warn(
        "server.connections_cut",
        "Connections were still open when the server had to stop, so the server closed them.",
    ),
    warn("server.export_failed", "An export failed midway. The client gets an incomplete file."),
    warn(
        "server.few_files",
        "`limits.connections` needs a higher limit of open files (`ulimit -n`). Raise this limit.",
    ),
    error("server.job_ended", "A job of the server ended because of a bug. The server stops."),
    warn(
        "server.notify_failed",
        "The server could not report its start or stop to the service manager (systemd).",
    ),
    warn("server.request_failed", "A request failed with an internal error."),
    info(
        "server.started",
        "The server accepts requests. The fields name the version, the shape and the address.",
    ),
    info(
        "server.stop_requested",
        "The server got a signal to stop. `/readyz` reports that the server is not ready. The server still handles requests.",
    ),
    info(
        "server.stopping",
        "The server finishes the requests in progress and accepts no new requests.",
    ),
    warn(
        "settle.acknowledge_failed",
        "Settled tickets could not be acknowledged. Their slots deliver the tickets again.",
    ),
    warn("settle.batch_failed", "A batch of tickets could not be settled. The server retries."),
    error(
        "settle.dead_letter",
        "A ticket could not be settled. The server returns the ticket and writes a dead letter.",
    ),
    error(
        "settle.dead_letter_unwritten",
        "A dead letter could not be written. The fields name its ticket.",
    ),
    warn("settle.split", "A batch could not be settled. The server settles each half separately."),
    warn(
        "slot.drain_cancel_failed",
        "A drain could not be cancelled. Other nodes continue the drain until its time limit.",
    ),
    warn("slot.drain_follow_failed", "This node could not join another node's drain. It retries."),
    warn("slot.drain_incomplete", "Slots were not drained in time. Their tickets are returned."),
    warn(
        "slot.drain_others_incomplete",
        "Other nodes did not drain their slots in time. The slots' unsettled tickets are returned.",
    ),
    warn(
        "slot.drain_stop_failed",
        "A drain could not stop a slot. The slot's unsettled tickets are returned after the drain.",
    ),
    warn("slot.drained_again", "A sale changed during its drain. The server repeats the drain."),
    error(
        "slot.entries_unreadable",
        "Entries of a slot's queue could not be read. The server deleted these entries.",
    ),
    info("slot.full", "The memory of a slot was full. The slot continues under a new epoch."),
    info("slot.grant_closed", "The grant of a slot that is no longer in the spread was closed."),
    error(
        "slot.memory_lost",
        "A slot lost its memory. Its grant was closed, and its units go back to the pool.",
    ),
    error("slot.outage_began", "A Redis server that holds slots is unavailable."),
    error("slot.outage_continues", "A Redis server that holds slots is still unavailable."),
    warn("slot.outage_ended", "The Redis servers that hold slots are available again."),
    warn("slot.reconcile_failed", "Slots were not reconciled. The server retries."),
    warn(
        "slot.release_failed",
        "Unsettled tickets could not be released while the server stopped. Other nodes take over the tickets later.",
    ),
    warn(
        "slot.release_timed_out",
        "Unsettled tickets were not released in time. Other nodes take over the tickets later.",
    ),
    error(
        "slot.server_refused",
        "A Redis server that holds slots has settings that Doorbuster does not accept. Nodes do not start until the settings are changed.",
    ),
    warn("slot.servers_changed", "The set of the Redis servers that hold slots has changed."),
    warn("slot.stop_failed", "A slot could not be stopped while the server stopped."),
    warn("slot.take_failed", "Tickets could not be taken from a slot. The server retries."),
    warn(
        "slot.tickets_in_flight",
        "The server stops while tickets are in flight. These tickets are returned, or other nodes settle them.",
    ),
    error(
        "slot.unsettled",
        "This node cannot settle the tickets of some slots. These tickets are returned.",
    ),
    warn("slot.watch_failed", "The server could not check the slots. The server retries."),
    info("spread.slot_closed", "A slot that is no longer in its item's spread was closed."),
    warn(
        "spread.widen_failed",
        "An item with `\"partitions\": \"auto\"` could not get more partitions.",
    ),
    warn("spread.widen_impossible", "The nodes serve too many slots to add partitions to an item."),
    info("spread.widened", "An item with `\"partitions\": \"auto\"` got more partitions."),
    warn("store.backlog_failed", "The backlog of orders could not be read. The server retries."),
    warn("store.backlog_timed_out", "The backlog was not read in time. The server retries."),
    warn("store.calls_failed", "Calls to the store failed, although the store is available."),
    warn(
        "store.checkpoint_failed",
        "The write-ahead log of the store could not be copied into the store's file while the server stopped. The next start copies the log.",
    ),
    warn("store.checkpoint_panicked", "The thread that writes checkpoints panicked."),
    warn(
        "store.close_failed",
        "The file of the store could not be closed. The next start recovers the file.",
    ),
    warn(
        "store.digest_unknown",
        "A commit digest has an unknown format. The node reads every order instead.",
    ),
    error("store.failed", "The store failed and cannot be used any more. The server stops."),
    warn(
        "store.holders_failed",
        "The set of request keys that have orders could not be refreshed. The server retries.",
    ),
    warn(
        "store.holders_full",
        "The set of request keys that have orders was full. The server removed the keys of sales that ended long ago.",
    ),
    info("store.migrated", "The store was migrated to the schema of this program."),
    info(
        "store.orders_read_again",
        "This node read no changes of other nodes for minutes. The node reads every order again.",
    ),
    error("store.read_panicked", "A read of the store panicked."),
    warn(
        "store.removed",
        "The store's files were removed while in use. The last commits could not be saved.",
    ),
    warn(
        "store.restored",
        "The store comes from a backup. All open and scheduled sales are paused. Compare the orders with the payment provider before you resume the sales.",
    ),
    warn(
        "store.rewriting",
        "The store's rows come from a dump of another database server. The node lowers the transaction numbers in the rows.",
    ),
    warn("store.unlock_failed", "The data directory could not be unlocked."),
    error("store.unusable", "The store failed, so the server stops. Read the reason."),
    error("stream.lost", "Idle WebSockets were lost because their task panicked."),
    warn("stream.poll_failed", "Idle WebSockets could not be polled. Each gets its own task."),
    warn(
        "stream.poller_failed",
        "The poller for idle WebSockets could not be created. So each idle WebSocket uses a task of its own.",
    ),
    warn(
        "stream.register_failed",
        "An idle WebSocket could not be registered, so this WebSocket keeps its own task.",
    ),
    warn("trace.not_built", "A collector is configured, but this build lacks the feature `otel`."),
    warn("trace.unsent", "The last traces could not be sent."),
    warn("waitlist.failed", "A waitlist could not get units or could not end. The server retries."),
    warn("webhook.cleanup_failed", "Old events could not be deleted from the store."),
    error("webhook.dead_letter", "An event was not delivered. Retry or discard its dead letter."),
    warn(
        "webhook.delivery_failed",
        "The store failed while the server delivered events to an endpoint. The server retries.",
    ),
    warn("webhook.endpoint_failing", "An endpoint does not accept events. `error` has the reason."),
    error("webhook.endpoint_gone", "An endpoint answered `410 Gone` and is disabled."),
    info("webhook.endpoint_recovered", "An endpoint accepts events again."),
    warn(
        "webhook.endpoints_failed",
        "The webhook endpoints could not be read from the store. The server retries.",
    ),
    info(
        "webhook.other_node_delivered",
        "Another node delivered events to an endpoint that this node serves.",
    ),
    warn("webhook.positions_failed", "Events could not get their positions. The server retries."),
    error("webhook.task_failed", "The task that delivers events failed and was started again."),
];
