//! Tests that buyers cannot misuse challenges. The tests use a real store.

use std::path::Path;
use std::sync::Arc;

use doorbuster_core::IdKey;
use doorbuster_store::SqliteOptions;
use doorbuster_testkit::TempDir;

use super::*;

struct Fixture {
    store: Store,
    clock: Arc<std::sync::atomic::AtomicI64>,
    challenges: Challenges,
    _scratch: TempDir,
}

fn masters() -> MasterKeys {
    MasterKeys::new(vec![[3; 32]]).expect("one")
}

fn id_key() -> IdKey {
    IdKey::new([9; 32])
}

fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).expect("a test's buyer")
}

fn open(dir: &Path, clock: &Arc<std::sync::atomic::AtomicI64>) -> Store {
    let clock = clock.clone();
    open_by(dir, Arc::new(move || Millis(clock.load(Ordering::SeqCst))))
}

fn open_by(dir: &Path, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Store {
    Store::open_sqlite(SqliteOptions {
        dir: dir.to_owned(),
        id_key: id_key(),
        clock,
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(|_| {}),
    })
    .expect("a fresh directory")
}

impl Fixture {
    fn new() -> Self {
        let (scratch, clock) = (TempDir::new(), Arc::new(1_795_168_800_000.into()));
        let store = open(scratch.path(), &clock);
        Self { store, clock, challenges: Challenges::new(&masters(), &id_key()), _scratch: scratch }
    }

    async fn issue(&self, who: &str, kind: ChallengeKind) -> (String, ChallengeAnswer) {
        self.offer_by(&self.challenges, who, kind).await
    }

    async fn offer_by(
        &self,
        node: &Challenges,
        who: &str,
        kind: ChallengeKind,
    ) -> (String, ChallengeAnswer) {
        let offered = node.issue(self.store.now(), "spring", &buyer(who), kind, USUAL).await;
        let IssuedChallenge { token, shown, .. } = offered.expect("no other request waits");
        let sealed =
            node.seals.open(&token, "spring", who).expect("the token belongs to this buyer");
        let answer = match shown {
            ChallengeContent::Image { .. } => {
                ChallengeAnswer::Text(sealed.text().expect("an image has a text").to_uppercase())
            }
            ChallengeContent::Slider { .. } => ChallengeAnswer::X(sealed.slider_answer().into()),
            ChallengeContent::WorkChallenge { altcha, .. } => {
                ChallengeAnswer::Altcha(worked(&altcha))
            }
        };
        (token, answer)
    }

    async fn redeem(&self, who: &str, token: &str, answer: &ChallengeAnswer) -> Result<(), String> {
        let outcome =
            self.challenges.redeem(&self.store, "spring", &buyer(who), token, answer).await;
        outcome.map_err(|fault| fault.to_string())
    }

    fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, Ordering::SeqCst);
    }
}

fn worked(altcha: &serde_json::Value) -> String {
    doorbuster_challenge::solve_work(altcha).expect("a device can do the work")
}

const KINDS: [ChallengeKind; 3] = [ChallengeKind::Image, ChallengeKind::Slider, ChallengeKind::Pow];
const USUAL: PowEffort = PowEffort::DEFAULT;
const FAILED: &str = "the answer was not accepted";

#[tokio::test]
async fn a_correct_answer_is_accepted_once() {
    let fixture = Fixture::new();
    for kind in KINDS {
        let (token, answer) = fixture.issue("anna", kind).await;
        assert_eq!(fixture.redeem("anna", &token, &answer).await, Ok(()), "{kind:?}");
        assert_eq!(
            fixture.redeem("anna", &token, &answer).await,
            Err(FAILED.into()),
            "{kind:?} again"
        );
    }
}

#[tokio::test]
async fn a_wrong_answer_spends_the_challenge() {
    let fixture = Fixture::new();
    let wrong = |answer: &ChallengeAnswer| match answer {
        ChallengeAnswer::Text(_) => ChallengeAnswer::Text("22222".to_owned()),
        ChallengeAnswer::X(x) => ChallengeAnswer::X(x + 20),
        ChallengeAnswer::Altcha(_) => ChallengeAnswer::Altcha("e30=".to_owned()),
    };
    for kind in KINDS {
        let (token, answer) = fixture.issue("anna", kind).await;
        assert_eq!(
            fixture.redeem("anna", &token, &wrong(&answer)).await,
            Err(FAILED.into()),
            "{kind:?}"
        );
        assert_eq!(
            fixture.redeem("anna", &token, &answer).await,
            Err(FAILED.into()),
            "{kind:?}: a challenge must not be used twice"
        );
    }
    // The answer to an image challenge must count as a wrong answer to a slider challenge.
    let (token, answer) = fixture.issue("anna", ChallengeKind::Slider).await;
    let (_, text) = fixture.issue("anna", ChallengeKind::Image).await;
    assert_eq!(fixture.redeem("anna", &token, &text).await, Err(FAILED.into()));
    assert_eq!(fixture.redeem("anna", &token, &answer).await, Err(FAILED.into()));
}

