//! Tests the commands for operators, except those for orders: keys, actions, nodes, status, codes,
//! and the commands that show and change a sale.

use serde_json::json;

use crate::sales::{buy, lossy_proxy, open_sale};
use crate::test_server::{KEY, TempDir, TestServer, program, run, stand_in};

#[test]
fn operators_need_neither_curl_nor_sql() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    let ask = |words: &[&str]| server.ask(&temp_dir, words);
    let json = |words: &[&str]| ask(&[words, &["--json"]].concat()).json();
    let item = "id=phone,title=Phone,stock=5,price=10.00CNY";
    let made = ask(&["sale", "create", "spring", "--title", "Spring", "--item", item]);
    assert!(made.stdout_of_success().contains("phone costs 10.00 CNY"));

    let key = json(&["key", "create", "night shift", "--role", "viewer"]);
    let id = key["id"].as_str().expect("an id");
    assert!(ask(&["key", "list"]).stdout_of_success().contains("night shift"));
    let prompt = ask(&["key", "delete", id]).stderr_of_failure(2);
    assert!(prompt.contains("--yes"), "{prompt}");
    ask(&["key", "delete", id, "--yes"]).stdout_of_success();
    assert_eq!(json(&["key", "list"])["keys"], json!([]));

    change_prices(&temp_dir, &server);
    ask(&["sale", "set", "spring", "--starts-at", "2100-01-01T00:00:00Z"]).stdout_of_success();
    ask(&["sale", "schedule", "spring"]).stdout_of_success();
    ask(&["sale", "unschedule", "spring"]).stdout_of_success();
    let check = ask(&["sale", "check", "spring"]).stdout_of_success();
    assert!(check.contains("spring is ready") && check.contains("sandbox"), "{check}");
    let spread = ask(&["sale", "spread", "spring", "phone"]).stdout_of_success();
    assert!(spread.contains("1 partitions"), "{spread}");
    let wider = ["sale", "spread", "spring", "phone", "--partitions", "4", "--choose", "random"];
    let spread = ask(&wider).stdout_of_success();
    assert!(spread.contains("4 partitions; choice of the slot: random"), "{spread}");
    assert_eq!(
        json(&["sale", "spread", "spring", "phone", "--partitions", "auto"])["partitions"],
        "auto"
    );
    let wrong = ask(&["sale", "spread", "spring", "phone", "--partitions", "65"]);
    assert!(wrong.stderr_of_failure(2).contains("from 1 to 64"));
    assert_eq!(json(&["sale", "series", "spring", "--step", "10"])["step_secs"], 10);
    assert_eq!(json(&["sale", "stats", "spring"])["requests"], 0);

    let codes = ask(&["sale", "codes", "spring", "--count", "2"]).stdout_of_success();
    let code = codes.lines().next().expect("a code");
    assert!(ask(&["code", "list", "spring"]).stdout_of_success().contains("2 access codes"));
    let revoked = ask(&["code", "revoke", "spring", code, "--yes"]).stdout_of_success();
    assert!(revoked.contains("Revoked 1 code."), "{revoked}");

    let actions = ask(&["actions", "--subject", "sale:spring"]).stdout_of_success();
    for words in ["sale.unscheduled", "codes.revoked", "/items/phone/price", "sale.created"] {
        assert!(actions.contains(words), "{words} is not in {actions}");
    }
    assert!(actions.contains("127.0.0.1"), "the address of the operator is not in {actions}");
    assert_eq!(json(&["actions", "--limit", "1"])["actions"][0]["action"], "codes.revoked");
    assert!(ask(&["nodes"]).stdout_of_success().contains("store: sqlite"));
    ask(&["sale", "open", "spring"]).stdout_of_success();
    let status = ask(&["status"]).stdout_of_success();
    assert!(status.starts_with("ready") && status.contains("Spring drop"), "{status}");
    let status = json(&["status"]);
    assert_eq!((&status["sales"][0]["id"], &status["warnings"]), (&"spring".into(), &json!([])));
    let waitlist = ask(&["waitlist", "list", "spring", "phone"]).stdout_of_success();
    assert_eq!(waitlist, "No buyer waits.\n");
    let buyer = ask(&["buyer", "spring", "alice"]).stdout_of_success();
    assert!(buyer.contains("no orders, no waitlist entries and no recent refusals"), "{buyer}");
    let unknown = ask(&["buyer", "autumn", "alice"]).stderr_of_failure(1);
    assert!(unknown.contains("no such sale"), "{unknown}");
}

