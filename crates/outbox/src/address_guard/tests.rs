//! Tests that the guard refuses private addresses in every notation, and that it works while DNS
//! servers do not answer.
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use super::*;

/// Longest wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(30);

fn closed() -> AddressGuard {
    AddressGuard::new(false)
}

#[test]
fn only_public_addresses_are_allowed() {
    for public in [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "172.15.255.255",
        "172.32.0.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert!(closed().allows(public.parse().expect("an address")), "{public}");
    }
    let private = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "5f00::1",
    ];
    for private in private {
        let address = private.parse().expect("an address");
        assert!(!closed().allows(address), "{private}");
        assert!(AddressGuard::new(true).allows(address), "allow_private must allow {private}");
    }
}

#[test]
fn an_address_is_checked_in_every_notation() {
    let good = |url: &str| assert!(check(url, &closed()).is_ok(), "{url}");
    good("https://shop.example/hook?x=1");
    good("https://8.8.8.8/hook");
    good("https://[2606:4700::1111]:8443/hook");
    let bad = [
        "",
        "shop.example",
        "ftp://shop.example/",
        "http://shop.example/",
        "https://",
        "https://user@shop.example/",
        "https://:pw@shop.example/",
        "https://shop.example/#x",
        "https://shop.example:0/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://①②⑦.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://169.254.169.254/latest/meta-data/",
    ];
    for url in bad {
        assert!(check(url, &closed()).is_err(), "{url}");
    }
    for url in ["http://127.0.0.1:8080/", "http://localhost/", "https://[::1]/"] {
        assert!(check(url, &AddressGuard::new(true)).is_ok(), "allow_private must allow {url}");
    }
    assert!(check("http://user:pw@127.0.0.1/", &AddressGuard::new(true)).is_err());
}

#[tokio::test]
async fn a_name_of_a_private_address_is_refused() {
    let url = Url::parse("https://localhost/").expect("a URL");
    assert_eq!(closed().refuse_private_host(&url).await, Err(PRIVATE_ADDRESS));
    let name = || "localhost".parse::<Name>().expect("a name");
    let error = closed().resolve(name()).await.err().expect("a private address");
    assert_eq!(error.to_string(), PRIVATE_ADDRESS);
    assert!(AddressGuard::new(true).resolve(name()).await.expect("allowed").next().is_some());
}

/// Returns a guard, a sender, and a list. If a name begins with `stuck`, the guard's resolver
/// blocks until the sender is dropped. The list contains the names whose look-ups have begun,
/// oldest first.
fn stuck() -> (AddressGuard, SyncSender<()>, Arc<Mutex<Vec<String>>>) {
    let (hold, held) = sync_channel::<()>(1);
    let (held, begun) = (Mutex::new(held), Arc::new(Mutex::new(Vec::new())));
    let recorded = begun.clone();
    let names = move |name: &str| {
        recorded.lock().expect("the task did not panic").push(name.to_owned());
        if name.starts_with("stuck") {
            drop(held.lock().map(|held| held.recv()));
        }
        Ok(vec![SocketAddr::from(([8, 8, 8, 8], 0))])
    };
    (AddressGuard::with_names(false, names), hold, begun)
}

fn ask(guard: &AddressGuard, name: impl Into<String>) -> JoinHandle<io::Result<Vec<SocketAddr>>> {
    let (guard, name) = (guard.clone(), name.into());
    tokio::spawn(async move { guard.look_ups.addresses(&name).await })
}

async fn until(begun: &Mutex<Vec<String>>, count: usize) {
    while begun.lock().expect("the task did not panic").len() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_name_whose_server_does_not_answer_does_not_delay_other_names() {
    let (guard, hold, begun) = stuck();
    let mut asking: Vec<_> =
        (0..2 * LOOKUP_BOUNDS.at_once).map(|_| ask(&guard, "stuck.example")).collect();
    until(&begun, 1).await;
    let other =
        tokio::time::timeout(TIMEOUT, ask(&guard, "b.example")).await.expect("a thread is free");
    assert!(other.expect("the task did not panic").is_ok());
    assert_eq!(
        *begun.lock().expect("the task did not panic"),
        ["stuck.example", "b.example"],
        "one look-up must serve all callers"
    );
    assert_eq!(guard.look_ups.free(), LOOKUP_BOUNDS.at_once - 1);
    // A caller that stops waiting does not cancel the look-up for the other callers.
    let gave_up = asking.remove(0);
    gave_up.abort();
    assert!(gave_up.await.is_err());
    drop(hold);
    for asking in asking {
        assert_eq!(asking.await.expect("the task did not panic").expect("found").len(), 1);
    }
    assert_eq!(begun.lock().expect("the task did not panic").len(), 2);
    assert!(ask(&guard, "stuck.example").await.expect("the task did not panic").is_ok());
    assert_eq!(
        begun.lock().expect("the task did not panic").len(),
        3,
        "a result must not be cached"
    );
}

#[tokio::test]
async fn names_whose_servers_do_not_answer_use_a_bounded_number_of_threads() {
    let (guard, hold, begun) = stuck();
    let asking: Vec<_> =
        (0..LOOKUP_BOUNDS.at_once).map(|n| ask(&guard, format!("stuck-{n}.example"))).collect();
    until(&begun, LOOKUP_BOUNDS.at_once).await;
    // No caller waits any more, but the look-ups still use their threads.
    asking.iter().for_each(JoinHandle::abort);
    for asking in asking {
        assert!(asking.await.is_err());
    }
    let more: Vec<_> = (LOOKUP_BOUNDS.at_once..LOOKUP_BOUNDS.names)
        .map(|n| ask(&guard, format!("stuck-{n}.example")))
        .collect();
    let too_many = ask(&guard, "stuck.example").await.expect("the task did not panic");
    assert_eq!(
        too_many.expect_err("the bound is reached").to_string(),
        "too many names are being looked up"
    );
    assert_eq!(
        (guard.look_ups.free(), begun.lock().expect("the task did not panic").len()),
        (0, LOOKUP_BOUNDS.at_once)
    );
    drop(hold);
    for more in more {
        assert!(
            more.await.expect("the task did not panic").is_ok(),
            "the name must be looked up when a thread is free"
        );
    }
    assert_eq!(begun.lock().expect("the task did not panic").len(), LOOKUP_BOUNDS.names);
}
