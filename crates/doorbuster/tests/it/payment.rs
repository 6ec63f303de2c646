//! Tests the command `payment trigger`, which sends the messages of the sandbox provider.

use crate::sales::{buy, open_sale};
use crate::test_server::{KEY, TempDir, program, run};

#[test]
fn a_triggered_payment_fails_arrives_with_a_wrong_amount_and_pays_the_order() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let data_dir = test_server.data_dir().to_str().expect("a UTF-8 path").to_owned();
    let token = run(program(&temp_dir).args(["token", "buyer", "alice", "--data-dir", &data_dir]))
        .stdout_of_success();
    let order = buy(test_server.url(), token.trim());
    let id = order["id"].as_str().expect("an order");
    let trigger = |arguments: &[&str]| {
        let start = ["payment", "trigger", id, "--data-dir", &data_dir];
        test_server.ask(&temp_dir, &[&start[..], arguments].concat())
    };
    let state =
        || test_server.ask(&temp_dir, &["order", "show", id, "--json"]).json()["state"].clone();
    let text = trigger(&["--amount", "1.234"]).stderr_of_failure(2);
    assert!(text.contains("an amount in CNY, which has 2 decimal places"), "{text}");
    assert_eq!(trigger(&["--failed", "--json"]).json()["outcome"], "noted");
    let list = test_server.ask(&temp_dir, &["order", "payments", id, "--json"]).json();
    assert_eq!(list["payments"][0]["state"], "failed", "{list}");
    assert_eq!(trigger(&["--amount", "0.99", "--json"]).json()["outcome"], "refunded");
    assert_eq!(state(), "reserved", "a failed or wrong payment must not pay the order");
    let output = trigger(&[]).stdout_of_success();
    assert!(output.contains("of 1.00 CNY arrived") && output.contains(": paid."), "{output}");
    assert_eq!(state(), "paid");
    let wrong = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut command = program(&temp_dir);
    command.args(["payment", "trigger", id]).env("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", wrong);
    command.env("DOORBUSTER_URL", test_server.url()).env("DOORBUSTER_ADMIN_KEY", KEY);
    let text = run(&mut command).stderr_of_failure(1);
    assert!(text.contains("no signature matches") && text.contains("--data-dir"), "{text}");
    assert!(!text.contains("--key"), "{text}");
    let missing = ["payment", "trigger", "ord_none", "--data-dir", &data_dir];
    test_server.ask(&temp_dir, &missing).stderr_of_failure(1);
}