#[test]
fn a_refusal_is_a_problem_document_with_json() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    for command in [
        "sale check autumn",
        "sale delete autumn --yes",
        "key delete key_none --yes",
        "block remove blk_none",
        "webhook endpoint remove end_none --yes",
        "payment trigger ord_none --data-dir DIR",
        "order show ord_none",
    ] {
        let data_dir = server.data_dir().display().to_string();
        let words =
            command.split(' ').map(|word| if word == "DIR" { data_dir.as_str() } else { word });
        let words: Vec<&str> = words.chain(["--json"]).collect();
        let refused = server.ask(&temp_dir, &words);
        assert_eq!(refused.stderr_of_failure(1), "", "{command}");
        assert_eq!(refused.json()["code"], "not_found", "{command}");
    }
    let step = server.ask(&temp_dir, &["sale", "series", "spring", "--step", "7"]);
    assert!(step.stderr_of_failure(2).contains("must be 1, 10 or 60"));
}

fn change_prices(temp_dir: &TempDir, server: &TestServer) {
    let ask = |words: &[&str]| server.ask(temp_dir, words);
    let set = ["sale", "set", "spring", "--title", "Spring drop", "--item", "phone.price=12.50CNY"];
    assert!(ask(&set).stdout_of_success().contains("phone 12.50 CNY"));
    let minor = ["sale", "set", "spring", "--currency", "CNY", "--minor"];
    let list_price = ask(&[&minor[..], &["--item", "phone.list_price=1500"]].concat());
    assert!(list_price.stdout_of_success().contains("12.50 CNY (list price 15.00 CNY)"));
    let file = temp_dir.join("patch.json");
    let price = json!({"amount_minor": 1300, "currency": "CNY"});
    let patch = json!({"items": [{"id": "phone", "price": price}]}).to_string();
    std::fs::write(&file, patch).expect("a file");
    let edited = ask(&["sale", "edit", "spring", "--file", &file.display().to_string()]);
    assert!(edited.stdout_of_success().contains("Prices: phone 13.00 CNY"));
}

#[test]
fn sales_with_long_descriptions_are_listed_and_have_a_status() {
    let temp_dir = TempDir::new();
    // Each answer is as large as a full page of sales of 512 KiB each.
    let url = stand_in(|path| {
        let limit = path.split(['?', '&']).find_map(|pair| pair.strip_prefix("limit="));
        let sales: usize = limit.map_or(0, |limit| limit.parse().expect("a number"));
        let padding = "x".repeat(sales * 512 * 1024);
        let store = json!({"kind": "sqlite", "server_version": "3"});
        let lists = r#""sales":[],"nodes":[],"slots":[]"#;
        format!(r#"{{{lists},"store":{store},"padding":"{padding}"}}"#)
    });
    let ask = |words: &[&str]| {
        run(program(&temp_dir).args(words).args(["--url", &url, "--key", KEY])).stdout_of_success()
    };
    assert_eq!(ask(&["sale", "list", "--limit", "100"]), "No sales found.\n");
    assert!(ask(&["status"]).contains("no sale is open, paused or scheduled"));
}

#[test]
fn an_old_series_by_second_has_a_hint() {
    let temp_dir = TempDir::new();
    let server = open_sale(&temp_dir);
    let series = |step: &str| {
        let period = ["--from", "2025-01-01T00:00:00Z", "--to", "2025-01-01T00:30:00Z"];
        let words = [&["sale", "series", "spring", "--step", step][..], &period].concat();
        server.ask(&temp_dir, &words).stdout_of_success()
    };
    assert!(series("1").contains("use --step 60"), "{}", series("1"));
    assert!(series("60").contains("no requests"), "{}", series("60"));
}

#[test]
fn a_new_sale_is_confirmed_with_its_list_prices() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    let money = |amount: u32| json!({"amount_minor": amount, "currency": "CNY"});
    let mut item = json!({"id": "phone", "title": "Phone", "stock": 5, "price": money(1000)});
    item["list_price"] = money(1500);
    let sale = json!({"id": "spring", "title": "T", "items": [item]}).to_string();
    let file = temp_dir.join("sale.json");
    std::fs::write(&file, sale).expect("a file");
    let file = file.display().to_string();
    let made = server.ask(&temp_dir, &["sale", "create", "--file", &file]).stdout_of_success();
    assert!(made.ends_with("phone costs 10.00 CNY (list price 15.00 CNY).\n"), "{made}");
}

