//! Every way to write an address that is not public.
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use super::*;

fn closed() -> Guard {
    Guard::new(false)
}

#[test]
fn only_public_addresses_are_gone_to() {
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
        assert!(Guard::new(true).allows(address), "{private}, where it is allowed");
    }
}

#[test]
fn an_address_is_checked_however_it_is_written() {
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
        assert!(check(url, &Guard::new(true)).is_ok(), "{url}, where it is allowed");
    }
    assert!(check("http://user:pw@127.0.0.1/", &Guard::new(true)).is_err());
}

#[tokio::test]
async fn a_name_that_points_inside_is_no_way_in() {
    let url = Url::parse("https://localhost/").expect("a URL");
    assert_eq!(closed().look_up(&url).await, Err(PRIVATE));
    let name = || "localhost".parse::<Name>().expect("a name");
    let error = closed().resolve(name()).await.err().expect("nothing is left of it");
    assert_eq!(error.to_string(), PRIVATE);
    assert!(Guard::new(true).resolve(name()).await.expect("allowed").next().is_some());
}

#[tokio::test]
async fn names_that_nobody_answers_for_take_no_more_threads_than_their_places() {
    let (guard, begun) = (closed(), Arc::new(AtomicUsize::new(0)));
    let (hold, held) = sync_channel::<()>(1);
    let held = Arc::new(Mutex::new(held));
    let stuck = || {
        let (guard, begun, held) = (guard.clone(), begun.clone(), held.clone());
        tokio::spawn(async move {
            let work = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                // Ends when the sender is gone.
                drop(held.lock().map(|held| held.recv()));
                Ok(())
            };
            guard.in_turn(work).await
        })
    };
    let asking: Vec<_> = (0..LOOK_UPS_MAX).map(|_| stuck()).collect();
    while begun.load(Ordering::SeqCst) < LOOK_UPS_MAX {
        tokio::task::yield_now().await;
    }
    // Nobody waits for them any more, and still their threads are taken.
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    for asking in asking {
        assert!(asking.await.is_err());
    }
    let more = stuck();
    tokio::task::yield_now().await;
    assert_eq!((guard.look_ups.available_permits(), begun.load(Ordering::SeqCst)), (0, LOOK_UPS_MAX));
    drop(hold);
    more.await.expect("runs").expect("in its turn");
    assert_eq!(begun.load(Ordering::SeqCst), LOOK_UPS_MAX + 1);
}
