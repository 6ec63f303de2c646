//! A hall's own rules, without a store.

use std::time::Duration;

use doorbuster_core::gate::draw::Seed;
use doorbuster_core::gate::room::{Line, Told};
use doorbuster_core::{BuyerId, Millis};
use doorbuster_store::{WaitingPlace, WaitingRoom};

use tokio::time::Instant;

use super::Arrivals;
use super::hall::Hall;

const NOW: Millis = Millis(1_000);
const PER_SEC: u64 = 2_000;

fn seed() -> Seed {
    Seed::new([5; 32])
}

fn room(entered: u64, participants: Option<u64>, called: u64) -> WaitingRoom {
    let line = Line { entered, participants, called };
    WaitingRoom { sale: "spring".into(), seed: seed(), line, open_until: None }
}

fn place(name: &str, rank: Option<u64>, until: Option<i64>) -> WaitingPlace {
    let lot = rank.is_none().then(|| seed().lot(name));
    WaitingPlace { buyer: buyer(name), lot, rank, until: until.map(Millis) }
}

fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).expect("a test's buyer")
}

fn told(hall: &Hall, name: &str, free: u64) -> Option<Told> {
    hall.tell(&buyer(name), Some(free), NOW).map(|(told, _)| told)
}

#[test]
fn a_hall_knows_ranks_once_the_draw_is_read() {
    let hall = Hall::new("spring".into(), PER_SEC);
    let names: Vec<String> = (0..20).map(|n| format!("b{n}")).collect();
    names.iter().for_each(|name| hall.learn(&place(name, None, None)));
    assert_eq!(told(&hall, "b0", 9), None, "its row was not read");
    hall.know(&room(20, None, 0));
    assert_eq!(told(&hall, "b0", 9), Some(Told::Before));
    hall.know(&room(20, Some(20), 0));
    assert!(!hall.is_drawn());
    let mut lots: Vec<_> = names.iter().map(|name| seed().lot(name)).collect();
    lots.sort_unstable();
    hall.know_lots(lots);
    assert!(hall.is_drawn());
    let order = doorbuster_core::gate::draw::order(&seed(), names.iter().map(String::as_str));
    for (at, name) in order.iter().enumerate() {
        let position = at as u64 + 1;
        let wanted = if position > 9 { Told::Gone(position) } else { Told::Waiting(position) };
        assert_eq!(told(&hall, name, 9), Some(wanted));
    }
    // The first three are called in, elsewhere; one of them is unknown until it is heard of.
    hall.know(&room(20, Some(20), 3));
    assert_eq!(told(&hall, order[0], 9), None);
    let called: Vec<_> =
        (0..3).map(|at| place(order[at], Some(at as u64 + 1), Some(2_000))).collect();
    assert_eq!(hall.hear(&called, |_| false).len(), 3);
    assert_eq!((told(&hall, order[2], 0), hall.heard()), (Some(Told::Admitted(Millis(2_000))), 3));
    assert_eq!(told(&hall, order[3], 9), Some(Told::Waiting(1)));
    // An old reading takes nothing back.
    hall.know(&room(20, None, 0));
    assert_eq!(told(&hall, order[3], 9), Some(Told::Waiting(1)));
    assert_eq!(hall.tell(&buyer(order[2]), None, Millis(2_000)), None, "lapsed");
}

#[test]
fn whoever_was_called_in_is_told_so_also_before_the_draw_is_read() {
    let hall = Hall::new("spring".into(), PER_SEC);
    hall.learn(&place("anna", None, None));
    hall.know(&room(2, None, 0));
    assert!(
        hall.can_tell(&buyer("anna"), true) && !hall.can_tell(&buyer("anna"), false),
        "the sale has opened since"
    );
    hall.know(&room(2, Some(2), 1));
    assert_eq!(hall.hear(&[place("bert", Some(1), Some(2_000))], |_| true), [buyer("bert")]);
    for is_before_opening in [false, true] {
        assert!(hall.can_tell(&buyer("bert"), is_before_opening));
    }
    assert_eq!(told(&hall, "bert", 9), Some(Told::Admitted(Millis(2_000))));
    assert!(!hall.can_tell(&buyer("anna"), false), "her rank is not known yet");
}

#[test]
fn a_room_opens_by_itself_when_more_come_than_can_be_let_in() {
    let (hall, came) = (Hall::new("spring".into(), PER_SEC), Arrivals::default());
    let start = Instant::now();
    let nodes = std::cell::Cell::new(1);
    let pressed = |arrivals: u64, secs: u64| {
        (0..arrivals).for_each(|n| came.note(&format!("b{n}"), PER_SEC));
        hall.is_pressed(&came, start + Duration::from_secs(secs), nodes.get())
    };
    assert!(!pressed(2 * PER_SEC, 0), "nothing was counted before");
    assert!(!pressed(PER_SEC, 1));
    // Who is who is known nearly, by hashes.
    assert!(pressed(PER_SEC * 21 / 20, 2));
    assert!(!pressed(PER_SEC, 2), "asked again within the second");
    assert!(!pressed(0, 3));
    // One who asks again and again is one.
    (0..100 * PER_SEC).for_each(|_| came.note("robot", PER_SEC));
    assert!(!pressed(PER_SEC - 1, 4));
    assert!(pressed(20 * PER_SEC, 5), "more than are told apart");
    // Of several nodes each looks after its part.
    nodes.set(4);
    assert!(!pressed(PER_SEC / 4, 6));
    assert!(pressed(PER_SEC * 21 / 80, 7));
    hall.know(&WaitingRoom { open_until: Some(Millis(1_001)), ..room(0, None, 0) });
    assert!(hall.is_held(NOW) && !hall.is_held(Millis(1_001)));
}

#[test]
fn how_many_can_be_let_in_is_as_the_settings_say() {
    for per_sec in [4, 100, 20_000] {
        let (hall, came) = (Hall::new("spring".into(), per_sec), Arrivals::default());
        let start = Instant::now();
        let pressed = |arrivals: u64, secs: u64| {
            (0..arrivals).for_each(|n| came.note(&format!("b{n}"), per_sec));
            hall.is_pressed(&came, start + Duration::from_secs(secs), 1)
        };
        assert!(!pressed(0, 0), "nothing was counted before");
        assert!(!pressed(per_sec, 1));
        assert!(pressed(2 * per_sec, 2));
        assert!(!pressed(0, 3));
    }
}

#[test]
fn positions_are_told_when_they_change_and_not_too_often() {
    let hall = Hall::new("spring".into(), PER_SEC);
    let start = Instant::now();
    let news =
        |free, readers, secs| hall.is_news(Some(free), readers, start + Duration::from_secs(secs));
    assert!(!news(5, 1, 0), "there is no room");
    hall.know(&room(9, Some(9), 0));
    assert!(news(5, 1, 0));
    assert!(!news(4, 1, 0), "too soon");
    assert!(news(0, 1, 0), "all is gone");
    assert!(news(1, 1, 0), "something is back");
    assert!(!news(1, 1, 2), "nothing changed");
    hall.know(&room(9, Some(9), 1));
    assert!(!news(1, 50_000, 2), "so many are told more seldom");
    assert!(news(1, 1, 2));
}
