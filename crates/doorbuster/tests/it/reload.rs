//! Tests the signal SIGHUP, with which a running server loads its settings again.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::test_server::{KEY, TempDir, TestServer, program, until};

struct Reloadable {
    server: TestServer,
    settings: PathBuf,
    log: PathBuf,
}

impl Reloadable {
    fn start(temp_dir: &TempDir, text: &str) -> Self {
        let (data_dir, settings, log) =
            (temp_dir.join("data"), temp_dir.join("settings.toml"), temp_dir.join("log"));
        std::fs::write(&settings, text).expect("the file is written");
        let mut command: Command = program(temp_dir);
        command.args(["serve", "--log-format", "json", "--data-dir"]).arg(&data_dir);
        command.arg("--config").arg(&settings).env("DOORBUSTER_AUTH__ADMIN_KEY", KEY);
        command.stderr(File::create(&log).expect("a log file"));
        Self { server: TestServer::start(command, data_dir), settings, log }
    }

    /// Writes `text` to the settings file, and makes the server reload the file. Returns the log
    /// line about the reload.
    fn reload(&self, text: &str) -> Value {
        std::fs::write(&self.settings, text).expect("the file is written");
        let before = lines(&self.log).len();
        self.server.signal("HUP");
        until("the reload is logged", || {
            let is_reload = |line: &Value| {
                line["event"].as_str().is_some_and(|event| event.starts_with("config."))
            };
            lines(&self.log).into_iter().skip(before).find(is_reload)
        })
    }

    fn styles(&self) -> String {
        let index = self.index();
        let names = index.split('"').filter(|word| word.ends_with(".css"));
        names.map(|name| self.server.exchange("", "GET", name, "", "").1).collect()
    }

    /// Returns the script that contains the pages' settings.
    fn script(&self) -> String {
        let index = self.index();
        let name = index.split('"').find(|word| word.starts_with("/assets/first."));
        self.server.exchange("", "GET", name.expect("a script"), "", "").1
    }

    fn index(&self) -> String {
        self.server.exchange("", "GET", "/", "", "").1
    }
}

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).expect("the log exists");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn file(level: &str, shop: &str, connections: &str, workers: u32) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nworkers = {workers}\n[page]\nshop = \"{shop}\"\n[limits]\n\
         connections = {connections}\n[log]\nfilter = \"{level}\"\n"
    )
}

#[test]
fn sighup_uses_changed_settings_and_names_those_that_need_a_restart() {
    let temp_dir = TempDir::new();
    let server = Reloadable::start(&temp_dir, &file("warn", "First shop", "100", 2));
    assert!(server.index().contains("First shop"));
    assert!(
        lines(&server.log).iter().all(|line| line["level"] != "INFO"),
        "at the level warn, the log must have no line of the level INFO"
    );

    let line = server.reload(&file("info", "Second shop", "16", 3));
    assert_eq!(line["event"], "config.reloaded", "{line}");
    assert_eq!(line["level"], "INFO", "the new level must be in use: {line}");
    assert_eq!(line["changed"], "page.shop limits.connections log.filter", "{line}");
    assert_eq!(line["needs_restart"], "workers", "{line}");
    let shown = server.server.exchange(KEY, "GET", "/v1/admin/settings", "", "").1;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let value = |path: &str| {
        let rows = shown["settings"].as_array().expect("a list");
        rows.iter().find(|row| row["path"] == path).expect("the setting")["value"].clone()
    };
    assert_eq!(value("page.shop"), "\"Second shop\"", "the new value must be shown");
    assert_eq!(value("workers"), "2", "the value that is in use must be shown");
    until("the pages have the new name", || server.index().contains("Second shop").then_some(()));
    // The new limit is 16, so the server must refuse connection 17.
    let address = server.server.url().strip_prefix("http://").expect("an address").to_owned();
    let taken: Vec<TcpStream> =
        (0..16).map(|_| TcpStream::connect(&address).expect("the server listens")).collect();
    let mut reply = String::new();
    let mut more = TcpStream::connect(&address).expect("the kernel accepts the connection");
    // The request may fail: the server may close the refused connection before the request is sent.
    let _ = more.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let _ = more.read_to_string(&mut reply);
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    drop(taken);
    // The setting `workers` still waits for a restart. Each reload before the restart must name
    // this setting.
    let line = server.reload(&file("info", "Second shop", "16", 3));
    assert_eq!((&line["changed"], &line["needs_restart"]), (&"".into(), &"workers".into()));
    assert_eq!(server.server.terminate().0, Some(0));
}

