//! Tests the generated secrets: each secret is created once, only its owner can read it, and it is
//! never replaced.

use doorbuster_config::{Flags, load};
use doorbuster_testkit::TempDir;

use super::*;

fn settings(dir: &Path) -> Settings {
    load(&Flags { data_dir: Some(dir.join("data")), ..Flags::default() }, []).expect("the defaults")
}

#[tokio::test]
async fn secrets_are_created_once_and_only_their_owner_can_read_them() {
    let scratch = TempDir::new();
    let settings = settings(scratch.path());
    let first = load_or_create_all(&settings, &KnownHistories::default())
        .await
        .expect("a writable directory");
    let again = load_or_create_all(&settings, &KnownHistories::default())
        .await
        .expect("a writable directory");
    assert!(first.admin_key_is_new && !again.admin_key_is_new);
    assert_eq!(first.admin_key.expose_secret(), again.admin_key.expose_secret());
    assert_eq!(first.id_key.request_hash("a", "b"), again.id_key.request_hash("a", "b"));
    let buyer = first.buyer.expect("no public keys are configured");
    assert!(buyer.expose_secret().len() >= 32 && first.admin_key.expose_secret().len() >= 32);
    let names: Vec<_> = fs::read_dir(&settings.data_dir)
        .expect("the secret was created")
        .map(|entry| {
            let entry = entry.expect("a readable file");
            assert_eq!(
                entry.metadata().expect("a readable file").permissions().mode() & 0o777,
                FILE_MODE
            );
            entry.file_name()
        })
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn all_concurrent_writers_of_a_secret_get_the_same_one() {
    let scratch = TempDir::new();
    let dir = scratch.path().join("data");
    let make =
        || load_or_create_file(&dir, "admin_key").expect("writable").0.expose_secret().to_owned();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().expect("the task did not panic")).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn an_empty_or_short_secret_is_refused_and_not_replaced() {
    let scratch = TempDir::new();
    let settings = settings(scratch.path());
    let load = async || load_or_create_all(&settings, &KnownHistories::default()).await;
    load().await.expect("a writable directory");
    for name in FILES {
        let path = settings.data_dir.join(name);
        let good = fs::read_to_string(&path).expect("a secret");
        for bad in ["", "x", "\n", &good[..20]] {
            fs::write(&path, bad).expect("writable");
            let text = load().await.expect_err("it is refused").to_string();
            assert!(text.contains(&format!("the {name} in ")), "{text}");
            assert_eq!(fs::read_to_string(&path).expect("a secret"), bad);
        }
        if name == "buyer_secret" {
            buyer_secret(&settings).await.expect_err("it is refused");
        }
        if name == "webhook_secret" {
            webhook_secret(&settings).await.expect_err("it is refused");
        }
        fs::write(&path, good).expect("writable");
    }
    load().await.expect("the secrets that the server generated");
}

#[tokio::test]
async fn a_damaged_id_key_is_refused_and_not_replaced() {
    let scratch = TempDir::new();
    let settings = settings(scratch.path());
    drop(
        load_or_create_all(&settings, &KnownHistories::default())
            .await
            .expect("a writable directory"),
    );
    for bad in ["", "zz", &"0".repeat(63), &"0".repeat(66), "é"] {
        fs::write(settings.data_dir.join("id_key"), bad).expect("writable");
        assert!(
            load_or_create_all(&settings, &KnownHistories::default()).await.is_err(),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn the_buyer_secret_is_read_and_never_created() {
    let scratch = TempDir::new();
    let settings = settings(scratch.path());
    let text = buyer_secret(&settings).await.expect_err("there is no secret").to_string();
    for part in ["--data-dir or DOORBUSTER_DATA_DIR", "start the server once", "auth.buyer_secret"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(!settings.data_dir.exists());
    let made = load_or_create_all(&settings, &KnownHistories::default())
        .await
        .expect("a writable directory")
        .buyer
        .expect("no public keys");
    let read = buyer_secret(&settings).await.expect("the secret was created");
    assert_eq!(read.expose_secret(), made.expose_secret());
}

#[test]
fn the_first_error_of_a_failed_write_is_reported() {
    let scratch = TempDir::new();
    let (path, temp_path) = (scratch.path().join("admin_key"), scratch.path().join("occupied"));
    // The write fails, because a directory already has the name of the temporary file. The code
    // then tries to remove the directory like a file, which fails with another error.
    fs::create_dir(&temp_path).expect("writable");
    let error = write_whole(&path, &temp_path, "secret").expect_err("the name is occupied");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
    assert!(!path.exists());
}
