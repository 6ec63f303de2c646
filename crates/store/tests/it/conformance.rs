//! Runs the conformance suite on every backend.
use doorbuster_store::conformance::money::races::late;
use doorbuster_store::conformance::money::{
    checkouts, due_checkouts, history, operator, pages, races, repeated_failures, undecided,
};
use doorbuster_store::conformance::waitlist::{ends as waitlist_ends, orders as waitlist_orders};
use doorbuster_store::conformance::{
    Fixture, blocks, challenge, codes, console, grants, item_rooms, lists, money, orders, outbox,
    phases, push, recalls, reconciliation, redelivery, rooms, sales, settle, waitlist,
};

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};

macro_rules! every {
    ($($module:ident: $($body:ident),+;)+) => {
        mod sqlite {
            $(mod $module {
                $(#[tokio::test]
                async fn $body() {
                    super::super::on_sqlite(super::super::$module::$body).await;
                })+
            })+
        }
        mod postgres {
            $(mod $module {
                $(#[tokio::test]
                async fn $body() {
                    super::super::on_postgres(super::super::$module::$body).await;
                })+
            })+
        }
    };
}

async fn on_sqlite<F: Future<Output = ()>>(body: impl FnOnce(Fixture) -> F) {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let store = fixture.store.clone();
    body(fixture).await;
    store.close().await;
}

async fn on_postgres<F: Future<Output = ()>>(body: impl FnOnce(Fixture) -> F) {
    let cluster = cluster::shared();
    let fixture = open_postgres(&cluster.url(&cluster.database()), 1).await;
    let store = fixture.store.clone();
    body(fixture).await;
    store.close().await;
}

