//! Runs the commands of the guides for backups and upgrades. The guides are for the shape
//! `embedded`.

use std::process::Command;

use serde_json::Value;

use crate::test_server::{KEY, TempDir, TestServer, run, serve};

const BACK_UP: &str = include_str!("../../../../docs/how-to/back-up-and-restore.md");
const UPGRADE: &str = include_str!("../../../../docs/how-to/upgrade.md");
const ITEM: &str = "id=ITEM,title=Phone,stock=9,price=10.00CNY";

/// Returns the first code block after `mark` in a page.
pub fn block(page: &str, mark: &str) -> String {
    let (_, rest) =
        page.split_once(mark).unwrap_or_else(|| panic!("the page does not have {mark}"));
    let (_, rest) = rest.split_once("```").expect("a block");
    let (_, rest) = rest.split_once('\n').expect("a line");
    let (code, _) = rest.split_once("```").expect("the block ends");
    code.to_owned()
}

fn inline(page: &str, start: &str) -> String {
    let (_, rest) = page.split_once(&format!("`{start}")).expect("the page has the command");
    let (code, _) = rest.split_once('`').expect("the command ends");
    format!("{start}{code}")
}

/// Runs a guide's script, with the names of this test in place of the guide's. `data` is the name
/// of the data directory, and `url` is the address of the running server.
fn follow(temp_dir: &TempDir, data: &str, url: &str, script: &str) -> String {
    let names = [
        ("/backups/", temp_dir.join("backups/").display().to_string()),
        ("/run/secrets/backup", temp_dir.join("passphrase").display().to_string()),
        ("/mnt/backup-disk/shop", temp_dir.join("continuous").display().to_string()),
        ("/var/lib/doorbuster", temp_dir.join(data).display().to_string()),
        ("SALE", "spring".to_owned()),
        ("-UNITS", "-1".to_owned()),
        ("doorbuster ", format!("{} ", env!("CARGO_BIN_EXE_doorbuster"))),
    ];
    let script =
        names.iter().fold(script.to_owned(), |text, (name, value)| text.replace(name, value));
    let mut command = Command::new("sh");
    command.args(["-ec", &script]).env("DOORBUSTER_URL", url).env("DOORBUSTER_ADMIN_KEY", KEY);
    run(&mut command).stdout_of_success()
}

#[test]
fn the_commands_of_the_guides_back_up_restore_and_upgrade_a_store() {
    let temp_dir = TempDir::new();
    std::fs::create_dir(temp_dir.join("backups")).expect("a directory");
    std::fs::write(temp_dir.join("passphrase"), "correct horse battery").expect("a file");
    let start = |data: &str| {
        let data_dir = temp_dir.join(data);
        let mut command = serve(&temp_dir, &data_dir);
        command.env("DOORBUSTER_BACKUP__TO", temp_dir.join("continuous"));
        TestServer::start(command, data_dir)
    };
    let server = start("first");
    let ask = |words: &[&str]| server.ask(&temp_dir, words).stdout_of_success();
    ask(&["sale", "create", "spring", "--title", "Spring", "--item", ITEM]);
    ask(&["sale", "open", "spring"]);
    follow(&temp_dir, "first", server.url(), &block(BACK_UP, "## Back up shape embedded"));
    follow(&temp_dir, "first", server.url(), &block(BACK_UP, "### Encrypt a backup"));
    server.terminate();

    let printed = follow(&temp_dir, "second", "", &block(BACK_UP, "3. Restore the backup:"));
    assert!(printed.contains("spring"), "the output must name the paused sale: {printed}");
    let until = block(BACK_UP, "For a continuous backup, give its directory");
    let until = until.replace("2026-11-27T20:15:00Z", "2100-01-01T00:00:00Z");
    follow(&temp_dir, "third", "", &until);
    let encrypted = block(BACK_UP, "For an encrypted backup, add the passphrase:");
    follow(&temp_dir, "fourth", "", &encrypted);
    for data in ["second", "third", "fourth"] {
        let server = start(data);
        for command in ["doorbuster sale adjust SALE", "doorbuster sale resume SALE"] {
            follow(&temp_dir, data, server.url(), &inline(BACK_UP, command));
        }
        let audit = inline(BACK_UP, "doorbuster audit") + " --json";
        let audit = follow(&temp_dir, data, server.url(), &audit);
        let audit: Value = serde_json::from_str(&audit).expect("JSON");
        assert_eq!(
            (&audit["ok"], &audit["notices"][0]["kind"]),
            (&true.into(), &"store_restored".into())
        );
        server.terminate();
    }

    follow(&temp_dir, "second", "", &block(UPGRADE, "2. Make a backup:"));
    follow(&temp_dir, "second", "", &block(UPGRADE, "the store before the start:"));
    let server = start("second");
    follow(&temp_dir, "second", server.url(), &inline(UPGRADE, "doorbuster audit"));
}