#[tokio::test]
async fn another_buyer_can_neither_use_nor_spend_a_challenge() {
    let fixture = Fixture::new();
    let (token, answer) = fixture.issue("anna", ChallengeKind::Image).await;
    assert_eq!(
        fixture.redeem("bert", &token, &answer).await,
        Err(FAILED.into()),
        "a challenge of another buyer was accepted"
    );
    let elsewhere =
        fixture.challenges.redeem(&fixture.store, "autumn", &buyer("anna"), &token, &answer).await;
    assert!(
        matches!(elsewhere, Err(ChallengeFault::Failed)),
        "a challenge of another sale was accepted"
    );
    let strangers = Challenges::new(&MasterKeys::new(vec![[4; 32]]).expect("one"), &id_key());
    let forged = strangers
        .issue(fixture.store.now(), "spring", &buyer("anna"), ChallengeKind::Image, USUAL)
        .await;
    let forged = forged.expect("drawn").token;
    assert_eq!(
        fixture.redeem("anna", &forged, &answer).await,
        Err(FAILED.into()),
        "a challenge of another deployment was accepted"
    );
    assert_eq!(fixture.redeem("anna", "made up", &answer).await, Err(FAILED.into()));
    assert_eq!(
        fixture.redeem("anna", &token, &answer).await,
        Ok(()),
        "the refused attempts above must not use up the challenge"
    );
}

#[tokio::test]
async fn a_challenge_ends_after_two_minutes() {
    let fixture = Fixture::new();
    let (early, answer) = fixture.issue("anna", ChallengeKind::Slider).await;
    let (late, late_answer) = fixture.issue("anna", ChallengeKind::Slider).await;
    fixture.pass(CHALLENGE_MS - 1);
    assert_eq!(fixture.redeem("anna", &early, &answer).await, Ok(()));
    fixture.pass(1);
    assert_eq!(fixture.redeem("anna", &late, &late_answer).await, Err(FAILED.into()));
}

#[tokio::test]
async fn an_answer_that_reaches_the_store_after_the_end_is_not_accepted() {
    let (fixture, dir) = (Fixture::new(), TempDir::new());
    let (token, answer) = fixture.issue("anna", ChallengeKind::Slider).await;
    // Each read of this clock advances the clock by one millisecond.
    let clock = Arc::new(std::sync::atomic::AtomicI64::new(fixture.store.now().0));
    let looked = Arc::clone(&clock);
    let store =
        open_by(dir.path(), Arc::new(move || Millis(looked.fetch_add(1, Ordering::SeqCst))));
    // The node's check reads the clock one millisecond before the challenge expires. The store's
    // check reads it after the challenge has expired.
    clock.store(fixture.store.now().0 + CHALLENGE_MS - 1, Ordering::SeqCst);
    let outcome =
        fixture.challenges.redeem(&store, "spring", &buyer("anna"), &token, &answer).await;
    assert!(matches!(outcome, Err(ChallengeFault::Failed)), "{outcome:?}");
    assert_eq!(
        (
            fixture.challenges.outcome_count(AnswerOutcome::Invalid),
            store.spent_answers().await.expect("reads")
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn only_one_of_several_concurrent_answers_at_two_nodes_is_accepted() {
    let fixture = Fixture::new();
    let other_node = Challenges::new(&masters(), &id_key());
    for _ in 0..10 {
        let (token, answer) = fixture.issue("anna", ChallengeKind::Image).await;
        let ask = |node: &'static str| {
            let challenges = if node == "this" { &fixture.challenges } else { &other_node };
            let (token, answer, store) = (&token, &answer, &fixture.store);
            async move {
                challenges.redeem(store, "spring", &buyer("anna"), token, answer).await.is_ok()
            }
        };
        let (a, b, c, d) = tokio::join!(ask("this"), ask("other"), ask("this"), ask("other"));
        assert_eq!([a, b, c, d].iter().filter(|counts| **counts).count(), 1);
    }
}

#[tokio::test]
async fn a_buyer_with_too_many_wrong_answers_has_to_wait() {
    let fixture = Fixture::new();
    let wrong = ChallengeAnswer::X(0);
    for _ in 0..MISSES_MAX {
        let (token, _) = fixture.issue("robot", ChallengeKind::Slider).await;
        assert_eq!(fixture.redeem("robot", &token, &wrong).await, Err(FAILED.into()));
    }
    let (token, answer) = fixture.issue("robot", ChallengeKind::Slider).await;
    assert_eq!(
        fixture.redeem("robot", &token, &answer).await,
        Err("too many wrong answers".into()),
        "even a correct answer must be refused after too many wrong answers"
    );
    let (token, answer) = fixture.issue("anna", ChallengeKind::Slider).await;
    assert_eq!(
        fixture.redeem("anna", &token, &answer).await,
        Ok(()),
        "one buyer's wrong answers must not block another buyer"
    );
    fixture.pass(MISSES_MS);
    let (token, answer) = fixture.issue("robot", ChallengeKind::Slider).await;
    assert_eq!(fixture.redeem("robot", &token, &answer).await, Ok(()));
}

#[tokio::test]
async fn only_ten_of_many_concurrent_wrong_answers_at_two_nodes_are_checked() {
    let fixture = Fixture::new();
    let (other_node, robot, wrong) =
        (Challenges::new(&masters(), &id_key()), buyer("robot"), ChallengeAnswer::X(0));
    let mut tokens = Vec::new();
    for _ in 0..3 * MISSES_MAX {
        let offered = fixture
            .challenges
            .issue(fixture.store.now(), "spring", &robot, ChallengeKind::Pow, USUAL)
            .await;
        tokens.push(offered.expect("no other request waits").token);
    }
    let requests = tokens.iter().enumerate().map(|(n, token)| {
        let node = if n % 2 == 0 { &fixture.challenges } else { &other_node };
        node.redeem(&fixture.store, "spring", &robot, token, &wrong)
    });
    let outcomes = futures_util::future::join_all(requests).await;
    let looked_at =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(ChallengeFault::Failed))).count();
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(ChallengeFault::TooMany { .. })))
        .count();
    assert_eq!(
        (looked_at, refused),
        (MISSES_MAX as usize, 2 * MISSES_MAX as usize),
        "{outcomes:?}"
    );
    let (token, answer) = fixture.issue("robot", ChallengeKind::Slider).await;
    assert_eq!(
        fixture.redeem("robot", &token, &answer).await,
        Err("too many wrong answers".into()),
        "even a correct answer must be refused after too many wrong answers"
    );
}

