//! Tests of the scheduler with a paused clock.

use super::*;

const START: Millis = Millis(1_000_000);

/// A leader's scheduler. The store's clock shows the time of Tokio's paused clock.
struct Fixture {
    scheduler: Scheduler,
    began: Instant,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { scheduler: Scheduler::default(), began: Instant::now() };
        fixture.scheduler.set_leads(true);
        fixture
    }

    fn turns(&self, work: Work) -> Turns<'_, impl Fn() -> Millis> {
        self.scheduler.turns(work, || START.plus(self.ms()))
    }

    fn ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).expect("a short test")
    }
}

#[test]
fn kinds_have_their_own_numbers_and_names() {
    for (number, work) in Work::ALL.into_iter().enumerate() {
        assert_eq!(work as usize, number, "{work:?}");
        assert_eq!(Work::ALL.iter().filter(|other| other.as_str() == work.as_str()).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_begins_when_the_work_is_due() {
    let fixture = Fixture::new();
    let mut turns = fixture.turns(Work::Expiry);
    let mut begins = Vec::new();
    for next in [
        NextRun::Now,
        NextRun::Now,
        NextRun::At(START.plus(210)),
        NextRun::At(START),
        NextRun::At(START.plus(100_000)),
        NextRun::Idle,
        NextRun::After(Duration::from_secs(3)),
    ] {
        turns.wait(next).await;
        begins.push(fixture.ms());
    }
    // The runs are 10 to 500 ms apart. The last run is an exception: the run before it asked for a
    // pause of 3 s.
    assert_eq!(begins, [0, 10, 210, 220, 720, 1_220, 4_220]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_makes_the_work_due_after_the_shortest_pause() {
    let fixture = Fixture::new();
    let mut turns = fixture.turns(Work::Refunds);
    turns.wait(NextRun::Now).await;
    // A signal that arrives during a run causes another run.
    fixture.scheduler.wake(Work::Refunds);
    turns.wait(NextRun::Idle).await;
    assert_eq!(fixture.ms(), 20);
    let wake = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fixture.scheduler.wake(Work::Expiry);
        fixture.scheduler.wake(Work::Refunds);
    };
    tokio::join!(turns.wait(NextRun::Idle), wake);
    assert_eq!(fixture.ms(), 320, "the signal must end the pause");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        fixture.scheduler.delay_secs(Work::Refunds),
        Some(0.2),
        "the run must be due since the signal"
    );
    turns.wait(NextRun::Idle).await;
    assert_eq!(fixture.ms(), 1_520, "a signal must cause only one run");
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_runs_work_and_a_new_leader_runs_it_at_once() {
    let fixture = Fixture::new();
    let mut turns = fixture.turns(Work::Refunds);
    assert_eq!(turns.wait(NextRun::Now).await, Turn::First);
    assert_eq!(turns.wait(NextRun::Now).await, Turn::Later);
    fixture.scheduler.set_leads(false);
    let lead_again = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fixture.scheduler.delay_secs(Work::Refunds), None);
        fixture.scheduler.set_leads(true);
    };
    let (turn, ()) = tokio::join!(turns.wait(NextRun::Idle), lead_again);
    assert_eq!((turn, fixture.ms()), (Turn::First, 60_020));
}

#[tokio::test(start_paused = true)]
async fn no_run_begins_after_leadership_was_lost_during_the_pause() {
    let fixture = Fixture::new();
    let mut turns = fixture.turns(Work::Audit);
    turns.wait(NextRun::Now).await;
    assert_eq!(fixture.ms(), 4_000);
    let lose = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.scheduler.set_leads(false);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(
            fixture.scheduler.delay_secs(Work::Audit),
            None,
            "a node that is not the leader must report no delay"
        );
        tokio::time::sleep(Duration::from_secs(20)).await;
        fixture.scheduler.set_leads(true);
    };
    let pause = NextRun::After(Duration::from_secs(10));
    let (turn, ()) = tokio::join!(turns.wait(pause), lose);
    assert_eq!((turn, fixture.ms()), (Turn::First, 28_501));
}

#[tokio::test(start_paused = true)]
async fn a_short_loss_of_leadership_does_not_change_the_pause() {
    let fixture = Fixture::new();
    let mut turns = fixture.turns(Work::Audit);
    turns.wait(NextRun::Now).await;
    let blip = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.scheduler.set_leads(false);
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.scheduler.set_leads(true);
    };
    tokio::join!(turns.wait(NextRun::After(Duration::from_secs(10))), blip);
    assert_eq!(fixture.ms(), 14_000);
}

#[test]
fn the_shortest_pause_is_not_longer_than_the_longest() {
    for work in Work::ALL {
        let Timing { spacing, idle, .. } = work.timing();
        assert!(spacing <= idle, "{work:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_is_late() {
    let fixture = Fixture::new();
    let mut turns = fixture.turns(Work::Audit);
    turns.wait(NextRun::Now).await;
    assert_eq!(fixture.ms(), 4_000, "the first audit of a leader must come after a pause");
    assert_eq!(fixture.scheduler.delay_secs(Work::Audit), Some(0.0));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(fixture.scheduler.delay_secs(Work::Audit), Some(2.5));
    tokio::join!(turns.wait(NextRun::Idle), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            fixture.scheduler.delay_secs(Work::Audit),
            Some(0.0),
            "a planned run that is not late must have the delay 0"
        );
    });
}