#[test]
fn a_file_that_gives_a_member_twice_is_refused_by_the_server() {
    let temp_dir = TempDir::new();
    let server = open_sale(&temp_dir);
    let file = temp_dir.join("twice.json");
    let price = r#""price": {"amount_minor": 10, "currency": "CNY"}"#;
    let item = format!(r#"{{"id": "phone", "title": "P", {price}, "stock": 10, "stock": 1000}}"#);
    let sale = format!(r#"{{"id": "autumn", "title": "T", "items": [{item}]}}"#);
    let patch = r#"{"title": "A", "title": "B"}"#.to_owned();
    let path = file.display().to_string();
    for (words, text, pointer) in [
        (vec!["sale", "create"], sale, "/items/0/stock"),
        (vec!["sale", "edit", "spring"], patch, "/title"),
    ] {
        std::fs::write(&file, text).expect("a file");
        let sent = server.ask(&temp_dir, &[&words[..], &["--file", &path]].concat());
        let refused = sent.stderr_of_failure(1);
        assert!(refused.contains(&format!("{pointer} is given twice")), "{refused}");
    }
}

#[test]
fn a_draft_is_deleted_and_a_sale_that_cannot_open_is_a_finding() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    let ask = |words: &[&str]| server.ask(&temp_dir, words);
    let create = ["sale", "create", "spring", "--title", "T", "--currency", "CNY", "--minor"];
    let made = ask(&[&create[..], &["--item", "id=a,stock=0,price=1000"]].concat());
    assert!(made.stdout_of_success().contains("a costs 10.00 CNY"));
    let check = ask(&["sale", "check", "spring"]);
    assert_eq!(check.code(), Some(1));
    assert!(check.out().contains("error: item a has no units"), "{}", check.out());
    ask(&["sale", "delete", "spring"]).stderr_of_failure(2);
    ask(&["sale", "delete", "spring", "--yes"]).stdout_of_success();
    assert!(ask(&["sale", "show", "spring"]).stderr_of_failure(1).contains("no such sale"));
    let price = ask(&["sale", "set", "spring", "--item", "a.price=ten"]).stderr_of_failure(2);
    assert!(price.contains("10.00CNY"), "{price}");
}

#[test]
fn many_orders_are_listed_and_confirmed_before_they_change() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    let ask = |words: &[&str]| server.ask(&temp_dir, words);
    let item = "id=phone,title=Phone,stock=5,price=10.00CNY";
    ask(&["sale", "create", "spring", "--title", "T", "--item", item]).stdout_of_success();
    ask(&["sale", "open", "spring"]).stdout_of_success();
    let none = ask(&["order", "cancel", "--sale", "spring"]).stdout_of_success();
    assert!(none.contains("no orders to cancel"), "{none}");
    for words in [&["list"][..], &["cancel", "--yes"], &["refund", "--dry-run"]] {
        let unknown =
            ask(&[&["order"][..], words, &["--sale", "nope"]].concat()).stderr_of_failure(1);
        assert!(unknown.ends_with("(not_found).\n"), "{unknown}");
    }
    let storm = ["storm", "--sale", "spring", "--item", "phone", "--buyers", "3", "--data-dir"];
    let data_dir = server.data_dir().display().to_string();
    ask(&[&storm[..], &[&data_dir]].concat()).stdout_of_success();
    let listed = ask(&["order", "cancel", "--sale", "spring", "--dry-run"]).stdout_of_success();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let names = ask(&["order", "cancel", "--sale", "spring", "--dry-run", "--json"]).json();
    assert_eq!(names["orders"].as_array().map(Vec::len), Some(3), "{names}");
    let orders = ask(&["order", "list", "--sale", "spring", "--json"]).json();
    let first = &orders["orders"][0];
    let buyer = first["buyer"].as_str().expect("a buyer");
    let history = ask(&["buyer", "spring", buyer]).stdout_of_success();
    assert!(history.contains(first["id"].as_str().expect("an id")), "{history}");
    assert_eq!(ask(&["buyer", "spring", buyer, "--json"]).json()["orders"][0]["id"], first["id"]);
    let prompt = ask(&["order", "cancel", "--sale", "spring"]).stderr_of_failure(2);
    assert!(prompt.contains("--yes"), "{prompt}");
    let wrong = ["order", "refund", "--sale", "spring", "--state", "reserved", "--yes"];
    assert!(ask(&wrong).stderr_of_failure(2).contains("only paid orders"));
    let file = temp_dir.join("orders.txt");
    let two: Vec<&str> = ["ord_none"].into_iter().chain(listed.lines().take(2)).collect();
    std::fs::write(&file, two.join("\n")).expect("a file");
    let path = file.display().to_string();
    let would = ask(&["order", "cancel", "--file", &path, "--dry-run"]);
    assert_eq!((would.code(), would.out().lines().count()), (Some(1), 2), "{}", would.out());
    assert!(would.err().starts_with("ord_none: "), "{}", would.err());
    let unpaid = ask(&["order", "refund", two[1], "--dry-run"]);
    assert_eq!(unpaid.code(), Some(1), "{}", unpaid.out());
    assert!(unpaid.err().contains("this change is only for paid orders"), "{}", unpaid.err());
    let extend = ["order", "extend", "--file", &path, "--secs", "600", "--yes"];
    for more in [&[][..], &["--json"]] {
        let some = ask(&[&extend[..], more].concat());
        assert_eq!(some.code(), Some(1), "a wrong id must give the exit code 1");
        assert!(some.err().contains("ord_none"), "{}", some.err());
        if !more.is_empty() {
            let done = some.json();
            assert_eq!(done["changed"].as_array().map(Vec::len), Some(2), "{done}");
            assert_eq!(done["refused"][0]["order"], "ord_none");
            assert_eq!(done["refused"][0]["code"], "not_found");
        }
    }
    let single = ask(&["order", "cancel", two[1]]).stderr_of_failure(2);
    assert!(single.contains("--yes"), "{single}");
    ask(&["order", "cancel", "--sale", "spring", "--yes"]).stdout_of_success();
    let left = ["order", "list", "--sale", "spring", "--state", "reserved", "--json"];
    assert_eq!(ask(&left).json()["orders"], json!([]));
}

