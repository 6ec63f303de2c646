//! The conformance suite on every backend.
use doorbuster_store::conformance::money::races::late;
use doorbuster_store::conformance::money::{checkouts, history, operator, pages, races};
use doorbuster_store::conformance::waitlist::{ends as line_ends, orders as line_orders};
use doorbuster_store::conformance::{
    Fixture, blocks, challenge, codes, grants, lists, money, orders, outbox, recalls,
    reconciliation, rooms, sales, settle, waitlist,
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
        a_slot_has_one_open_grant, a_grant_takes_no_more_than_the_pool_holds, a_slot_of_no_item_gets_no_grant,
        only_a_sale_that_is_on_has_grants, an_id_opens_one_grant,
        a_refill_reaches_the_slot_through_its_feed, closing_returns_what_was_not_settled_once, closings_are_counted_by_cause,
        a_feed_has_no_gaps, unlimited_stock_is_not_counted, an_adjustment_happens_once, an_impossible_adjustment_does_nothing;
    settle:
        a_consumed_ticket_is_an_order, a_ticket_is_resolved_once, a_second_ticket_of_a_request_gets_its_order,
        a_key_with_other_content_is_refused, the_limit_holds_within_a_batch_and_over_batches, limits_are_an_items_own,
        a_late_ticket_is_returned, a_closed_grant_takes_no_ticket, asking_more_than_was_granted_closes_the_grant,
        a_reused_number_closes_the_grant, a_returned_tickets_number_is_taken, numbers_come_in_any_order,
        a_ticket_of_no_grant_leaves_nothing, a_batch_is_told_before_it_is_answered, an_empty_batch_is_nothing,
        a_verdict_is_forced_after_its_time, a_forced_verdict_finds_the_order, settlers_at_once_sell_each_unit_once;
    orders:
        an_order_is_cancelled_once, what_is_no_order_cannot_change, holds_expire_when_they_are_due, expiry_is_bounded,
        expiries_at_once_end_different_orders, expiry_gives_every_share_back, expiry_beside_the_same_buyers_loses_no_share,
        a_paid_order_is_refunded_once, a_late_payment_revives_what_it_can, a_late_payment_without_units_goes_back,
        a_late_payment_beyond_the_limit_goes_back, an_order_outlives_its_grant, at_the_same_instant_one_wins, changes_are_told;
    recalls:
        a_recall_to_the_pool_happens_once, a_recall_for_a_slot_reaches_it, a_recall_for_a_closed_slot_goes_to_the_pool,
        a_recall_is_clamped, moves_are_counted, closing_finishes_recalls, a_recall_of_nothing_is_not_begun;
    sales:
        a_created_sale_is_a_draft, the_catalogue_is_newest_first,
        the_catalogue_has_another_version_after_each_change, a_patch_raises_the_version, a_refused_patch_changes_nothing,
        a_patch_cannot_reach_what_is_the_stores, only_a_draft_is_deleted, a_sale_walks_through_its_phases,
        counts_are_asked_for_by_item, keys_come_and_go, one_node_leads_at_a_time, actions_are_noted,
        a_spread_changes_before_the_sale_opens, nodes_live_as_long_as_they_beat;
    challenge:
        what_is_spent_stays_spent, of_answers_at_once_one_is_first, wrong_answers_are_counted_for_a_while,
        of_wrong_answers_at_once_as_many_are_looked_at_as_may_be, what_has_ended_counts_for_nothing, what_has_ended_is_forgotten;
    blocks:
        blocks_hold_until_they_are_over, a_mark_changes_with_the_blocks, blocks_are_bounded;
    reconciliation:
        movements_end_at_the_counts, books_add_up, money_for_nothing_is_elsewhere;
    codes:
        a_code_is_spent_once_by_each_buyer, of_a_crowd_as_many_spend_a_code_as_it_has_uses, codes_go_with_their_sale;
    rooms:
        a_room_has_one_seed, a_buyer_has_one_place, the_drawn_come_first, nobody_is_called_into_an_empty_shop, an_admission_lapses,
        unlimited_stock_calls_everybody;
    money:
        a_payment_pays_once, a_second_payment_goes_back, what_is_not_the_price_goes_back, a_payment_for_nothing_goes_back,
        a_late_payment_takes_what_is_there, a_late_payment_waits_for_units_in_slots, a_late_payment_beyond_the_limit_is_refunded,
        a_late_payment_for_what_is_gone_is_refunded, a_failed_payment_may_succeed_yet, a_refunded_order_refunds_its_payment,
        a_refund_is_tried_again_and_given_up;
    operator:
        what_is_given_back_by_hand_hurries_a_question, a_refund_that_was_let_be_is_a_dead_letter_again_after_news, an_answer_that_is_older_than_a_message_is_not_taken, a_late_word_that_a_refund_was_taken_counts_though_it_was_given_up, a_reversal_is_taken_once, each_dispute_is_as_its_provider_said_last;
    pages:
        money_is_listed_page_by_page, a_document_is_swapped_by_one, money_that_went_back_is_noticed;
    checkouts:
        an_order_keeps_one_checkout, expiry_waits_for_the_provider, a_question_in_vain_begins_the_grace,
        a_page_of_checkouts_is_put_off, checkouts_of_what_ended_are_to_be_closed, an_order_gets_more_time;
    history:
        an_order_has_a_history, only_what_happened_is_told, a_batch_tells_of_each_order, a_sale_tells_that_it_opened_and_closed;
    outbox:
        events_are_told_in_their_order_as_they_were, endpoints_come_change_and_go, a_secret_is_replaced_while_the_old_one_signs,
        an_endpoint_advances_once_from_each_place, what_was_not_told_is_kept, what_has_no_position_yet_waits, one_node_at_a_time_has_an_endpoint,
        what_was_given_up_is_listed_until_somebody_saw_to_it, an_event_is_told_once_more_when_asked, what_nobody_needs_is_forgotten;
    races:
        paying_cancelling_expiring_and_extending_at_once, two_payments_and_an_ending_at_once;
    late:
        late_payments_and_rivals_for_what_came_back;
    waitlist:
        a_buyer_has_one_place, a_crowd_joins_at_once, a_line_is_for_what_is_held_out, those_in_line_are_served_by_turn,
        served_at_once_nobody_is_twice, whoever_has_enough_is_passed_over, a_place_is_given_up_once, a_line_is_no_longer_than_what_may_come_back, a_line_stands_while_its_sale_does,
        the_verdict_of_a_place_that_waits_is_not_forced;
    line_ends:
        a_line_ends_with_its_sale, a_long_line_ends_piece_by_piece, the_last_place_of_a_buyer_is_known_by_its_order;
    line_orders:
        the_window_is_the_shorter_one, an_order_out_of_a_line_lives_as_others_do, a_late_payment_and_the_next_in_line,
        the_books_of_a_line_add_up, whoever_was_served_in_vain_does_not_join_again, whose_order_an_operator_cancelled_joins_again;
    lists:
        orders_are_listed_page_by_page, orders_are_exported_oldest_first, new_orders_do_not_shift_pages, requests_that_hold_an_order_are_told,
        a_store_starts_without_dead_letters;
}