#[test]
fn a_wrong_settings_file_is_refused_by_name_and_changes_nothing() {
    let temp_dir = TempDir::new();
    let server = Reloadable::start(&temp_dir, &file("info", "First shop", "100", 2));
    for (text, named) in [
        (file("info", "Second shop", "3", 2), "limits.connections"),
        (file("info", "Second shop", "100", 2) + "nonsense = 1\n", "log.nonsense"),
        ("[page\n".to_owned(), "is not valid TOML"),
    ] {
        let line = server.reload(&text);
        assert_eq!(line["event"], "config.reload_refused", "{line}");
        assert_eq!(line["level"], "ERROR", "{line}");
        let faults = line["faults"].as_str().expect("faults");
        assert!(faults.contains(named), "{faults}");
        assert!(faults.contains(&server.settings.display().to_string()), "{faults}");
        assert!(server.index().contains("First shop"));
    }
    std::fs::remove_file(&server.settings).expect("the file is there");
    server.server.signal("HUP");
    until("the missing file is named", || {
        let refused = |line: &Value| {
            line["event"] == "config.reload_refused"
                && line["faults"].as_str().is_some_and(|faults| faults.contains("cannot read"))
        };
        lines(&server.log).iter().any(refused).then_some(())
    });
    let line = server.reload(&file("info", "Second shop", "100", 2));
    assert_eq!(line["changed"], "page.shop", "{line}");
    until("the pages have the new name", || server.index().contains("Second shop").then_some(()));
    assert_eq!(server.server.terminate().0, Some(0));
}

#[test]
fn sighup_uses_changed_colours_proxies_and_limits_of_streams() {
    let temp_dir = TempDir::new();
    let server = Reloadable::start(&temp_dir, &file("info", "Shop", "100", 2));
    assert!(!server.styles().contains("#3ddc97"));
    let text = "listen = \"127.0.0.1:0\"\nworkers = 2\ntrusted_proxies = [\"10.0.0.0/8\"]\n[page]\n\
                shop = \"Shop\"\ntheme.accent = \"#3ddc97\"\ntheme.on_accent = \"#00210f\"\n\
                theme.accent_text = \"#00603a\"\ntheme.accent_wash = \"#dff7ea\"\n[limits]\n\
                connections = 100\nevent_streams = 1\n[log]\nfilter = \"info\"\n";
    let line = server.reload(text);
    assert_eq!(line["event"], "config.reloaded", "{line}");
    assert_eq!(line["needs_restart"], "", "{line}");
    let changed = line["changed"].as_str().expect("a list");
    for setting in ["trusted_proxies", "page.theme.accent", "limits.event_streams"] {
        assert!(changed.split(' ').any(|one| one == setting), "{setting}: {changed}");
    }
    until("the pages have the new colour", || server.styles().contains("#3ddc97").then_some(()));
    assert_eq!(server.server.terminate().0, Some(0));
}

#[test]
fn pages_keep_settings_that_need_a_restart() {
    let temp_dir = TempDir::new();
    let text = |shop: &str, url: &str, payment: &str| {
        format!(
            "listen = \"127.0.0.1:0\"\n[page]\nshop = \"{shop}\"\nurl = \"{url}\"\n[log]\n\
             filter = \"info\"\n[payment]\n{payment}\n"
        )
    };
    let sandbox = "provider = \"sandbox\"";
    let stripe = "provider = \"stripe\"\nstripe.secret_key = \"sk_test_key\"\n\
                  stripe.webhook_secret = \"whsec_secret\"";
    let server = Reloadable::start(&temp_dir, &text("First shop", "https://one.example", sandbox));
    let price = json!({"amount_minor": 100, "currency": "EUR"});
    let item = json!({"id": "phone", "title": "Phone", "price": price, "stock": 100});
    let sale = json!({"id": "spring", "title": "Spring", "items": [item]});
    let post = |path: &str, body: &str| {
        let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let (status, reply) = server.server.send(KEY, "POST", path, json, body);
        assert_eq!(status / 100, 2, "{reply}");
    };
    post("/v1/admin/sales", &sale.to_string());
    post("/v1/admin/sales/spring/open", "");

    let line = server.reload(&text("Second shop", "https://two.example", stripe));
    let named: Vec<&str> = line["needs_restart"].as_str().expect("a list").split(' ').collect();
    assert!(named.contains(&"page.url") && named.contains(&"payment.provider"), "{line}");
    let page = until("the page has the new name", || {
        let page = server.server.exchange("", "GET", "/sale/spring", "", "").1;
        page.contains("Second shop").then_some(page)
    });
    let address = "<meta property=\"og:url\" content=\"https://one.example/sale/spring\">";
    assert!(page.contains(address), "{page}");
    let script = until("the script has the new name", || {
        let script = server.script();
        script.contains("\"shop\":\"Second shop\"").then_some(script)
    });
    assert!(script.contains("\"sandbox\":true"), "{script}");
    assert_eq!(server.server.terminate().0, Some(0));
}
