//! Tests of operators' request bodies, and of the faults that the readers report.

use super::front_door::{FrontDoor, Limit, LimitSetting, Limits, PowEffort};
use super::keys::{NewKey, Role};
use super::new_sale::NewSale;
use super::sale_patch::{ItemPatch, SalePatch};
use super::stock::Adjustment;
use super::webhooks::NewWebhookEndpoint;
use crate::body::{MemberPatch, TextPatch};
use crate::gate::RequirementMode;
use crate::problem::Problem;
use crate::value::{Currency, Money, Stock, Time};

const ITEM: &str =
    r#"{"id":"phone","title":"Phone","price":{"amount_minor":10,"currency":"CNY"},"stock":100}"#;

/// Checks the faults that `read` finds: each fault's pointer, and the start of its detail.
fn check<T: std::fmt::Debug>(
    read: fn(&[u8]) -> Result<T, Problem>,
    body: &str,
    expected: &[(&str, &str)],
) {
    let found = read(body.as_bytes());
    if expected.is_empty() {
        assert!(found.is_ok(), "{body}\n  {found:?}");
        return;
    }
    let problem = found.expect_err(body);
    assert_eq!(problem.status(), 422, "{body}");
    let faults: Vec<_> = problem
        .faults()
        .iter()
        .map(|fault| (fault.pointer.as_str(), fault.detail.as_ref()))
        .collect();
    let same = faults.len() == expected.len()
        && faults
            .iter()
            .zip(expected)
            .all(|(found, wanted)| found.0 == wanted.0 && found.1.starts_with(wanted.1));
    assert!(same, "{body}\n  {faults:?}");
}

