//! Tests challenges: only the first answer to a challenge counts, and the store counts a buyer's
//! wrong answers for a while.
use super::Fixture;
use crate::contract::{AnswerSpend, SpendOutcome};
use crate::limits::{DELETE_ROWS_MAX, SPENT_KEPT_MS};

const WINDOW_MS: i64 = 10_000;
/// How long a challenge can be answered, in milliseconds.
const LIVES_MS: i64 = 120_000;

fn spending(fixture: &Fixture, id: u8, by: u8, is_correct: bool) -> AnswerSpend {
    let until = fixture.store.now().plus(LIVES_MS);
    AnswerSpend { id: [id; 16], until, by: [by; 16], is_correct, window_ms: WINDOW_MS }
}

async fn spend_answer(fixture: &Fixture, id: u8, by: u8, is_correct: bool) -> Option<u32> {
    match fixture.store.spend_answer(spending(fixture, id, by, is_correct)).await.expect("writes") {
        SpendOutcome::AlreadySpent => None,
        SpendOutcome::Expired => panic!("challenge {id} must not have ended"),
        SpendOutcome::Now { misses, until } => {
            assert!(fixture.store.now() < until && until <= fixture.store.now().plus(WINDOW_MS));
            Some(misses)
        }
    }
}

/// Sends these answers to the store concurrently. For each answer, returns two values: whether the
/// answer is right, and the number of the buyer's earlier wrong answers that the store had counted.
async fn at_once(
    fixture: &Fixture,
    answers: impl Iterator<Item = AnswerSpend>,
) -> Vec<(bool, u32)> {
    let tasks: Vec<_> = answers
        .map(|spending| {
            let store = fixture.store.clone();
            tokio::spawn(async move {
                (spending.is_correct, store.spend_answer(spending).await.expect("writes"))
            })
        })
        .collect();
    let mut counts = Vec::new();
    for answer in tasks {
        let (is_correct, outcome) = answer.await.expect("no panic");
        let SpendOutcome::Now { misses, .. } = outcome else {
            panic!("a challenge was spent twice")
        };
        counts.push((is_correct, misses));
    }
    counts
}

/// The first answer to a challenge spends the challenge, whether the answer is right or wrong.
pub async fn a_spent_challenge_stays_spent(fixture: Fixture) {
    assert_eq!(spend_answer(&fixture, 1, 1, true).await, Some(0));
    assert_eq!(spend_answer(&fixture, 1, 1, true).await, None);
    assert_eq!(spend_answer(&fixture, 1, 2, true).await, None, "a spent challenge must stay spent");
    assert_eq!(spend_answer(&fixture, 2, 1, false).await, Some(0));
    assert_eq!(
        spend_answer(&fixture, 2, 1, true).await,
        None,
        "a wrong answer must use up the challenge"
    );
}

/// If a challenge gets many answers concurrently, exactly one of them is the first answer.
pub async fn exactly_one_of_concurrent_answers_is_first(fixture: Fixture) {
    for id in 0..20 {
        let answers: Vec<_> = (0..16)
            .map(|_| {
                let (store, spending) = (fixture.store.clone(), spending(&fixture, id, id, true));
                tokio::spawn(async move { store.spend_answer(spending).await.expect("writes") })
            })
            .collect();
        let mut first = 0;
        for answer in answers {
            first += u32::from(answer.await.expect("no panic") != SpendOutcome::AlreadySpent);
        }
        assert_eq!(first, 1, "challenge {id}");
    }
}

/// The store counts a buyer's wrong answers for a period. After this period, the buyer's count
/// starts again from 0.
pub async fn wrong_answers_are_counted_for_a_while(fixture: Fixture) {
    for n in 0..4 {
        assert_eq!(spend_answer(&fixture, n, 1, false).await, Some(u32::from(n)));
    }
    assert_eq!(
        spend_answer(&fixture, 10, 1, true).await,
        Some(4),
        "the call with a right answer must return the count of wrong answers unchanged"
    );
    assert_eq!(spend_answer(&fixture, 11, 1, true).await, Some(4));
    assert_eq!(
        spend_answer(&fixture, 12, 2, true).await,
        Some(0),
        "another buyer's count must be 0"
    );
    assert_eq!(
        spend_answer(&fixture, 13, 2, false).await,
        Some(0),
        "the right answer must not be counted"
    );
    fixture.clock.advance(WINDOW_MS + 1_000);
    assert_eq!(spend_answer(&fixture, 14, 1, true).await, Some(0));
    assert_eq!(spend_answer(&fixture, 15, 1, false).await, Some(0));
    assert_eq!(spend_answer(&fixture, 16, 1, true).await, Some(1));
}

