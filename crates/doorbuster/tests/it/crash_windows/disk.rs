//! Tests a full, failing or slow disk. If the disk is full or fails, the program prints the reason
//! and ends. When the disk works again, the store contains every answered request. A slow disk
//! delays only orders.

use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_testkit::tool;
use serde_json::json;

use super::client::{PurchaseSpec, SECRET};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use super::purchase_log::AllowedEvents;
use super::random_load::{self, LoadRecord, RandomLoad};
use crate::test_server::{TempDir, program, run};
use crate::watch::Stopwatch;

/// After a failure of its disk, a server ends within this time.
const END_WITHIN: Duration = Duration::from_secs(10);
/// A load writes a few megabytes within this time, even on a slow machine. The disk is then full.
const FILLED_WITHIN: Duration = Duration::from_secs(300);
/// The delay of each sync. The delay is longer than a request waits for its order. So buyers get
/// the answer that their requests are queued. The delay ends before the deadlines of the requests.
const COMMIT_DELAY: Duration = Duration::from_secs(8);
const LOOKS: u32 = 40;
/// The number of buyers in a load while the disk is slow.
const STORMING: u64 = 50;
/// The test keeps the disk slow until at least this number of buyers listen for events about their
/// queued requests.
const LISTENING: u64 = 10;
/// The longest wait until [`LISTENING`] buyers listen for events. It includes the start of the load
/// generator, and the two seconds for which each buyer's request waits for the order.
const LISTEN_WITHIN: Duration = Duration::from_secs(20);

async fn storm_to_the_end(fixture: &ServerFixture) -> LoadRecord {
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", 3, 16, AllowedEvents::default());
    let storm = tokio::time::timeout(FILLED_WITHIN, random_load::run(plan.clone()))
        .await
        .expect("the disk fills");
    assert!(plan.answered.load(Ordering::Relaxed) > 100, "too few answers before the end");
    storm
}

