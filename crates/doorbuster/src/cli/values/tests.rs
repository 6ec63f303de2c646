//! Tests of the parsers for the values of arguments.

use super::*;

#[test]
fn an_item_is_read_from_its_parts_in_any_order() {
    let full = item("price=10CNY,id=phone,stock=100,hold=15m,limit=10,title=The Phone", None)
        .expect("a whole item");
    assert_eq!((full.id.as_str(), full.title.fallback()), ("phone", "The Phone"));
    assert_eq!((full.stock, full.limit_per_buyer, full.hold_secs), (Stock::Counted(100), 10, 900));
    assert_eq!((full.price.amount_minor, full.price.currency.as_str()), (1_000, "CNY"));
    for (text, minor) in
        [("0.10CNY", 10), ("10.5CNY", 1_050), ("4900JPY", 4_900), ("1.5KWD", 1_500)]
    {
        assert_eq!(money(text).expect(text).amount_minor, minor, "{text}");
    }
    let least = item("id=a,stock=unlimited,price=0EUR", None).expect("a minimal item");
    assert_eq!(
        (least.title.fallback(), least.stock, least.limit_per_buyer),
        ("a", Stock::UNLIMITED, 1)
    );
}

#[test]
fn an_invalid_item_is_refused_and_the_message_names_the_part() {
    let check = |text: &str, part: &str| {
        let refusal = item(text, None).expect_err("not an item");
        assert!(refusal.contains(part), "{text}: {refusal}");
    };
    check("phone", "\"phone\"");
    check("id=phone,price=10CNY", "stock=");
    check("id=phone,stock=100", "price=");
    check("stock=100,price=10CNY", "id=");
    check("id=phone,stock=-1,price=10CNY", "stock=-1");
    check("id=phone,stock=1.5,price=10CNY", "stock=1.5");
    check("id=phone,stock=100,price=0.105CNY", "price=0.105CNY");
    check("id=phone,stock=100,price=0.105CNY", "CNY has at most 2 decimal places");
    check("id=phone,stock=100,price=1.5JPY", "price=1.5JPY");
    check("id=phone,stock=100,price=1.5JPY", "JPY has no decimal places");
    check("id=phone,stock=100,price=.5CNY", "price=.5CNY");
    check("id=phone,stock=100,price=10cny", "price=10cny");
    check("id=phone,stock=100,price=10cny", "capital letters: CNY");
    check("id=phone,stock=100,price=é", "price=é");
    check("id=phone,stock=100,price=-5CNY", "price=-5CNY");
    check("id=a b,stock=100,price=10CNY", "id=a b: must be 1 to 64 characters");
    check("id=phone,stock=100,price=10CNY,hold=0s", "hold=0s: must be above zero");
    check("id=phone,stock=100,price=10CNY,hold=1500ms", "whole number of seconds");
    check("id=phone,stock=100,price=10CNY,colour=red", "\"colour\"");
    check("id=phone,id=phone,stock=100,price=10CNY", "twice");
}

#[test]
fn a_limit_is_a_burst_and_a_rate_or_a_word() {
    assert_eq!(limit("buyer=5/60"), Ok(LimitArg::Some("buyer", 5, 60)));
    assert_eq!(limit("interface=none"), Ok(LimitArg::None("interface")));
    assert_eq!(limit("default"), Ok(LimitArg::Default));
    for wrong in [
        "",
        "buyer",
        "buyer=",
        "buyer=5",
        "buyer=0/1",
        "buyer=1/10000001",
        "sale=1/1",
        "ip=default",
    ] {
        assert!(limit(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_rate_is_high_enough_for_every_arrival() {
    assert_eq!((rate("0.001"), rate("2e4")), (Ok(0.001), Ok(20_000.0)));
    for wrong in ["1e-300", "0", "-1", "inf", "NaN", "fast"] {
        assert!(rate(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_duration_has_a_unit_and_is_above_zero() {
    let check = |text: &str, secs: Option<u64>| {
        assert_eq!(duration(text).ok().map(|span| span.as_secs()), secs, "{text}");
    };
    check("90s", Some(90));
    check("15m", Some(900));
    check("1h30m", Some(5400));
    check("1h", Some(3600));
    check("90", None);
    check("0s", None);
    check("-5s", None);
    check("soon", None);
    assert_eq!(seconds_or_none("0s"), Ok(Duration::ZERO));
    assert_eq!(seconds_or_none("24h"), Ok(Duration::from_secs(86_400)));
    assert!(seconds_or_none("-5s").is_err() && seconds("0s").is_err());
}