/// If one caller sends several wrong answers concurrently, the store counts each answer once: each
/// answer gets a different count of earlier wrong answers.
pub async fn concurrent_wrong_answers_are_each_counted(fixture: Fixture) {
    const LOOKED_AT: u32 = 10;
    const WRONG: u32 = 30;
    for by in 0..4 {
        let answers = (0..40).map(|n| spending(&fixture, 50 * by + n, by, n % 4 == 3));
        let counts = at_once(&fixture, answers).await;
        assert!(counts.iter().all(|(_, misses)| *misses <= WRONG), "{counts:?}");
        let mut wrong: Vec<u32> = counts
            .iter()
            .filter(|(is_correct, _)| !is_correct)
            .map(|(_, misses)| *misses)
            .collect();
        wrong.sort_unstable();
        assert_eq!(wrong, (0..WRONG).collect::<Vec<_>>());
        let looked_at = wrong.iter().filter(|misses| **misses < LOOKED_AT).count();
        assert_eq!(looked_at, LOOKED_AT as usize);
        assert_eq!(
            spend_answer(&fixture, 200 + by, by, true).await,
            Some(WRONG),
            "for a right answer, the store must return the number of all wrong answers"
        );
    }
}

/// An answer after the end of its challenge has no effect, even if it is the first answer to the
/// challenge.
pub async fn an_answer_after_the_end_does_not_count(fixture: Fixture) {
    let (spent, unspent) = (spending(&fixture, 1, 1, true), spending(&fixture, 2, 2, false));
    assert!(matches!(
        fixture.store.spend_answer(spent).await.expect("writes"),
        SpendOutcome::Now { misses: 0, .. }
    ));
    fixture.clock.advance(LIVES_MS);
    for _ in 0..3 {
        for late in [spent, unspent] {
            assert_eq!(
                fixture.store.spend_answer(late).await.expect("writes"),
                SpendOutcome::Expired
            );
        }
    }
    assert_eq!(
        spend_answer(&fixture, 3, 2, true).await,
        Some(0),
        "a late answer must not be counted as wrong"
    );
    fixture.clock.advance(SPENT_KEPT_MS);
    assert_eq!(spend_answer(&fixture, 4, 1, true).await, Some(0));
    assert_eq!(
        fixture.store.spent_answers().await.expect("reads"),
        2,
        "the first challenge must be deleted, and the late answers must not be stored"
    );
    assert_eq!(fixture.store.spend_answer(spent).await.expect("writes"), SpendOutcome::Expired);
}

/// When an answer spends a challenge, the store also deletes the rows of challenges that ended some
/// time ago.
pub async fn ended_challenges_are_deleted(fixture: Fixture) {
    let first = spending(&fixture, 0, 0, true);
    assert!(matches!(
        fixture.store.spend_answer(first).await.expect("writes"),
        SpendOutcome::Now { .. }
    ));
    for id in 1..100 {
        assert_eq!(spend_answer(&fixture, id, id, false).await, Some(0));
    }
    assert_eq!(fixture.store.spent_answers().await.expect("reads"), 100);
    fixture.clock.advance(LIVES_MS);
    assert_eq!(spend_answer(&fixture, 100, 100, true).await, Some(0));
    fixture.clock.advance(-1);
    assert_eq!(
        fixture.store.spend_answer(first).await.expect("writes"),
        SpendOutcome::AlreadySpent
    );
    fixture.clock.advance(SPENT_KEPT_MS + 1);
    let (mut left, mut id) = (101, 101);
    while left > DELETE_ROWS_MAX.unsigned_abs() {
        assert_eq!(spend_answer(&fixture, id, id, true).await, Some(0));
        let before =
            std::mem::replace(&mut left, fixture.store.spent_answers().await.expect("reads"));
        assert!(left < before, "each call must delete more challenges than it adds");
        id += 1;
    }
}