pub(super) async fn expect_stored(fixture: &ServerFixture, record: LoadRecord) {
    fixture.audit(None).await;
    let mut connection = fixture.connect().await;
    let mut found = 0;
    for mut purchase_log in record.purchase_logs {
        if purchase_log.order.is_some() {
            found += 1;
            // `look` reads each order, and compares it with the recorded answers.
            purchase_log.look(&mut connection).await.expect("an answer");
            assert!(purchase_log.buy(&mut connection, "").await.expect("an answer").is_replay());
        } else if purchase_log.open {
            purchase_log.buy(&mut connection, "").await.expect("an answer");
        }
    }
    assert!(found > 50, "the load recorded only {found} orders");
    assert_eq!(fixture.buy(&PurchaseSpec::new("late", "k", "spring", 1)).await.verdict(), "201");
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_grow_ends_the_program_with_the_reason() {
    // The server ignores SIGXFSZ, so a write past the size limit fails with an error.
    let line = r#"trap "" XFSZ; ulimit -f 4000; exec "$@""#;
    let mut fixture = ServerFixture::with_launcher(TempDir::new(), &[], line);
    let record = storm_to_the_end(&fixture).await;
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let stderr_text = fixture.stderr_text();
    assert!(stderr_text.contains("the store failed, so the server ended:"), "{stderr_text}");
    fixture.restart();
    expect_stored(&fixture, record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_program_with_the_reason() {
    let temp_dir = TempDir::new();
    std::fs::create_dir(temp_dir.join("data")).expect("a new name");
    let (data, kept) = (temp_dir.join("data"), temp_dir.join("kept"));
    std::fs::create_dir(&kept).expect("a new name");
    let (data, kept) = (data.display(), kept.display());
    // The private disk disappears when this shell command ends. So the command first copies the
    // disk's files.
    let disk = format!(
        r#"unshare -Urm bash -c 'mount -t tmpfs -o size=4m,mode=0700 small {data} || exit 77; "$@"; code=$?; cp {data}/* {kept}; exit $code' bash "$@""#
    );
    let probe = std::process::Command::new("unshare")
        .args(["-Urm", "mount", "-t", "tmpfs", "x", "/mnt"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        tool::not_checked(
            "a full disk, because this system cannot mount a private disk (unshare -Urm)",
        );
        return;
    }
    let mut fixture = ServerFixture::with_launcher(temp_dir, &[], &disk);
    let record = storm_to_the_end(&fixture).await;
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let stderr_text = fixture.stderr_text();
    assert!(
        stderr_text.contains("the store failed, so the server ended:")
            && stderr_text.contains("full"),
        "{stderr_text}"
    );
    for entry in std::fs::read_dir(fixture.temp_dir.join("kept")).expect("the copy exists") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), fixture.data_dir().join(entry.file_name()))
            .expect("the other disk has space");
    }
    fixture.restart();
    expect_stored(&fixture, record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_under_load_ends_the_program_with_the_reason() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", 3, 16, AllowedEvents::default());
    let storm = tokio::spawn(random_load::run(plan.clone()));
    fixture
        .until("the load has begun", FILLED_WITHIN, async || {
            (plan.answered.load(Ordering::Relaxed) > 200).then_some(())
        })
        .await;
    faults.full_disk(true);
    let record = tokio::time::timeout(FILLED_WITHIN, storm)
        .await
        .expect("the disk is full")
        .expect("no panic");
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let stderr_text = fixture.stderr_text();
    assert!(
        stderr_text.contains("the store failed, so the server ended:")
            && stderr_text.contains("full"),
        "{stderr_text}"
    );
    faults.full_disk(false);
    fixture.restart();
    expect_stored(&fixture, record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_on_disk_before_its_answer() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000, 1, 900)]).await;
    for number in 0..20 {
        let before = faults.syncs();
        let spec = PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1);
        let order = fixture.buy(&spec).await;
        assert_eq!(order.verdict(), "201");
        let bought = faults.syncs();
        assert!(bought > before, "order {number} was answered without a sync");
        if number % 4 == 0 {
            assert_eq!(fixture.ask(&spec.order("POST", &order.id(), "/cancel")).await.status, 200);
            assert!(
                faults.syncs() > bought,
                "the cancellation of order {number} was answered without a sync"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_slows_orders_and_nothing_else() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 40, 10, 900), ("gone", 1, 1, 900)]).await;
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("first", "k", "spring", 1).item("gone")).await.verdict(),
        "201"
    );
    let mut queued = Vec::new();
    for number in 0..30 {
        queued.push((
            PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1),
            fixture.connect().await,
        ));
    }
    faults.slow_disk(COMMIT_DELAY);
    let timer = Stopwatch::start();
    for (spec, connection) in &mut queued {
        // The request does not say how long the server may wait for the order, so the server's
        // default applies.
        connection.send(&spec.with("")).await.expect("the request is sent");
    }
    let before = faults.syncs();
    for look in 0..LOOKS {
        let sent_at = Stopwatch::start();
        let late = fixture
            .buy(&PurchaseSpec::new(&format!("late{look}"), "k", "spring", 1).item("gone"))
            .await;
        assert_eq!(late.verdict(), "409 sold_out");
        fixture.stock("spring").await;
        assert!(
            sent_at.elapsed() < Duration::from_secs(1),
            "the answers took {:?}",
            sent_at.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        faults.syncs(),
        before,
        "a sync ended while the disk was slow, so the test proves nothing"
    );
    // The commit takes longer than a request waits for its order. So the server first tells buyers
    // that their requests are queued. Later, each order has the id of its queued request.
    let mut places = Vec::new();
    for (spec, connection) in &mut queued {
        let place = connection.reply().await.expect("an answer");
        assert!(matches!(&*place.verdict(), "201" | "202"), "{place}");
        places.push((spec, place));
    }
    assert!(places.iter().any(|(_, place)| place.status == 202), "no request was queued");
    faults.slow_disk(Duration::ZERO);
    for (spec, place) in places {
        let look = spec.order("GET", &place.id(), "");
        let decided =
            async || (fixture.ask(&look).await.json()["state"] == "reserved").then_some(());
        fixture
            .until(
                "a verdict by decide_by",
                Duration::from_secs(11).saturating_sub(timer.elapsed()),
                decided,
            )
            .await;
    }
    assert_eq!(fixture.stock("spring").await.held, 30);
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_from_another_process_gets_delayed_answers_by_event() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 100, 1, 900)]).await;
    let (secret, answers) =
        (fixture.temp_dir.join("secret"), fixture.temp_dir.join("answers.jsonl"));
    std::fs::write(&secret, SECRET).expect("a new name");
    let (url, buyers) = (format!("http://{}", fixture.address), STORMING.to_string());
    let mut storm = program(&fixture.temp_dir);
    storm.args(["storm", "--json", "--sale", "spring", "--item", "phone", "--url", &url]);
    // Each buyer has a connection of its own, so all buyers get their tickets at the same time.
    storm.args(["--buyers", &buyers, "--connections", &buyers]);
    storm.arg("--buyer-secret-file").arg(&secret).arg("--answers").arg(&answers);
    faults.slow_disk(COMMIT_DELAY);
    let storm = tokio::task::spawn_blocking(move || run(&mut storm));
    let listening =
        async || (fixture.metric("doorbuster_events_sse").await >= LISTENING).then_some(());
    fixture.until("queued buyers listen for events", LISTEN_WITHIN, listening).await;
    faults.slow_disk(Duration::ZERO);
    let stormed = storm.await.expect("no panic");
    stormed.stdout_of_success();
    let report = stormed.json();
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} of {report}"));
    assert_eq!(report["answers"], json!({"reserved": STORMING}), "{report}");
    assert_eq!((number("buyers"), number("lost_answers")), (STORMING, 0), "{report}");
    assert!(number("queued") >= LISTENING && number("told_by_event") > 0, "{report}");
    assert_eq!(number("told_by_event") + number("told_by_poll"), number("queued"), "{report}");
    assert_eq!(fixture.stock("spring").await.held, STORMING);
    fixture.audit(Some(answers.as_path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_ends_the_program_and_is_never_tried_again() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", 4, 16, AllowedEvents::default());
    let storm = tokio::spawn(random_load::run(plan.clone()));
    while plan.answered.load(Ordering::Relaxed) < 300 && !storm.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    faults.fail_next_sync();
    let record = storm.await.expect("a load without contradictions");
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let stderr_text = fixture.stderr_text();
    assert!(stderr_text.contains("the store failed, so the server ended:"), "{stderr_text}");
    // The failed sync may have lost pages. A second sync would succeed without these pages, so the
    // server must not sync again.
    assert_eq!(faults.syncs_after_failure(), 0);
    fixture.restart();
    expect_stored(&fixture, record).await;
}