fn sale(more: &str) -> String {
    format!(r#"{{"id":"spring","title":"Spring drop","items":[{ITEM}]{more}}}"#)
}

fn sale_of(item: &str) -> String {
    format!(r#"{{"id":"spring","title":"Spring drop","items":[{item}]}}"#)
}

fn with(member: &str) -> String {
    ITEM.replacen('{', &format!("{{{member},"), 1)
}

#[test]
fn a_new_sale_gets_its_defaults() {
    let sale = NewSale::from_json(sale("").as_bytes()).expect("the required members must suffice");
    let item = &sale.items[0];
    assert_eq!((sale.id.as_str(), sale.starts_at, sale.ends_at), ("spring", None, None));
    assert_eq!((item.limit_per_buyer, item.hold_secs, item.description.fallback()), (1, 900, ""));
    assert_eq!(
        (item.stock, item.image.as_deref(), item.list_price),
        (Stock::Counted(100), None, None)
    );
}

#[test]
fn every_fault_of_a_new_sale_is_reported() {
    let new = |body: &str, expected: &[(&str, &str)]| check(NewSale::from_json, body, expected);
    new(&sale(r#","starts_at":"2026-11-20T10:00:00Z","ends_at":null"#), &[]);
    new(
        &sale(r#","starts_at":"2026-11-20T10:00:00Z","ends_at":"2026-11-20T11:00:00+01:00""#),
        &[("/ends_at", "must be after")],
    );
    new(&sale(r#","starts_at":"tomorrow""#), &[("/starts_at", "must be an RFC 3339 time")]);
    new(&sale(r#","starts_at":1795168800"#), &[("/starts_at", "must be a string, not a number")]);
    new(&sale(r#","colour":1"#), &[("/colour", "is not a known member")]);
    new("{}", &[("/id", "is missing"), ("/title", "is missing"), ("/items", "is missing")]);
    new(
        r#"{"id":"a b","title":" ","items":[]}"#,
        &[("/id", "must be 1"), ("/title", "must not be blank"), ("/items", "must have 1 to 100")],
    );
    new(
        r#"{"id":"a","title":"x\ny","items":{}}"#,
        &[("/title", "must be one line"), ("/items", "must be a list")],
    );
    new(
        &format!(r#"{{"id":"a","title":"A","items":[{ITEM},7,{ITEM}]}}"#),
        &[("/items/1", "must be an object"), ("/items/2/id", "repeats the id of an earlier")],
    );
    let many = vec![ITEM; 101].join(",");
    new(&sale_of(&many), &[("/items", "must have 1 to 100")]);
}

#[test]
fn each_member_of_an_item_has_its_bounds() {
    let item = |item: String, expected: &[(&str, &str)]| {
        check(NewSale::from_json, &sale_of(&item), expected)
    };
    for right in [
        r#""limit_per_buyer":1000000"#,
        r#""hold_secs":86400"#,
        r#""description":"two\nlines""#,
        r#""image":null"#,
        r#""image":"https://shop.example/a.png""#,
        r#""image":"/assets/a.png""#,
        r#""image":"a.png""#,
        r#""list_price":null"#,
        r#""list_price":{"amount_minor":0,"currency":"EUR"}"#,
    ] {
        item(with(right), &[]);
    }
    item(
        with(r#""limit_per_buyer":0"#),
        &[("/items/0/limit_per_buyer", "must be a whole number from 1 to 1000000")],
    );
    item(
        with(r#""limit_per_buyer":null"#),
        &[("/items/0/limit_per_buyer", "must be a whole number from 1 to 1000000, not null")],
    );
    item(
        with(r#""hold_secs":86401"#),
        &[("/items/0/hold_secs", "must be a whole number from 1 to 86400")],
    );
    item(with(r#""description":"\u0000""#), &[("/items/0/description", "must not contain")]);
    for wrong in ["javascript:alert(1)", "http://shop.example/a.png", "a b", ""] {
        item(with(&format!(r#""image":"{wrong}""#)), &[("/items/0/image", "must be an https")]);
    }
    item(with(r#""id":"phone""#), &[("/items/0/id", "is given twice")]);
    item(
        ITEM.replace("10,", "-1,"),
        &[("/items/0/price/amount_minor", "must be a whole number from 0")],
    );
    item(
        ITEM.replace("10,", "0.1,"),
        &[(
            "/items/0/price/amount_minor",
            "must be a whole number from 0 to 1000000000000, without a fraction or an exponent",
        )],
    );
    item(
        ITEM.replace("CNY", "cny"),
        &[("/items/0/price/currency", "must be an ISO 4217 currency code")],
    );
    item(
        ITEM.replace("CNY", "ZZZ"),
        &[("/items/0/price/currency", "must be an ISO 4217 currency code")],
    );
    item(
        ITEM.replace("\"currency\"", "\"unit\""),
        &[("/items/0/price/unit", "is not a known"), ("/items/0/price/currency", "is missing")],
    );
    for right in ["0", "1000000000", "\"unlimited\""] {
        item(ITEM.replace(":100", &format!(":{right}")), &[]);
    }
    for wrong in ["-1", "1000000001", "1.0", "1e3", "\"100\"", "null", "\"Unlimited\"", "[]"] {
        item(
            ITEM.replace(":100", &format!(":{wrong}")),
            &[("/items/0/stock", "must be a whole number from 0 to 1000000000, or")],
        );
    }
}

#[test]
fn every_word_of_a_front_door_is_read() {
    let door = |door: &str, expected: &[(&str, &str)]| {
        check(NewSale::from_json, &sale(&format!(",\"front_door\":{door}")), expected)
    };
    door("{}", &[]);
    for (pass, rooms) in [("off", "sale"), ("required", "items")] {
        door(&format!(r#"{{"pass":"{pass}","access_codes":"{pass}","rooms":"{rooms}"}}"#), &[]);
    }
    for (kind, effort) in [("off", 100), ("image", 5_000), ("slider", 5_000), ("pow", 50_000)] {
        door(&format!(r#"{{"challenge":"{kind}","pow_effort":{effort}}}"#), &[]);
    }
    for room in ["off", "auto", "always"] {
        door(&format!(r#"{{"waiting_room":"{room}","members_only":true,"min_level":255}}"#), &[]);
    }
    let limits = |limits: &str, expected: &[(&str, &str)]| {
        door(&format!(r#"{{"limits":{limits}}}"#), expected)
    };
    limits("{}", &[]);
    limits(r#"{"buyer":{"burst":1,"per_minute":10000000},"ip":null,"interface":null}"#, &[]);
    limits(r#"{"buyer":{"burst":1}}"#, &[("/front_door/limits/buyer/per_minute", "is missing")]);
    limits(
        r#"{"ip":{"burst":0,"per_minute":10000001,"x":1}}"#,
        &[
            ("/front_door/limits/ip/x", "is not a known"),
            ("/front_door/limits/ip/burst", "must be a whole number from 1 to 10000000"),
            ("/front_door/limits/ip/per_minute", "must be a whole number from 1 to 10000000"),
        ],
    );
    limits(
        r#"{"interface":7}"#,
        &[("/front_door/limits/interface", "must be an object, not a number")],
    );
    limits(r#"{"sale":null}"#, &[("/front_door/limits/sale", "is not a known")]);
    limits("null", &[("/front_door/limits", "must be an object, not null")]);
    door(
        r#"{"pass":"maybe","challenge":"pow ","access_codes":true,"waiting_room":null}"#,
        &[
            ("/front_door/pass", "must be one of off, required"),
            ("/front_door/challenge", "must be one of off, image, slider, pow"),
            ("/front_door/access_codes", "must be a string, not true"),
            ("/front_door/waiting_room", "must be a string, not null"),
        ],
    );
    door(
        r#"{"min_level":256}"#,
        &[("/front_door/min_level", "must be a whole number from 0 to 255")],
    );
    for wrong in ["99", "50001", "0", "-1", "1e3"] {
        let expected = [("/front_door/pow_effort", "must be a whole number from 100 to 50000")];
        door(&format!(r#"{{"pow_effort":{wrong}}}"#), &expected);
    }
    door(r#"{"rooms":"all"}"#, &[("/front_door/rooms", "must be one of sale, items")]);
    door(r#"{"members_only":1}"#, &[("/front_door/members_only", "must be true or false")]);
    door(r#"{"colour":"red"}"#, &[("/front_door/colour", "is not a known")]);
    door("null", &[("/front_door", "must be an object, not null")]);
}

#[test]
fn a_front_door_is_stored_unchanged() {
    let check = |json: &str, kept: &str| {
        let body = sale(&format!(",\"front_door\":{json}"));
        let door = NewSale::from_json(body.as_bytes()).expect(json).front_door;
        assert_eq!(door.to_json(), kept, "{json}");
        assert_eq!(FrontDoor::parse(kept), Some(door), "{json}");
    };
    let rest = r#""pow_effort":5000,"members_only":false,"min_level":0,"access_codes":"off","waiting_room":"off","rooms":"sale""#;
    check("{}", &format!(r#"{{"pass":"off","challenge":"off",{rest},"limits":{{}}}}"#));
    check(
        r#"{"pass":"required","limits":{"ip":null,"interface":{"burst":2,"per_minute":3}}}"#,
        &format!(
            r#"{{"pass":"required","challenge":"off",{rest},"limits":{{"ip":null,"interface":{{"burst":2,"per_minute":3}}}}}}"#
        ),
    );
    check(
        r#"{"challenge":"pow","pow_effort":20000}"#,
        &format!(
            r#"{{"pass":"off","challenge":"pow",{},"limits":{{}}}}"#,
            rest.replace("5000", "20000")
        ),
    );
    assert_eq!(FrontDoor::parse("{}"), Some(FrontDoor::default()));
    let per_day = r#"{"limits":{"ip":{"burst":1,"per_minute":1,"per_day":1}}}"#;
    for later in [r#"{"pass":"sometimes"}"#, r#"{"age":18}"#, r#"{"limits":{"all":null}}"#, per_day]
    {
        assert_eq!(FrontDoor::parse(later), None, "{later}");
    }
    assert!(
        FrontDoor::CLOSED_DOOR.needs_pass()
            && !FrontDoor::CLOSED_DOOR.is_off()
            && FrontDoor::default().is_off()
    );
}

#[test]
fn a_patch_of_a_front_door_merges_member_by_member() {
    let limit = |burst, per_minute| LimitSetting::Some(Limit { burst, per_minute });
    let before = FrontDoor {
        min_level: 3,
        limits: Limits { buyer: limit(1, 2), ..Limits::default() },
        ..FrontDoor::default()
    };
    let patched = |door: &str| {
        let patch =
            SalePatch::from_json(format!(r#"{{"front_door":{door}}}"#).as_bytes()).expect(door);
        let MemberPatch::Set(patch) = patch.front_door else { panic!("{door}") };
        patch.apply(before)
    };
    let check =
        |door: &str, after: FrontDoor| assert_eq!(patched(door).expect(door), after, "{door}");
    check("{}", before);
    check(r#"{"pass":"required"}"#, FrontDoor { pass: RequirementMode::Required, ..before });
    check(r#"{"min_level":null,"pass":null}"#, FrontDoor { min_level: 0, ..before });
    check(r#"{"pow_effort":100}"#, FrontDoor { pow_effort: PowEffort(100), ..before });
    check(r#"{"limits":null}"#, FrontDoor { limits: Limits::default(), ..before });
    let limits =
        |buyer, ip| FrontDoor { limits: Limits { buyer, ip, ..Limits::default() }, ..before };
    check(r#"{"limits":{"ip":null}}"#, limits(limit(1, 2), LimitSetting::None));
    check(r#"{"limits":{"buyer":{"burst":9}}}"#, limits(limit(9, 2), LimitSetting::Default));
    check(r#"{"limits":{"ip":{"burst":9,"per_minute":8}}}"#, limits(limit(1, 2), limit(9, 8)));
    check(
        r#"{"limits":{"buyer":"default","ip":{"burst":9,"per_minute":8}}}"#,
        limits(LimitSetting::Default, limit(9, 8)),
    );
    let half = patched(r#"{"limits":{"ip":{"burst":9}}}"#).expect_err("the limit has no rate");
    assert_eq!(
        (half.status(), half.faults()[0].pointer.as_str()),
        (422, "/front_door/limits/ip/per_minute")
    );
}

#[test]
fn a_patch_distinguishes_absent_null_and_value() {
    let read = |body: &str| SalePatch::from_json(body.as_bytes()).expect(body);
    assert!(read("{}").is_empty());
    let patch = read(
        r#"{"title":"New","starts_at":null,"ends_at":"2026-11-20T10:00:00Z","front_door":null}"#,
    );
    assert_eq!(patch.title, Some(TextPatch::Plain("New".into())));
    assert_eq!(patch.starts_at, MemberPatch::Clear);
    assert_eq!(patch.ends_at, MemberPatch::Set(Time::from_millis(1_795_168_800_000)));
    assert_eq!(patch.front_door, MemberPatch::Clear);
    assert_eq!(patch.starts_at.apply(Some(Time::from_millis(0))), None);

    let patch = read(
        r#"{"items":[{"id":"phone","price":{"amount_minor":12,"currency":"CNY"},"limit_per_buyer":null,"description":null,"image":null}]}"#,
    );
    let price = Money {
        amount_minor: 12,
        currency: Currency::parse("CNY").expect("three capital letters"),
    };
    let expected = ItemPatch {
        id: "phone".into(),
        price: Some(price),
        limit_per_buyer: Some(1),
        description: Some(TextPatch::Plain(String::new())),
        image: MemberPatch::Clear,
        ..ItemPatch::default()
    };
    assert_eq!(patch.items, [expected]);

    let wrong = |body: &str, expected: &[(&str, &str)]| check(SalePatch::from_json, body, expected);
    wrong(r#"{"title":null}"#, &[("/title", "must be a string, not null")]);
    wrong(r#"{"phase":"open"}"#, &[("/phase", "is not a known member")]);
    wrong(r#"{"items":[]}"#, &[("/items", "must have 1 to 100")]);
    wrong(r#"{"items":[{"title":"x"}]}"#, &[("/items/0/id", "is missing")]);
    wrong(
        r#"{"items":[{"id":"a","price":null}]}"#,
        &[("/items/0/price", "must be an object, not null")],
    );
    wrong(
        r#"{"front_door":{"pass":"x"}}"#,
        &[("/front_door/pass", "must be one of off, required")],
    );
    wrong(
        r#"{"starts_at":"2026-11-20T10:00:00Z","ends_at":"2026-11-20T10:00:00Z"}"#,
        &[("/ends_at", "must be after starts_at")],
    );
}

#[test]
fn an_adjustment_has_units_and_a_reason() {
    let adjustment =
        |body: &str, expected: &[(&str, &str)]| check(Adjustment::from_json, body, expected);
    adjustment(r#"{"units":50,"reason":"recount"}"#, &[]);
    adjustment(r#"{"units":-1000000000,"reason":"recount"}"#, &[]);
    adjustment(r#"{"units":0,"reason":"recount"}"#, &[("/units", "must not be 0")]);
    adjustment(
        r#"{"units":1000000001,"reason":"recount"}"#,
        &[("/units", "must be a whole number from -1000000000")],
    );
    adjustment(
        r#"{"units":1.5,"reason":"recount"}"#,
        &[("/units", "must be a whole number from -1000000000")],
    );
    adjustment(
        r#"{"units":"5"}"#,
        &[("/units", "must be a whole number"), ("/reason", "is missing")],
    );
    adjustment(r#"{"units":5,"reason":""}"#, &[("/reason", "must not be blank")]);
}

#[test]
fn a_key_has_a_name_and_a_role() {
    let read =
        NewKey::from_json(br#"{"name":"night shift","role":"operator"}"#).expect("a valid key");
    assert_eq!(read, NewKey { name: "night shift".into(), role: Role::Operator });
    let key = |body: &str, expected: &[(&str, &str)]| check(NewKey::from_json, body, expected);
    key(r#"{"name":"x","role":"root"}"#, &[("/role", "must be one of viewer, operator, admin")]);
    key("{}", &[("/name", "is missing"), ("/role", "is missing")]);
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
}

#[test]
fn the_fault_of_an_address_is_described() {
    let check = |url: &str, words: &str| {
        let body = serde_json::json!({"url": url, "types": ["*"]}).to_string();
        let problem = NewWebhookEndpoint::from_json(body.as_bytes()).expect_err(url);
        let fault = problem.faults().first().expect("a fault");
        assert!(fault.pointer == "/url" && fault.detail.contains(words), "{url}: {}", fault.detail);
    };
    for none in [
        "",
        "shop.example",
        "ftp://shop.example/",
        "https:/shop.example/",
        "a b",
        "://shop.example/",
    ] {
        check(none, "must be an https address");
    }
    for hostless in
        ["https://", "HTTPS://", "https:///x", "https://\\x", "http://?x", "http://#x", "amqp:///v"]
    {
        check(hostless, "must name a host");
    }
    for spaced in
        ["http://127.0.0.1/a b", " https://shop.example/", "https://shop.example/ ", "https:// x/é"]
    {
        check(spaced, "must not contain a space; write %20 instead");
    }
    check("http://127.0.0.1/é", "must not contain 'é'");
    check("https://caf\u{e9}.example/", "Punycode");
    check("https://shop.example/\u{200b}", r"must not contain '\u{200b}'");
    check("https://shop.example/\n", "control characters");
    check(
        &format!("https://shop.example/{}", "x".repeat(crate::limits::WEBHOOK_URL_BYTES_MAX)),
        "at most",
    );
}
