//! Tests of every backend: the conformance suite, comparisons with the reference slot, and faults.
mod it {
    mod burst;
    mod busy;
    mod classic;
    mod cluster;
    mod faults;
    mod leave;
    mod local;
    mod lock;
    mod model;
    mod one;
    mod open;
    mod replicas;
    mod schedules;
    pub mod server;
    mod several;
    mod shared;
    mod speed;
    mod tls;
    #[path = "../../../store/tests/it/watch.rs"]
    mod watch;
}

/// The conformance suite as tests, each on slots of its own; `$open` gets the test's name.
#[macro_export]
macro_rules! conforms {
    ($open:path) => {
        $crate::conforms! { $open:
            a_slot_without_an_epoch_fails_closed
            init_takes_only_a_higher_epoch
            a_ticket_deducts_exactly_what_is_there
            unlimited_stock_holds_limits_only
            a_known_request_gets_its_ticket_again
            the_limit_counts_all_requests_of_a_buyer
            a_credit_gives_back_once_and_forgets
            a_credit_without_its_key_forgets_too
            feed_rows_wait_for_their_turn
            a_recall_takes_once
            the_queue_keeps_tickets_until_acknowledged
            a_roll_keeps_the_queue
            a_stopped_slot_cuts_nothing
            a_slot_with_an_old_queue_is_full
            the_counters_flip_mark_and_merge
            a_slot_is_retired_once_its_queue_is_empty
        }
    };
    ($open:path: $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            conformance::$name($open(stringify!($name)).await).await;
        }
    )*};
}
