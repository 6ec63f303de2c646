//! Tests what the CLI shows about slots, with an example whose numbers are known.

use crate::test_server::{KEY, TempDir, TestServer, until};

/// Opens a sale with one slot. The slot gets a refill if both of its sub-domains have fewer than
/// `threshold` units.
fn open(test_server: &TestServer, temp_dir: &TempDir, sale: &str, threshold: u32) {
    let item = "id=phone,title=Phone,stock=10000,price=0.10CNY,limit=10";
    test_server
        .ask(temp_dir, &["sale", "create", sale, "--title", "Spring drop", "--item", item])
        .stdout_of_success();
    let spread = format!(
        r#"{{"partitions":1,"choose":"buyer","initial":400,"threshold":{threshold},"refill":100}}"#
    );
    let path = format!("/v1/admin/sales/{sale}/items/phone/spread");
    let (status, answer) =
        test_server.send(KEY, "PUT", &path, "Content-Type: application/json\r\n", &spread);
    assert_eq!(status, 200, "{answer}");
    test_server.ask(temp_dir, &["sale", "open", sale]).stdout_of_success();
}

/// Returns the cells that `sale show --slots` prints for the sale's single slot, from the epoch on.
/// Also returns two numbers of the item's units: those in the pool, and those in slots.
fn slot_and_units(
    test_server: &TestServer,
    temp_dir: &TempDir,
    sale: &str,
) -> (Vec<String>, [u64; 2]) {
    let output = test_server.ask(temp_dir, &["sale", "show", sale, "--slots"]).stdout_of_success();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let header =
        output.lines().find(|line| line.contains("partition")).map(cells).expect("a header");
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
        "{output}"
    );
    let row = output
        .lines()
        .find(|line| line.trim_start().starts_with("phone"))
        .map(cells)
        .expect("a slot");
    let (_, stock) = test_server.send(KEY, "GET", &format!("/v1/admin/sales/{sale}/stock"), "", "");
    let units = |place: &str| stock["items"][0][place].as_u64().expect("a number");
    (row[3..].to_vec(), [units("pool"), units("in_slots")])
}

/// Waits until the slot and the stock have these values. `slot` lists the epoch, the granted units,
/// the settled units, the units in each sub-domain, the refills and the recalls. `places` lists the
/// units in the pool and the units in slots.
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
        let (status, answer) = test_server.send(
            &test_server.token(temp_dir, buyer),
            "POST",
            "/v1/orders",
            &lines,
            &body,
        );
        assert_eq!(status, 201, "{answer}");
    }
}

#[test]
fn sale_show_prints_the_numbers_of_the_golden_example() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    // With a threshold of 370, the slot gets no refill as long as it has 370 units.
    open(&test_server, &temp_dir, "no-refill", 370);
    wait_for(
        &test_server,
        &temp_dir,
        "no-refill",
        ["1", "400", "0", "[400]", "0", "1", "0"],
        [9_600, 400],
    );
    sell_thirty(&test_server, &temp_dir, "no-refill");
    wait_for(
        &test_server,
        &temp_dir,
        "no-refill",
        ["1", "400", "30", "[370]", "0", "1", "0"],
        [9_600, 370],
    );
    let output =
        test_server.ask(&temp_dir, &["sale", "show", "no-refill", "--slots"]).stdout_of_success();
    assert!(output.ends_with("30 of 400 granted units are settled.\n"), "{output}");
    // After the purchases, the active sub-domain has 370 units, and the threshold is 380. So the
    // slot gets refills of 100 units until the inactive sub-domain reaches the threshold.
    open(&test_server, &temp_dir, "refill", 380);
    sell_thirty(&test_server, &temp_dir, "refill");
    wait_for(
        &test_server,
        &temp_dir,
        "refill",
        ["1", "800", "30", "[370]", "400", "5", "0"],
        [9_200, 770],
    );
}
