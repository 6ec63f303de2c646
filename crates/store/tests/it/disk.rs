//! What a disk does to a store: it is full, or the process dies. Whatever was told is there
//! afterwards.
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use doorbuster_core::{TicketId, Verdict};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture};
use doorbuster_store::{Store, StoreError};

use crate::fixture::{Dir, open, options};

const DIR: &str = "DOORBUSTER_TEST_DIR";
const CHILD: &str = "disk::child_that_settles_until_it_cannot";

/// Settles and reports each result, until the store fails.
#[tokio::test]
#[ignore = "other tests run it in a process of its own"]
async fn child_that_settles_until_it_cannot() {
    let dir = std::env::var(DIR).expect("the parent names it");
    let (clock, told) = (Clock::new(), CommitLog::default());
    let (options, fatal) = options(Path::new(&dir), &clock, &told);
    let fixture =
        Fixture { store: Store::open_sqlite(options).expect("opens"), clock, commits: told };
    let grant = fixture.slot(900_000_000, 900_000_000, 1).await;
    for batch in 0_u64.. {
        let numbers = batch * 20 + 1..=batch * 20 + 20;
        let tickets = numbers.map(|n| {
            fixture.ticket(&grant, n, &format!("buyer-{n}"), "a-key-that-takes-some-room", 1)
        });
        match fixture.store.settle(tickets.collect()).await {
            Ok(resolved) => {
                assert!(resolved.iter().all(|r| r.verdict == Verdict::Reserved));
                resolved.iter().for_each(|r| println!("told {}", r.id));
            }
            Err(StoreError::Fatal(reason)) => {
                println!("fatal {reason}");
                break;
            }
            Err(other) => panic!("not an error to go on from: {other}"),
        }
        fixture.commits.forget();
    }
    let reasons = fatal.lock().expect("nobody panicked").clone();
    assert_eq!(reasons.len(), 1, "told once: {reasons:?}");
    for refused in [
        fixture.store.health().await.err(),
        fixture.store.take_leader_lease(1, 1).await.err(),
        fixture.store.sales().await.err(),
    ] {
        assert!(matches!(refused, Some(StoreError::Fatal(_))), "{refused:?}");
    }
    fixture.store.close().await;
    println!("stopped in good order");
}

/// Runs the child by a shell line in which `"$@"` stands for it.
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

/// What the child said, to its end or until `stop`.
fn listen(child: &mut Child, mut stop: impl FnMut(&str) -> bool) -> (Vec<TicketId>, Vec<String>) {
    let (mut told, mut said) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        match line.strip_prefix("told ") {
            Some(id) => told.extend(TicketId::parse(id)),
            None => said.push(line.clone()),
        }
        if stop(&line) {
            child.kill().expect("it runs");
        }
    }
    child.wait().expect("it ran");
    (told, said)
}

/// Opens what the child left, and looks for everything that it told.
async fn expect_told(dir: &Dir, told: &[TicketId]) {
    let fixture = open(dir.path());
    for id in told {
        assert!(
            fixture.store.order(*id).await.expect("reads").is_some(),
            "{id} was told and is not there"
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
    // Past the limit a write fails with EFBIG, as the signal is ignored.
    let mut child = child(&dir, r#"trap "" XFSZ; ulimit -f 3000; exec "$@""#);
    let (told, said) = listen(&mut child, |_| false);
    assert!(said.iter().any(|line| line.starts_with("fatal ")), "{said:?}");
    assert!(said.iter().any(|line| line == "stopped in good order"), "{said:?}");
    assert!(told.len() > 100, "it worked before: {}", told.len());
    expect_told(&dir, &told).await;
}

#[tokio::test]
async fn a_full_disk_stops_the_store_and_loses_nothing() {
    let (dir, kept) = (Dir::new(), Dir::new());
    // A small disk of its own, gone with the process, so what is on it at the end is copied out.
    let line = format!(
        r#"unshare -Urm bash -c 'mount -t tmpfs -o size=3m small "${DIR}" || exit 77; "$@"; cp "${DIR}"/* {}' bash "$@" || echo no disk"#,
        kept.path().display()
    );
    let mut child = child(&dir, &line);
    let (told, said) = listen(&mut child, |_| false);
    if said.iter().any(|line| line == "no disk") {
        eprintln!("not run: this system gives no disk to a test without privileges");
        return;
    }
    assert!(
        said.iter().any(|line| line.starts_with("fatal ") && line.contains("full")),
        "{said:?}"
    );
    assert!(said.iter().any(|line| line == "stopped in good order"), "{said:?}");
    assert!(told.len() > 100, "it worked before: {}", told.len());
    expect_told(&kept, &told).await;
}

#[tokio::test]
async fn a_killed_process_loses_no_published_order() {
    for lines in [1, 333, 2_000] {
        let dir = Dir::new();
        let mut child = child(&dir, r#"exec "$@""#);
        let mut heard = 0;
        let (told, _) = listen(&mut child, |line| {
            heard += usize::from(line.starts_with("told "));
            heard == lines
        });
        assert!(told.len() >= lines);
        expect_told(&dir, &told).await;
    }
}