#[test]
fn an_order_whose_answer_is_lost_is_unknown_and_the_next_orders_are_not_tried() {
    let temp_dir = TempDir::new();
    let server = open_sale(&temp_dir);
    let order = buy(server.url(), &server.token(&temp_dir, "alice"));
    let id = order["id"].as_str().expect("an order");
    let file = temp_dir.join("orders.txt");
    std::fs::write(&file, format!("{id}\nord_next\n")).expect("a file");
    let url = lossy_proxy(server.url(), "/cancel");
    let mut cancel = program(&temp_dir);
    cancel.args(["order", "cancel", "--yes", "--json", "--url", &url, "--key", KEY, "--file"]);
    let done = run(cancel.arg(&file));
    assert_eq!(done.code(), Some(1), "{}", done.err());
    assert!(done.err().contains("orders that were not tried: 1"), "{}", done.err());
    let report = done.json();
    assert_eq!((&report["changed"], &report["refused"]), (&json!([]), &json!([])), "{report}");
    assert_eq!(report["unknown"][0]["order"], id, "{report}");
    assert_eq!(report["not_tried"], json!(["ord_next"]));
    let shown = server.ask(&temp_dir, &["order", "show", id, "--json"]).json();
    assert_eq!(shown["state"], "cancelled", "the server must have changed the order");
}

