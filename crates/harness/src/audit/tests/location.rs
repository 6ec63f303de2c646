//! Tests how the location of a store is given, and that errors show no password.

use super::super::primary::address_text;
use super::super::{StoreLocation, run};
use super::fixture::StoreFixture;

#[test]
fn a_store_is_given_by_file_by_directory_or_by_address() {
    let fixture = StoreFixture::consistent();
    let (file, dir) = (fixture.path(), fixture.path().parent().expect("its directory").to_owned());
    let (file_text, dir_text) = (file.display().to_string(), dir.display().to_string());
    let found = |text: &str| StoreLocation::parse(text).map_err(|error| error.to_string());
    for text in
        [&file_text, &dir_text, &format!("sqlite:{file_text}"), &format!("sqlite://{dir_text}")]
    {
        assert_eq!(found(text), Ok(StoreLocation::Sqlite(file.clone())), "{text}");
    }
    assert!(
        found("mysql://host/db")
            .is_err_and(|error| error.contains("the scheme mysql is not supported"))
    );
    std::fs::write(dir.join("other.db"), "no database").expect("a scratch file");
    assert_eq!(
        found(&dir_text),
        Ok(StoreLocation::Sqlite(file.clone())),
        "a file that is not a store must be ignored"
    );
    let odd = dir.join("a=b@c.db");
    std::fs::copy(&file, &odd).expect("a scratch file");
    assert_eq!(found(&odd.display().to_string()), Ok(StoreLocation::Sqlite(odd.clone())));
    std::fs::remove_file(&odd).expect("a scratch file");
    std::fs::copy(&file, dir.join("copy.db")).expect("a scratch file");
    assert!(found(&dir_text).is_err_and(|error| error.contains("several stores")));
    std::fs::create_dir(dir.join("empty")).expect("a scratch directory");
    assert!(found(&format!("{dir_text}/empty")).is_err_and(|error| error.contains("no store")));
}

#[test]
fn an_error_shows_no_password_of_an_address() {
    for (text, shown) in [
        ("postgres://u@127.0.0.1:1/door?password=hunter2", "127.0.0.1:1/door"),
        ("postgres://u:hunter2@127.0.0.1:1,127.0.0.1:2/door", "127.0.0.1:1,127.0.0.1:2/door"),
        ("postgres://u:hunter2@h/door?port=x", "in PostgreSQL"),
        ("foo://u:hunter2@h/door", "the scheme foo is not supported"),
        ("foo+bar://u:hunter2@h/door", "the scheme foo+bar is not supported"),
        ("u:hunter2@h://door", "not an existing file"),
        ("host=127.0.0.1 port=1 password=hunter2", "not an existing file"),
        ("HOST=h PASSWORD=hunter2", "not an existing file"),
        ("'host'=h password=hunter2", "not an existing file"),
        ("postgres:/u:hunter2@h/door", "not an existing file"),
        ("postgresql:u:hunter2@h/door", "not an existing file"),
        ("Postgres:hunter2", "not an existing file"),
        ("u:hunter2@h/door", "not an existing file"),
    ] {
        let audited = StoreLocation::parse(text).and_then(|store| run(&store, None));
        let error = audited.expect_err("no server listens at these ports").to_string();
        assert!(error.contains(shown) && !error.contains("hunter2"), "{text}: {error}");
    }
    let misread = "postgres://u:secret@hunter2@h/door".parse().expect("a host with an at sign");
    assert_eq!(address_text(&misread), "an invalid host/door");
}
