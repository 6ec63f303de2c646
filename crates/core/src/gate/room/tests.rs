//! Tables of the waiting room's rules.
use super::*;

fn line(entered: u64, participants: Option<u64>, called: u64) -> Line {
    Line { entered, participants, called }
}

#[test]
fn ranks_go_on_where_the_draw_ended() {
    let mut it = Line::default();
    assert_eq!((it.enter(), it.enter()), (Some(Entry::Early(1)), Some(Entry::Early(2))));
    assert!(it.close_draw() && !it.close_draw());
    assert_eq!(it.enter(), Some(Entry::Late(3)));
    assert_eq!(it, line(3, Some(2), 0));
    assert_eq!((it.call(2), it.call(9), it.call(1)), ((0, 2), (2, 3), (3, 3)));
    let mut full = line(PLACES_MAX, None, 0);
    assert_eq!(full.enter(), None);
}

#[test]
fn as_many_are_called_as_find_something() {
    let many = line(1_000, Some(1_000), 0);
    let check = |free, limit, out, used, used_units, wanted| {
        let shop = Shop { free, limit, out, used, used_units };
        assert_eq!(shop.calls(&many, CALLS_MAX), wanted, "{shop:?}");
    };
    check(Some(100), 1, 0, 0, 0, 100);
    check(Some(100), 1, 60, 0, 0, 40);
    check(Some(100), 1, 100, 0, 0, 0);
    check(Some(60), 1, 100, 0, 0, 0);
    check(Some(0), 1, 0, 0, 0, 0);
    check(None, 1, 0, 0, 0, CALLS_MAX);
    check(None, 1, OUT_MAX - 3, 0, 0, 3);
    // Nothing is known yet: as if each took all that is allowed, but for a few who go first.
    check(Some(100), 10, 0, 0, 0, 10);
    check(Some(100), 1_000_000, 0, 0, 0, 9);
    check(Some(3), 10, 0, 0, 0, 3);
    // Each of eight took two.
    check(Some(100), 10, 0, 8, 16, 50);
    check(Some(100), 10, 10, 8, 16, 40);
    check(Some(1), 10, 0, 8, 16, 1);
    check(Some(2), 10, 1, 8, 16, 0);
    let five = Shop { free: Some(5), limit: 1, ..Shop::default() };
    assert_eq!(five.calls(&line(3, None, 0), CALLS_MAX), 0, "not opened yet");
    assert_eq!(five.calls(&line(3, Some(0), 1), CALLS_MAX), 2, "no more than wait");
    assert_eq!(five.calls(&many, 3), 3, "no more than in one step");
}

#[test]
fn each_is_told_what_is_so() {
    let it = line(10, Some(10), 4);
    let check = |rank, until: Option<i64>, free, wanted| {
        assert_eq!(Place { rank, until: until.map(Millis) }.tell(&it, free, Millis(100)), wanted);
    };
    check(None, None, Some(5), Told::Before);
    check(Some(5), None, Some(5), Told::Waiting(1));
    check(Some(9), None, Some(5), Told::Waiting(5));
    check(Some(10), None, Some(5), Told::Gone(6));
    check(Some(10), None, None, Told::Waiting(6));
    check(Some(5), None, Some(0), Told::Gone(1));
    check(Some(4), Some(101), Some(0), Told::Admitted(Millis(101)));
    check(Some(4), Some(100), Some(9), Told::Lapsed);
    check(Some(4), None, Some(9), Told::Waiting(1));
}
