//! Tests the quick start on the documentation page: each of its examples buys a unit of the sale of
//! `serve --demo`.

use std::process::Command;

use crate::test_server::{TempDir, TestServer, program, until};

/// The page, with its examples in `<pre data-example="…"><code>`.
const PAGE: &str = include_str!("../../../web/assets-docs/page/docs.html");

/// Returns the example that follows the text `mark` on the page, with HTML entities decoded.
fn example(mark: &str) -> String {
    let (_, rest) =
        PAGE.split_once(mark).unwrap_or_else(|| panic!("the page does not have {mark}"));
    let (code, _) = rest.split_once("</code>").expect("the element ends");
    code.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
}

#[test]
fn every_example_of_the_quick_start_buys_a_unit() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let mut command = program(&temp_dir);
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data_dir);
    let server = TestServer::start(command, data_dir);
    until("the sale opens", || {
        let (_, sale) = server.send("", "GET", "/v1/sales/demo/status", "", "");
        (sale["phase"] == "open").then_some(())
    });
    let token = example("id=\"example-token\">");
    let base = "BASE=http://127.0.0.1:8080";
    assert!(token.contains(base), "{token}");
    let token = token.replace(base, &format!("BASE={}", server.url()));
    let file = |name: &str, text: &str| {
        let path = temp_dir.join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let shop = |language| example(&format!("data-example=\"{language}\"><code>"));
    let runs = [
        ("curl", shop("curl")),
        ("typescript", format!("node {}", file("buy.mjs", &shop("typescript")))),
        ("python", format!("python3 {}", file("buy.py", &shop("python")))),
    ];
    for (language, run) in runs {
        let script = format!("set -e\n{token}\nexport BASE TOKEN\n{run}\n");
        let done = Command::new("sh").args(["-c", &script]).output().expect("sh is installed");
        let out = String::from_utf8_lossy(&done.stdout);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{language}: {out}{errors}");
        assert!(out.contains("reserved") && out.contains("ord_"), "{language}: {out}{errors}");
    }
}