#[test]
fn a_shell_completes_the_ids_of_sales_and_items() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    for (sale, item) in [("spring", "phone"), ("autumn", "lamp")] {
        let item = format!("id={item},stock=5,price=10.00CNY");
        let create = ["sale", "create", sale, "--title", "T", "--item", &item];
        server.ask(&temp_dir, &create).stdout_of_success();
    }
    let script = run(program(&temp_dir).args(["completions", "bash"])).stdout_of_success();
    let file = temp_dir.join("completions.bash");
    std::fs::write(&file, script).expect("a file");
    let place = std::path::Path::new(env!("CARGO_BIN_EXE_doorbuster")).parent().expect("a place");
    let complete_at = |url: &str, line: &str| {
        let last = line.split(' ').count() - 1;
        let ask = format!(
            "source {}; words=\"{line}\"; IFS=' ' read -ra COMP_WORDS <<< \"$words\"; \
             COMP_CWORD={last}; COMP_TYPE=9; _clap_complete_doorbuster doorbuster \
             \"${{COMP_WORDS[{last}]}}\"; printf '%s\n' \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let mut bash = std::process::Command::new("bash");
        bash.args(["--norc", "-c", &ask])
            .env("PATH", format!("{}:/usr/bin:/bin", place.display()))
            .env("DOORBUSTER_URL", url)
            .env("DOORBUSTER_ADMIN_KEY", KEY);
        let found = run(&mut bash).stdout_of_success();
        found.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    let complete = |line: &str| complete_at(server.url(), line);
    assert_eq!(complete("doorbuster sale open sp"), ["spring"]);
    assert_eq!(complete("doorbuster order list --sale au"), ["autumn"]);
    assert_eq!(complete("doorbuster sale adjust spring p"), ["phone"]);
    assert_eq!(
        complete("doorbuster sale adjust spring l"),
        [""],
        "an item of another sale must not be offered"
    );
    assert_eq!(complete("doorbuster sale admit spring --item p"), ["phone"]);
    assert_eq!(complete("doorbuster draw verify --sale au"), ["autumn"]);
    assert_eq!(complete("doorbuster sale clo"), ["close"]);

    // This server has two sales, but its list contains only `autumn`. The names of the items of
    // `spring` must still be completed.
    let read = |sale: &str| server.send(KEY, "GET", &format!("/v1/admin/sales/{sale}"), "", "").1;
    let (spring, autumn) = (read("spring"), read("autumn"));
    let url = stand_in(move |path| match path {
        "/v1/admin/sales/spring" => spring.to_string(),
        "/v1/admin/sales?limit=50" => json!({"sales": [autumn], "next_cursor": null}).to_string(),
        _ => "{}".to_owned(),
    });
    let complete = |line: &str| complete_at(&url, line);
    assert_eq!(complete("doorbuster sale adjust spring p"), ["phone"]);
    assert_eq!(complete("doorbuster storm --sale spring --item p"), ["phone"]);
    for line in ["doorbuster sale adjust spring l", "doorbuster sale adjust winter l"] {
        assert_eq!(complete(line), [""], "{line}");
    }
}

#[test]
fn visitors_are_admitted_and_actions_are_exported_from_a_shell() {
    let temp_dir = TempDir::new();
    let server = TestServer::open(&temp_dir);
    let ask = |words: &[&str]| server.ask(&temp_dir, words);
    let item = "id=phone,stock=5,price=10.00CNY";
    ask(&["sale", "create", "spring", "--title", "T", "--item", item]).stdout_of_success();
    let admit = ["sale", "admit", "spring", "5", "--reason", "a test"];
    assert!(ask(&admit).stderr_of_failure(2).contains("--yes"));
    let refused = ask(&[&admit[..], &["--yes"]].concat()).stderr_of_failure(1);
    assert!(refused.contains("no waiting room"), "{refused}");
    ask(&["sale", "edit", "spring", "--waiting-room", "always"]).stdout_of_success();
    ask(&["sale", "open", "spring"]).stdout_of_success();
    let sent = server.token(&temp_dir, "ann");
    let (status, _) = server.send(&sent, "POST", "/v1/sales/spring/waiting-room", "", "");
    assert_eq!(status, 201);
    let done = ask(&[&admit[..], &["--yes"]].concat()).stdout_of_success();
    assert!(done.contains("still waiting: 0"), "{done}");
    let csv = ask(&["csv", "actions", "--subject", "sale:spring"]).stdout_of_success();
    assert!(csv.starts_with("id,at,by,action,subject,changes,address,request_id"), "{csv}");
    assert!(csv.lines().count() >= 4 && csv.contains("sale.opened"), "{csv}");
    ask(&["csv", "actions", "--sale", "spring", "--by", "key_1"]).stderr_of_failure(2);
}

#[test]
fn each_command_has_a_manual_page() {
    let temp_dir = TempDir::new();
    let dir = temp_dir.join("man");
    std::fs::create_dir(&dir).expect("a new directory");
    std::fs::write(dir.join("other.1"), "another program's page").expect("writable");
    let pages = run(program(&temp_dir).arg("man").arg(&dir).arg("--json")).json();
    let pages = pages["pages"].as_array().expect("a list");
    assert!(pages.contains(&json!("doorbuster-buyer.1")), "{pages:?}");
    assert!(!pages.contains(&json!("other.1")), "{pages:?}");
    let written = std::fs::read_dir(&dir).expect("it exists").count();
    assert_eq!(pages.len() + 1, written, "{pages:?}");
    for page in ["doorbuster.1", "doorbuster-sale.1", "doorbuster-sale-open.1"] {
        let text = std::fs::read_to_string(dir.join(page)).expect(page);
        assert!(text.contains(".TH"), "{page}");
    }
}
