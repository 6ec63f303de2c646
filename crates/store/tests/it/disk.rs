//! Tests that every confirmed order survives a full disk or a killed process.
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use doorbuster_core::{TicketId, Verdict};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture};
use doorbuster_store::{Store, StoreError};

use crate::fixture::{Dir, open, options};
use doorbuster_testkit::tool;

const DIR: &str = "DOORBUSTER_TEST_DIR";
const CHILD: &str = "disk::child_that_settles_until_the_store_fails";

/// Runs in the child process: settles tickets and prints each confirmed order, until the store
/// fails.
#[tokio::test]
#[ignore = "other tests run this test in a separate process"]
async fn child_that_settles_until_the_store_fails() {
    let dir = std::env::var(DIR).expect("the parent sets the variable");
    let (clock, commits) = (Clock::new(), CommitLog::default());
    let (options, fatal) = options(Path::new(&dir), &clock, &commits);
    let fixture = Fixture { store: Store::open_sqlite(options).expect("opens"), clock, commits };
    let grant = fixture.slot(900_000_000, 900_000_000, 1).await;
    for batch in 0_u64.. {
        let numbers = batch * 20 + 1..=batch * 20 + 20;
        let tickets = numbers.map(|n| {
            fixture.ticket(&grant, n, &format!("buyer-{n}"), "a-key-that-takes-some-room", 1)
        });
        match fixture.store.settle(tickets.collect()).await {
            Ok(resolved) => {
                assert!(resolved.iter().all(|r| r.verdict == Verdict::Reserved));
                resolved.iter().for_each(|r| println!("confirmed {}", r.id));
            }
            Err(StoreError::Fatal(reason)) => {
                println!("fatal {reason}");
                break;
            }
            Err(other) => panic!("expected a fatal error: {other}"),
        }
        fixture.commits.forget();
    }
    let reasons = fatal.lock().expect("no panic").clone();
    assert_eq!(reasons.len(), 1, "the failure must be reported once: {reasons:?}");
    for refused in [
        fixture.store.health().await.err(),
        fixture.store.take_leader_lease(1, 1).await.err(),
        fixture.store.sales().await.err(),
    ] {
        assert!(matches!(refused, Some(StoreError::Fatal(_))), "{refused:?}");
    }
    fixture.store.close().await;
    println!("stopped normally");
}

/// Starts this test program as a child of a shell. In the shell's command `line`, `"$@"` stands for
/// the program and its arguments.
fn child(dir: &Dir, line: &str) -> Child {
    let program = std::env::current_exe().expect("this test");
    let mut shell = Command::new("bash");
    shell.args(["-c", line, "bash"]).arg(program).args([
        "--exact",
        CHILD,
        "--ignored",
        "--nocapture",
    ]);
    shell.env(DIR, dir.path()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    shell.spawn().expect("a shell")
}

/// Reads lines until the child ends. Kills the child if `stop` returns true for a line. Returns the
/// confirmed orders and the other lines.
fn listen(child: &mut Child, mut stop: impl FnMut(&str) -> bool) -> (Vec<TicketId>, Vec<String>) {
    let (mut confirmed, mut lines) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        match line.strip_prefix("confirmed ") {
            Some(id) => confirmed.extend(TicketId::parse(id)),
            None => lines.push(line.clone()),
        }
        if stop(&line) {
            child.kill().expect("the child runs");
        }
    }
    child.wait().expect("the child ends");
    (confirmed, lines)
}

async fn expect_confirmed(dir: &Dir, confirmed: &[TicketId]) {
    let fixture = open(dir.path());
    for id in confirmed {
        assert!(
            fixture.store.order(*id).await.expect("reads").is_some(),
            "the order {id} was confirmed, but it does not exist"
        );
    }
    fixture.check_invariants().await;
    let grant = fixture.store.open_grants().await.expect("reads").remove(0);
    let next = grant.max_n.0 + 1;
    fixture.reserve(&grant, next, "one-more", 1).await;
    fixture.check_invariants().await;
    fixture.store.close().await;
}

#[tokio::test]
async fn a_file_that_cannot_grow_stops_the_store_and_loses_nothing() {
    let dir = Dir::new();
    // The shell limits the size of files. The child ignores the signal XFSZ. So a write beyond this
    // limit fails with EFBIG, and does not end the child.
    let mut child = child(&dir, r#"trap "" XFSZ; ulimit -f 3000; exec "$@""#);
    let (confirmed, lines) = listen(&mut child, |_| false);
    assert!(lines.iter().any(|line| line.starts_with("fatal ")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "stopped normally"), "{lines:?}");
    assert!(confirmed.len() > 100, "too few orders before the failure: {}", confirmed.len());
    expect_confirmed(&dir, &confirmed).await;
}

#[tokio::test]
async fn a_full_disk_stops_the_store_and_loses_nothing() {
    let (dir, kept) = (Dir::new(), Dir::new());
    // The small disk disappears when the process ends, so the process copies the files before it
    // ends.
    let line = format!(
        r#"unshare -Urm bash -c 'mount -t tmpfs -o size=3m small "${DIR}" || exit 77; "$@"; cp "${DIR}"/* {}' bash "$@" || echo no disk"#,
        kept.path().display()
    );
    let mut child = child(&dir, &line);
    let (confirmed, lines) = listen(&mut child, |_| false);
    if lines.iter().any(|line| line == "no disk") {
        tool::not_checked("a full disk: this system cannot mount a private disk (unshare -Urm)");
        return;
    }
    assert!(
        lines.iter().any(|line| line.starts_with("fatal ") && line.contains("full")),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line == "stopped normally"), "{lines:?}");
    assert!(confirmed.len() > 100, "too few orders before the failure: {}", confirmed.len());
    expect_confirmed(&kept, &confirmed).await;
}

#[tokio::test]
async fn a_killed_process_loses_no_published_order() {
    for lines in [1, 333, 2_000] {
        let dir = Dir::new();
        let mut child = child(&dir, r#"exec "$@""#);
        let mut count = 0;
        let (confirmed, _) = listen(&mut child, |line| {
            count += usize::from(line.starts_with("confirmed "));
            count == lines
        });
        assert!(confirmed.len() >= lines);
        expect_confirmed(&dir, &confirmed).await;
    }
}