every! {
    grants:
        a_slot_has_one_open_grant, a_grant_takes_no_more_than_the_pool_holds,
        an_unknown_item_gets_no_grant, only_an_open_sale_has_grants,
        a_new_spread_closes_the_grants_before_the_opening, an_id_opens_one_grant,
        a_refill_reaches_the_slot_through_its_feed,
        closing_a_grant_returns_its_unsettled_units_once, closings_are_counted_by_cause,
        a_feed_has_no_gaps, unlimited_stock_is_not_counted, an_adjustment_happens_once,
        an_adjustment_leaves_a_closed_sale_unchanged, an_impossible_adjustment_does_nothing;
    settle:
        a_consumed_ticket_is_an_order, a_ticket_is_resolved_once,
        a_second_ticket_of_a_request_gets_its_order, a_key_with_other_content_is_refused,
        the_limit_holds_within_a_batch_and_over_batches, each_item_has_its_own_limit,
        a_late_ticket_is_returned, a_closed_grant_consumes_no_ticket,
        a_ticket_beyond_the_granted_units_closes_the_grant, a_reused_number_closes_the_grant,
        a_returned_tickets_number_is_taken, numbers_come_in_any_order,
        a_ticket_of_an_unknown_grant_leaves_no_row, a_batch_is_published_before_it_is_answered,
        an_empty_batch_is_settled, a_verdict_is_forced_after_its_time,
        a_forced_verdict_finds_the_order, concurrent_settlers_sell_each_unit_once;
    orders:
        an_order_is_cancelled_once, an_unknown_order_cannot_change, holds_expire_when_they_are_due,
        expiry_is_bounded, concurrent_expiries_end_different_orders, expiry_returns_every_quota,
        expiry_beside_purchases_of_the_same_buyers_loses_no_quota, a_paid_order_is_refunded_once,
        a_late_payment_revives_an_expired_order, a_late_payment_without_units_is_refunded,
        a_late_payment_beyond_the_limit_is_refunded, an_order_outlives_its_grant,
        one_of_several_concurrent_changes_wins, order_changes_are_published;
    recalls:
        a_recall_to_the_pool_happens_once, a_recall_for_a_slot_reaches_it,
        a_recall_for_a_closed_slot_goes_to_the_pool, a_recall_is_clamped,
        refills_and_recalls_are_counted, closing_finishes_recalls, a_recall_of_nothing_is_not_begun;
    sales:
        a_created_sale_is_a_draft, the_catalogue_is_newest_first,
        the_catalogue_has_another_version_after_each_change, a_patch_raises_the_version,
        a_refused_patch_changes_nothing, a_patch_cannot_change_fields_of_the_store,
        only_a_draft_is_deleted, counts_are_listed_by_item,
        keys_are_added_and_deleted, one_node_leads_at_a_time,
        a_lease_from_before_a_clock_step_is_void, operator_actions_are_recorded,
        a_spread_changes_until_the_sale_is_closed, nodes_live_until_their_leases_expire;
    phases:
        a_sale_walks_through_its_phases, a_drained_sale_that_changed_keeps_its_phase,
        a_timed_step_that_is_not_needed_changes_nothing;
    challenge:
        a_spent_challenge_stays_spent, exactly_one_of_concurrent_answers_is_first,
        wrong_answers_are_counted_for_a_while, concurrent_wrong_answers_are_each_counted,
        an_answer_after_the_end_does_not_count, ended_challenges_are_deleted;
    blocks:
        blocks_hold_until_they_end, the_version_changes_with_the_blocks, blocks_are_bounded,
        ended_blocks_are_deleted, a_repeated_block_is_recorded_once;
    reconciliation:
        movements_end_at_the_counts, a_reconciliation_adds_up,
        money_for_unknown_orders_is_listed_separately;
    redelivery:
        an_earlier_attempt_does_not_change_a_requested_delivery;
    codes:
        a_code_is_spent_once_by_each_buyer, concurrent_buyers_spend_a_code_at_most_its_uses,
        codes_are_deleted_with_their_sale, revoked_codes_admit_no_further_buyer;
    console:
        a_session_lasts_until_it_ends_or_expires, nodes_describe_themselves,
        the_numbers_of_a_step_are_written_once_and_expire, wrong_keys_are_counted_by_minute;
    item_rooms:
        the_rooms_of_a_sale_have_one_seed, each_room_has_the_supply_of_its_item,
        one_transaction_admits_visitors_of_both_rooms,
        an_operator_admits_visitors_of_one_item, a_room_knows_who_waits_since_it_was_open,
        rooms_with_visitors_are_open_when_they_become_automatic, a_deleted_draft_leaves_no_room;
    rooms:
        a_room_has_one_seed, an_operator_admits_visitors_without_regard_to_the_stock,
        a_buyer_has_one_position, buyers_in_the_draw_are_admitted_first,
        no_visitor_is_admitted_without_a_free_unit, an_unused_admission_expires,
        a_visitor_who_leaves_is_passed_over, an_idle_turn_passes_and_a_used_one_is_kept,
        unlimited_stock_admits_every_visitor;
    money:
        a_payment_pays_once, a_second_payment_is_refunded, a_payment_of_another_amount_is_refunded,
        a_payment_for_an_unknown_order_is_refunded, a_late_payment_takes_units_of_the_pool,
        a_late_payment_waits_for_units_in_slots, a_late_payment_beyond_the_limit_is_refunded,
        a_late_payment_without_any_units_left_is_refunded, a_failed_payment_may_succeed_later,
        a_refunded_order_refunds_its_payment, a_refund_is_retried_and_becomes_a_dead_letter;
    operator:
        a_manual_refund_makes_the_provider_check_due_at_once,
        a_discarded_refund_that_fails_again_is_a_dead_letter_again,
        an_answer_older_than_a_message_is_ignored, a_late_acceptance_revives_a_failed_refund,
        a_reversal_is_recorded_once, each_dispute_has_its_newest_report;
    repeated_failures:
        a_second_message_about_a_failed_refund_only_asks_the_provider,
        an_old_report_of_a_refund_by_hand_changes_nothing;
    undecided:
        a_payment_for_an_undecided_ticket_comes_too_early;
    pages:
        money_is_listed_page_by_page, a_document_changes_only_from_its_expected_content,
        reversed_money_is_reported;
    checkouts:
        an_order_keeps_one_checkout, expiry_waits_for_the_provider,
        an_unanswered_check_starts_the_grace, a_page_of_checkouts_is_postponed,
        checkouts_of_ended_orders_must_be_closed, an_order_gets_more_time;
    due_checkouts:
        many_due_checkouts_are_read_in_turn;
    history:
        an_order_has_a_history, two_extensions_of_an_order_add_up, only_real_changes_are_events,
        a_batch_appends_an_event_for_each_order, a_sale_appends_events_when_it_opens_and_closes;
    outbox:
        events_keep_their_order_and_content, endpoints_are_added_changed_and_removed,
        a_secret_is_replaced_while_the_old_one_signs, an_endpoint_advances_once_from_each_position,
        undelivered_events_are_kept, events_without_a_position_wait,
        one_node_at_a_time_has_an_endpoint, dead_letters_are_listed_until_they_are_resolved,
        an_event_is_delivered_again_on_request, rows_that_nothing_needs_are_deleted;
    push:
        a_browser_gets_the_messages_of_its_last_buyer,
        a_browser_has_one_subscription_that_it_renews, a_buyer_has_a_few_subscriptions,
        subscriptions_of_a_node_without_a_lease_get_another_owner,
        expired_and_surplus_subscriptions_are_deleted, unpaid_orders_of_several_buyers_are_found;
    races:
        concurrent_changes_of_due_orders_have_one_result,
        at_most_one_of_two_concurrent_payments_pays;
    late:
        late_payments_and_rivals_compete_for_returned_units;
    waitlist:
        a_buyer_has_one_waitlist_entry, concurrent_joins_give_each_buyer_one_entry,
        a_waitlist_is_for_held_out_items, waiting_buyers_are_served_in_order,
        concurrent_serving_serves_each_buyer_once, a_buyer_at_the_limit_is_passed_over,
        a_waitlist_entry_is_left_once, a_waitlist_is_bounded_by_the_units_that_may_come_back,
        a_waitlist_lasts_as_long_as_its_sale, the_verdict_of_a_waiting_entry_is_not_forced;
    waitlist_ends:
        a_waitlist_ends_with_its_sale, a_long_waitlist_ends_in_batches,
        the_last_entry_of_a_buyer_is_found_by_its_order;
    waitlist_orders:
        a_blocked_buyer_in_a_waitlist_is_not_served,
        the_payment_window_of_a_served_order_is_the_shorter_one,
        an_order_from_a_waitlist_behaves_like_others,
        a_late_payment_competes_with_the_next_waiting_buyer, the_units_of_a_waitlist_add_up,
        a_buyer_who_did_not_pay_does_not_join_again,
        a_buyer_whose_order_an_operator_cancelled_joins_again;
    lists:
        orders_are_listed_page_by_page, orders_are_exported_oldest_first,
        new_orders_do_not_shift_pages, requests_that_hold_an_order_are_listed,
        a_store_starts_without_dead_letters;
}