#[tokio::test]
async fn nodes_share_challenges_and_wrong_answer_counts_while_master_keys_change() {
    let node = |masters: &[u8]| {
        let masters = masters.iter().map(|&byte| [byte; 32]).collect();
        Challenges::new(&MasterKeys::new(masters).expect("two"), &id_key())
    };
    let (before, after) = (node(&[1, 2]), node(&[2, 1]));
    let mut fixture = Fixture::new();
    for [made_by, asked] in [[&before, &after], [&after, &before]] {
        for kind in KINDS {
            let (token, answer) = fixture.offer_by(made_by, "anna", kind).await;
            let outcome =
                asked.redeem(&fixture.store, "spring", &buyer("anna"), &token, &answer).await;
            assert!(outcome.is_ok(), "{kind:?}: {outcome:?}");
        }
    }
    fixture.challenges = before;
    for n in 0..MISSES_MAX {
        let (token, _) = fixture.issue("robot", ChallengeKind::Image).await;
        let asked = if n % 2 == 0 { &fixture.challenges } else { &after };
        let wrong = ChallengeAnswer::X(0);
        let outcome = asked.redeem(&fixture.store, "spring", &buyer("robot"), &token, &wrong).await;
        assert!(matches!(outcome, Err(ChallengeFault::Failed)), "{outcome:?}");
    }
    let (token, answer) = fixture.issue("robot", ChallengeKind::Image).await;
    assert_eq!(
        fixture.redeem("robot", &token, &answer).await,
        Err("too many wrong answers".into())
    );
}

#[tokio::test]
async fn a_prepared_challenge_is_given_out_once() {
    let pool = ChallengePool::new(WorkKeys::new(&[1; 32], &[2; 32]));
    let prepared = |kind| pool.issued_and_ready(kind).1;
    pool.set_prerendered([true, false]);
    let full_enough = async {
        while prepared(PuzzleKind::Image) < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), full_enough)
        .await
        .expect("the pool must draw images in advance");
    assert_eq!(prepared(PuzzleKind::Slider), 0, "a slider was prepared, but no sale requires it");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..30 {
        let ChallengeContent::Image { image } =
            pool.take(RenderRequest::Image).await.expect("the drawing threads run").shown
        else {
            panic!("an image was requested, but the challenge is not an image")
        };
        assert!(seen.insert(image), "the same image was given out twice");
    }
    assert_eq!(pool.issued_and_ready(PuzzleKind::Image).0, 30);
    pool.set_prerendered([false; PRERENDERED_KINDS]);
    assert_eq!(prepared(PuzzleKind::Image), 0, "the prepared images must be dropped");
    assert!(
        pool.take(RenderRequest::Slider).await.is_some(),
        "a challenge that is not prepared must be drawn on request"
    );
}
