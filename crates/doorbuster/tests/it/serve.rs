//! `serve`, and the commands over its settings and its data directory.

use std::time::Duration;

use crate::house::{House, Scratch, program, run, serve};

#[test]
fn a_setting_that_does_not_exist_is_named_and_nothing_starts() {
    let scratch = Scratch::new();
    for command in [&["serve"][..], &["config", "check"], &["token", "buyer", "alice"], &["backup", "copy"]] {
        let said = run(program(&scratch).args(command).env("DOORBUSTER_NONSENSE", "1")).refused(2);
        assert!(said.contains("DOORBUSTER_NONSENSE"), "{command:?}: {said}");
    }
    let names_of_ours = [("DOORBUSTER_URL", "http://127.0.0.1:1"), ("DOORBUSTER_ADMIN_KEY", "x")];
    run(program(&scratch).args(["config", "check"]).envs(names_of_ours)).fine();
    assert!(scratch.entries().is_empty(), "{:?}", scratch.entries());
}

#[test]
fn a_place_that_cannot_be_used_is_named_with_its_setting() {
    let scratch = Scratch::new();
    let empty = scratch.join("no-keys.json");
    std::fs::write(&empty, r#"{"keys":[]}"#).expect("it can be written");
    for command in [&["serve"][..], &["config", "check"]] {
        for wrong in ["/etc/hostname", "/dev/null"] {
            let said = run(program(&scratch).args(command).args(["--data-dir", wrong])).refused(2);
            assert!(said.contains("data_dir") && said.contains(wrong), "{command:?}: {said}");
        }
        let said = run(program(&scratch).args(command).env("DOORBUSTER_AUTH__BUYER_JWKS", &empty)).refused(2);
        assert!(said.contains("auth.buyer_jwks") && said.contains("no key"), "{command:?}: {said}");
    }
    for nowhere in ["/proc/nope/data", "/proc"] {
        let said = run(program(&scratch).args(["serve", "--data-dir", nowhere])).refused(2);
        assert!(said.contains("data_dir: cannot") && said.contains("--data-dir"), "{said}");
    }
    let mut away = program(&scratch);
    away.args(["serve", "--listen", "127.0.0.1:0"]).env("DOORBUSTER_SHAPE", "postgres");
    // A database that is away is no wrong setting: it may be there at the next try.
    let said = run(away.env("DOORBUSTER_STORE__URL", "postgres://shop:hush@127.0.0.1:1/door")).refused(1);
    assert!(said.contains("store.url") && !said.contains("hush"), "{said}");
}

#[test]
fn a_token_is_signed_by_a_servers_secret_and_by_no_new_one() {
    let scratch = Scratch::new();
    let empty = scratch.join("nobodys");
    let storm = ["storm", "--sale", "s", "--item", "i", "--buyers", "1"];
    for command in [&["token", "buyer", "alice"][..], &storm] {
        let said = run(program(&scratch).args(command).arg("--data-dir").arg(&empty)).refused(2);
        assert!(said.contains("start the server once") && said.contains("auth.buyer_secret"), "{said}");
    }
    assert!(!empty.exists());
}

#[test]
fn the_default_settings_are_settings() {
    let scratch = Scratch::new();
    let file = scratch.join("doorbuster.toml");
    std::fs::write(&file, run(program(&scratch).args(["config", "default"])).fine()).expect("it can be written");
    run(program(&scratch).args(["config", "check", "--config"]).arg(&file)).fine();
    let secret = "nobody-shall-ever-read-this-secret";
    let mut show = program(&scratch);
    show.args(["config", "show", "--config"]).arg(&file).env("DOORBUSTER_AUTH__BUYER_SECRET", secret);
    let shown = run(&mut show).fine();
    assert!(shown.contains("DOORBUSTER_AUTH__BUYER_SECRET") && !shown.contains(secret), "{shown}");
}

#[test]
fn a_server_that_is_asked_to_stop_ends_well_and_soon() {
    let scratch = Scratch::new();
    let (code, took, said) = House::open(&scratch).terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_second_server_on_the_same_data_directory_is_refused() {
    let scratch = Scratch::new();
    let first = House::open(&scratch);
    let second = run(&mut serve(&scratch, first.data_dir()));
    let said = second.refused(1);
    assert!(said.contains("in use") && said.contains(&*first.data_dir().display().to_string()), "{said}");
    assert_eq!(second.out(), "");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let scratch = Scratch::new();
    let first = House::open(&scratch);
    let address = first.url().strip_prefix("http://").expect("an address");
    let second = run(program(&scratch).args(["serve", "--listen", address, "--data-dir"]).arg(scratch.join("other")));
    assert!(second.refused(1).contains(address), "{}", second.err());
}

#[test]
fn a_running_store_is_copied_and_the_copy_is_sound() {
    let scratch = Scratch::new();
    let house = House::open(&scratch);
    house.ask(&scratch, &["sale", "create", "spring", "--title", "T", "--item", "id=a,stock=7,price=1EUR"]).fine();
    let copy = scratch.join("copy.sqlite3");
    let backup = || {
        let mut command = program(&scratch);
        run(command.arg("backup").arg(&copy).arg("--data-dir").arg(house.data_dir()))
    };
    backup().fine();
    let audited = run(program(&scratch).args(["audit", "--store"]).arg(&copy)).fine();
    assert!(audited.contains("spring") && audited.contains('7'), "{audited}");
    let again = backup().refused(1);
    assert!(again.contains("exists already"), "{again}");
    let migrate = |data_dir: &std::path::Path| run(program(&scratch).args(["migrate", "--data-dir"]).arg(data_dir));
    let said = migrate(house.data_dir()).refused(1);
    assert!(said.contains("in use"), "{said}");

    let restored = scratch.join("restored");
    std::fs::create_dir(&restored).expect("a free name");
    std::fs::rename(&copy, restored.join("doorbuster.sqlite3")).expect("it can be moved");
    migrate(&restored).fine();
    run(program(&scratch).args(["audit", "--store"]).arg(&restored)).fine();
}

#[test]
fn what_is_no_store_is_not_touched() {
    let scratch = Scratch::new();
    let data_dir = scratch.join("data");
    std::fs::create_dir(&data_dir).expect("a free name");
    std::fs::write(data_dir.join("doorbuster.sqlite3"), "my diary").expect("it can be written");
    for command in ["migrate", "serve"] {
        let said = run(program(&scratch).args([command, "--data-dir"]).arg(&data_dir)).refused(1);
        assert!(said.contains("is not a doorbuster store"), "{command}: {said}");
    }
    assert_eq!(std::fs::read(data_dir.join("doorbuster.sqlite3")).expect("it is there"), b"my diary");
    let said = run(program(&scratch).args(["backup", "copy", "--data-dir"]).arg(scratch.join("nowhere"))).refused(1);
    assert!(said.contains("there is no backup"), "{said}");
}

#[test]
fn every_shell_gets_its_completions() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(program(&scratch).args(["completions", shell])).fine().contains("doorbuster"), "{shell}");
    }
    run(program(&scratch).args(["completions", "abacus"])).refused(2);
}
