//! Slot commands of the CLI, in the golden example: 10,000 units; 400 are allocated; a batch of 30
//! settles; 100 more are allocated.

use crate::test_server::{KEY, TempDir, TestServer, until};

/// Makes the sale, whose slot is refilled when a counter has fewer than `threshold`, and opens it.
fn open(test_server: &TestServer, temp_dir: &TempDir, sale: &str, threshold: u32) {
    let item = "id=phone,title=Phone,stock=10000,price=10CNY,limit=10";
    test_server
        .ask(temp_dir, &["sale", "create", sale, "--title", "Spring drop", "--item", item])
        .stdout_of_success();
    let spread = format!(
        r#"{{"partitions":1,"choose":"buyer","initial":400,"threshold":{threshold},"refill":100}}"#
    );
    let path = format!("/v1/admin/sales/{sale}/items/phone/spread");
    let (status, said) =
        test_server.send(KEY, "PUT", &path, "Content-Type: application/json\r\n", &spread);
    assert_eq!(status, 200, "{said}");
    test_server.ask(temp_dir, &["sale", "open", sale]).stdout_of_success();
}

/// What `sale show --slots` says of its only slot, from the epoch on; and pool and slots of the
/// same sale.
fn slot_and_units(
    test_server: &TestServer,
    temp_dir: &TempDir,
    sale: &str,
) -> (Vec<String>, [u64; 2]) {
    let told = test_server.ask(temp_dir, &["sale", "show", sale, "--slots"]).stdout_of_success();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let header = told.lines().find(|line| line.contains("partition")).map(cells).expect("a header");
    assert_eq!(
        header,
        [
            "item",
            "partition",
            "slot",
            "epoch",
            "granted",
            "settled",
            "a",
            "b",
            "refills",
            "recalls"
        ],
        "{told}"
    );
    let row = told
        .lines()
        .find(|line| line.trim_start().starts_with("phone"))
        .map(cells)
        .expect("a slot");
    let (_, stock) = test_server.send(KEY, "GET", &format!("/v1/admin/sales/{sale}/stock"), "", "");
    let units = |place: &str| stock["items"][0][place].as_u64().expect("counted");
    (row[3..].to_vec(), [units("pool"), units("in_slots")])
}

/// Waits until the slot is so: epoch, granted, settled, both counters, refills, recalls; and pool
/// and slots.
fn wait_for(
    test_server: &TestServer,
    temp_dir: &TempDir,
    sale: &str,
    slot: [&str; 7],
    places: [u64; 2],
) {
    until(&format!("{slot:?} {places:?}"), || {
        (slot_and_units(test_server, temp_dir, sale) == (slot.map(str::to_owned).to_vec(), places))
            .then_some(())
    });
}

fn sell_thirty(test_server: &TestServer, temp_dir: &TempDir, sale: &str) {
    for buyer in ["anna", "bert", "carl"] {
        let body = format!(r#"{{"sale":"{sale}","item":"phone","units":10}}"#);
        let lines = format!(
            "Idempotency-Key: {sale}\r\nContent-Type: application/json\r\nPrefer: wait=5\r\n"
        );
        let (status, said) = test_server.send(
            &test_server.token(temp_dir, buyer),
            "POST",
            "/v1/orders",
            &lines,
            &body,
        );
        assert_eq!(status, 201, "{said}");
    }
}

#[test]
fn the_golden_example_is_shown_with_its_numbers() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    // One that is not refilled at 370, so that what a batch of 30 leaves can be looked at.
    open(&test_server, &temp_dir, "rests", 370);
    wait_for(
        &test_server,
        &temp_dir,
        "rests",
        ["1", "400", "0", "[400]", "0", "1", "0"],
        [9_600, 400],
    );
    sell_thirty(&test_server, &temp_dir, "rests");
    wait_for(
        &test_server,
        &temp_dir,
        "rests",
        ["1", "400", "30", "[370]", "0", "1", "0"],
        [9_600, 370],
    );
    let told =
        test_server.ask(&temp_dir, &["sale", "show", "rests", "--slots"]).stdout_of_success();
    assert!(told.ends_with("30 of 400 granted units are settled.\n"), "{told}");
    // And one that is: 100 more are allocated (9,500 / 470), and again until the counter that does
    // not sell has no fewer than the threshold.
    open(&test_server, &temp_dir, "goes-on", 380);
    sell_thirty(&test_server, &temp_dir, "goes-on");
    wait_for(
        &test_server,
        &temp_dir,
        "goes-on",
        ["1", "800", "30", "[370]", "400", "5", "0"],
        [9_200, 770],
    );
}
