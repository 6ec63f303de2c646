//! Tests every slot backend with the conformance suite, with comparisons with the reference slot,
//! and with faults.
mod burst;
mod busy;
mod classic;
mod cluster;
mod edge_feed;
mod faults;
mod leave;
mod local;
mod lock;
mod model;
mod one;
mod open;
mod replicas;
mod schedules;
mod server;
mod several;
mod shared;
mod speed;
mod tls;

use doorbuster_testkit::watch;

/// Makes a test of each function of the conformance suite. `$open` gives each test its own slots.
#[macro_export]
macro_rules! conforms {
    ($open:path) => {
        $crate::conforms! { $open:
            a_slot_without_an_epoch_fails_closed
            init_takes_only_a_higher_epoch
            a_ticket_deducts_no_more_than_the_slot_has
            unlimited_stock_is_bounded_only_by_limits
            a_known_request_gets_its_ticket_again
            the_limit_counts_all_requests_of_a_buyer
            a_credit_takes_effect_once_and_forgets_the_request
            credits_without_keys_forget_their_requests
            feed_rows_are_applied_in_order
            a_recall_takes_units_once
            the_queue_keeps_tickets_until_acknowledged
            a_roll_keeps_the_queue
            a_stopped_slot_issues_no_new_ticket
            a_slot_with_an_old_queue_is_full
            the_counters_flip_mark_and_merge
            a_slot_is_retired_once_its_queue_is_empty
            a_late_retirement_keeps_a_newer_grant
        }
    };
    ($open:path: $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            conformance::$name($open(stringify!($name)).await).await;
        }
    )*};
}
