//! Compares simulated sales with the real store and the real slots.
mod backends;
mod lua;

/// How many lists of operations the test runs. The store is SQLite in memory, and the slots are
/// also in memory.
const LISTS: u64 = 2_000;

#[test]
fn the_real_store_and_slots_behave_like_the_model() {
    let compared = doorbuster_sim_backends::compare(0, LISTS, 2).expect("a store opens");
    let differ: Vec<_> = compared.differ.iter().take(2).collect();
    assert!(differ.is_empty(), "{} lists differ, such as {differ:#?}", compared.differ.len());
    assert!(compared.transactions > 10 * LISTS && compared.calls > 50 * LISTS);
}
