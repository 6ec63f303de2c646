//! Tests encrypted backups: continuous backups in a bucket, and single files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use doorbuster_testkit::BucketService;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use super::{buy, entries, has, open_sale, start, wait_until_copied};
use crate::test_server::{TempDir, TestServer, program, run, serve, signal, until, wait};

pub(super) const PASSPHRASE: &str = "correct horse battery staple";

/// `service` is the bucket's address.
fn start_with_bucket(
    temp_dir: &TempDir,
    data_dir: &Path,
    (service, passphrase): (&str, &str),
) -> TestServer {
    let mut command = serve(temp_dir, data_dir);
    with_bucket(&mut command, service).env("DOORBUSTER_BACKUP__TO", "s3://shop/spring");
    command.env("DOORBUSTER_BACKUP__PASSPHRASE", passphrase);
    TestServer::start(command, data_dir.to_owned())
}

fn with_bucket<'a>(command: &'a mut Command, service: &str) -> &'a mut Command {
    let variables = [
        ("AWS_ENDPOINT", service),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    command.envs(variables)
}

#[test]
fn an_encrypted_backup_in_a_bucket_is_restored_with_its_passphrase() {
    let temp_dir = TempDir::new();
    let (bucket, data_dir) = (BucketService::start("shop"), temp_dir.join("data"));
    let test_server = start_with_bucket(&temp_dir, &data_dir, (&bucket.url(), PASSPHRASE));
    open_sale(&test_server, &temp_dir);
    wait_until_copied(&test_server);
    let token = test_server.token(&temp_dir, "alice");
    let address = test_server.url().strip_prefix("http://").expect("an address").to_owned();
    // The base is copied before this order, so the commit of the order is in a segment.
    let order = buy(&address, &token, 1).expect("an order");
    wait_until_copied(&test_server);
    let secret = fs::read(data_dir.join("id_key")).expect("generated");
    drop(test_server);
    fs::remove_dir_all(&data_dir).expect("it belongs to the test");
    for (name, content) in bucket.objects() {
        assert!(name.starts_with("spring/"), "{name}");
        for plain in [&secret[..], b"SQLite format 3", b"Phone"] {
            let is_plain = content.windows(plain.len()).any(|part| part == plain);
            assert!(!is_plain, "{name} is not encrypted");
        }
    }
    let restore_to = |data_dir: &Path, passphrase: Option<&str>, more: &[&str]| {
        let mut command = program(&temp_dir);
        with_bucket(&mut command, &bucket.url());
        command.args(["restore", "s3://shop/spring", "--data-dir"]).arg(data_dir).args(more);
        run(command.envs(passphrase.map(|passphrase| ("DOORBUSTER_PASSPHRASE", passphrase))))
    };
    let restore = |passphrase| restore_to(&data_dir, passphrase, &[]);
    let missing = restore(None).stderr_of_failure(2);
    assert!(missing.contains("--passphrase-file"), "{missing}");
    let wrong = restore(Some("wrong horse battery staple")).stderr_of_failure(2);
    assert!(wrong.contains("the passphrase is wrong") && wrong.contains("nothing was"), "{wrong}");
    let left: Vec<_> = entries(&data_dir);
    assert!(left.is_empty(), "{left:?}");
    restore(Some(PASSPHRASE)).stdout_of_success();
    assert_eq!(fs::read(data_dir.join("id_key")).expect("restored"), secret);
    let before = jiff::Timestamp::now().to_string();
    let restored =
        start_with_bucket(&temp_dir, &data_dir, (&bucket.url(), "another horse battery staple"));
    assert!(has(&restored, &token, &order));
    wait_until_copied(&restored);
    drop(restored);
    // The restored server ran with a second passphrase. So the newest part of the backup needs the
    // second passphrase, and the older parts need the first one.
    let other = temp_dir.join("other");
    let wrong = restore_to(&other, Some(PASSPHRASE), &[]).stderr_of_failure(2);
    assert!(wrong.contains("add --until with a time before"), "{wrong}");
    restore_to(&other, Some(PASSPHRASE), &["--until", &before]).stdout_of_success();
    let restored = TestServer::start(serve(&temp_dir, &other), other.clone());
    assert!(has(&restored, &token, &order));
}

#[test]
fn a_passphrase_refuses_a_backup_that_is_not_encrypted() {
    let temp_dir = TempDir::new();
    let (target, data_dir) = (temp_dir.join("target"), temp_dir.join("data"));
    let test_server = start(&temp_dir, &data_dir, &target);
    wait_until_copied(&test_server);
    let (file, restored) = (temp_dir.join("friday.backup"), temp_dir.join("restored"));
    let mut command = program(&temp_dir);
    command.arg("backup").arg(&file).arg("--data-dir").arg(&data_dir);
    run(&mut command).stdout_of_success();
    drop(test_server);
    for backup in [&target, &file] {
        let mut command = program(&temp_dir);
        command.arg("restore").arg(backup).arg("--data-dir").arg(&restored);
        let refused = run(command.env("DOORBUSTER_PASSPHRASE", PASSPHRASE)).stderr_of_failure(2);
        assert!(refused.contains("is not encrypted"), "{refused}");
        assert!(!restored.join("doorbuster.sqlite3").exists());
    }
}

#[test]
fn an_encrypted_backup_needs_its_passphrase() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let (file, key) = (temp_dir.join("friday.age"), temp_dir.join("passphrase"));
    fs::write(&key, "correct horse battery staple\n").expect("writable");
    let backup = |passphrase: &dyn Fn(&mut Command)| {
        let mut command = program(&temp_dir);
        command.arg("backup").arg(&file).arg("--encrypt");
        passphrase(command.arg("--data-dir").arg(test_server.data_dir()));
        run(&mut command)
    };
    let stderr = backup(&|_| {}).stderr_of_failure(2);
    assert!(stderr.contains("--passphrase-file"), "{stderr}");
    let short = backup(&|command| {
        command.env("DOORBUSTER_PASSPHRASE", "short");
    });
    assert!(short.stderr_of_failure(2).contains("too short"));
    // A file with several lines is probably the wrong file, so the command refuses it.
    let lines = temp_dir.join("lines");
    fs::write(&lines, "correct horse battery staple\nsecond line\n").expect("writable");
    let several = backup(&|command| {
        command.arg("--passphrase-file").arg(&lines);
    });
    assert!(several.stderr_of_failure(2).contains("several lines"));
    let help = run(program(&temp_dir).args(["backup", "--help"])).stdout_of_success();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("from the only line of this file"), "{help}");
    let with_key = |command: &mut Command| {
        command.arg("--passphrase-file").arg(&key);
    };
    // A backup neither replaces nor removes a file that it did not create.
    let other = temp_dir.join("friday.age.part");
    fs::write(&other, "precious").expect("writable");
    backup(&with_key).stdout_of_success();
    assert_eq!(fs::read_to_string(&other).expect("the file is kept"), "precious");
    let again = backup(&with_key).stderr_of_failure(1);
    assert!(again.contains("already exists"), "{again}");
    let bytes = fs::read(&file).expect("it exists");
    assert!(bytes.starts_with(b"age-encryption.org/v1"));
    assert!(
        !bytes.windows(6).any(|part| part == b"SQLite"),
        "the encrypted file must not contain readable content"
    );
    let left: Vec<_> = fs::read_dir(test_server.data_dir())
        .expect("it exists")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let data_dir = temp_dir.join("restored");
    let restore = |passphrase: &str| {
        let mut command = program(&temp_dir);
        command.arg("restore").arg(&file).arg("--data-dir").arg(&data_dir);
        run(command.env("DOORBUSTER_PASSPHRASE", passphrase))
    };
    let stderr = restore("wrong horse battery staple").stderr_of_failure(2);
    assert!(stderr.contains("the passphrase is wrong; nothing was written"), "{stderr}");
    assert!(!data_dir.join("doorbuster.sqlite3").exists());
    restore("correct horse battery staple").stdout_of_success();
    let id_key = |dir: &Path| fs::read(dir.join("id_key")).expect("it exists");
    assert_eq!(id_key(&data_dir), id_key(test_server.data_dir()));
    drop(TestServer::start(serve(&temp_dir, &data_dir), data_dir.clone()));
}

#[test]
fn a_backup_that_would_fill_the_disk_of_the_store_is_refused() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let data_dir = test_server.data_dir().to_owned();
    assert_eq!(test_server.terminate().0, Some(0));
    // Makes the store's file larger than the disk. The file is sparse, so it needs no further
    // space.
    let store = File::options().write(true).open(data_dir.join("doorbuster.sqlite3"));
    store.expect("the store").set_len(1 << 42).expect("a sparse file");
    let file = temp_dir.join("friday.backup");
    for encrypt in [&["--encrypt"][..], &[]] {
        let mut command = program(&temp_dir);
        command.arg("backup").arg(&file).args(encrypt).arg("--data-dir").arg(&data_dir);
        let refused = run(command.env("DOORBUSTER_PASSPHRASE", PASSPHRASE)).stderr_of_failure(1);
        assert!(refused.contains("free bytes on the disk of data_dir"), "{refused}");
        assert_eq!((parts(&data_dir), file.exists()), (vec![], false));
    }
}

fn parts(dir: &Path) -> Vec<String> {
    let names = entries(dir)
        .into_iter()
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    names.filter(|name| name.contains(".part")).collect()
}

#[test]
fn an_interrupted_backup_or_restore_leaves_no_unencrypted_copy() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let data_dir = test_server.data_dir().to_owned();
    assert_eq!(test_server.terminate().0, Some(0));
    let (file, restored) = (temp_dir.join("friday.age"), temp_dir.join("restored"));
    let command = |name: &str, data_dir: &Path| {
        let mut command = program(&temp_dir);
        command.arg(name).arg(&file).arg("--data-dir").arg(data_dir);
        command.env("DOORBUSTER_PASSPHRASE", PASSPHRASE);
        command
    };
    let mut child = command("backup", &data_dir).arg("--encrypt").spawn().expect("it starts");
    // The encryption needs a second to derive a key from the passphrase. During this second, the
    // unencrypted copy exists.
    until("the unencrypted copy exists", || (!parts(&data_dir).is_empty()).then_some(()));
    signal(&child, "TERM");
    assert_eq!(wait(&mut child), Some(1));
    assert_eq!((parts(&data_dir), file.exists()), (vec![], false));
    let beside = temp_dir.entries();
    assert!(!beside.iter().any(|path| path.to_string_lossy().contains(".part")), "{beside:?}");

    // Creates copies like those that a killed command leaves behind. The next command must remove
    // these copies, but not while another command uses the data directory.
    let old = data_dir.join("backup.part-0123abcd");
    fs::create_dir(&old).expect("a new directory");
    fs::write(old.join("store"), "a copy").expect("writable");
    fs::write(data_dir.join("restore.part-0123abcd-journal"), "a copy").expect("writable");
    let running = File::open(&data_dir).expect("it exists");
    running.lock_shared().expect("the file system has locks");
    run(command("backup", &data_dir).arg("--encrypt")).stdout_of_success();
    assert_eq!(parts(&data_dir).len(), 2);
    drop(running);
    fs::rename(&file, temp_dir.join("thursday.age")).expect("it exists");
    run(command("backup", &data_dir).arg("--encrypt")).stdout_of_success();
    assert_eq!(parts(&data_dir), Vec::<String>::new());
    run(&mut command("restore", &restored)).stdout_of_success();
    assert_eq!(parts(&restored), Vec::<String>::new());
}

#[test]
fn a_restore_leaves_the_files_of_another_restore_to_the_same_directory() {
    let temp_dir = TempDir::new();
    let (target, data_dir) = (temp_dir.join("target"), temp_dir.join("data"));
    for dir in [&target, &data_dir] {
        fs::DirBuilder::new().mode(0o700).create(dir).expect("a new directory");
    }
    let part = data_dir.join("restore.part");
    fs::write(&part, "half of a store").expect("writable");
    let running = File::open(&data_dir).expect("it exists");
    running.lock_shared().expect("the file system has locks");
    let mut command = program(&temp_dir);
    command.arg("restore").arg(&target).arg("--data-dir").arg(&data_dir);
    let stderr = run(&mut command).stderr_of_failure(1);
    assert!(stderr.contains("in use by another doorbuster process"), "{stderr}");
    assert!(part.exists(), "the file belongs to the other restore");
}

#[test]
fn ctrl_c_at_the_passphrase_prompt_leaves_the_terminal_unchanged() {
    let temp_dir = TempDir::new();
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    unlockpt(&keyboard).expect("a new terminal");
    let name = ptsname(&keyboard, Vec::new()).expect("a new terminal");
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OpenptFlags::NOCTTY.bits().cast_signed());
    let terminal = options.open(OsStr::from_bytes(name.as_bytes())).expect("a new terminal");
    let mut keyboard = File::from(keyboard);
    let before = tcgetattr(&terminal).expect("a terminal");
    // The typed characters after the word are Ctrl-C, Ctrl-\ and Ctrl-Z. Ctrl-Z does not end the
    // line, so a line break follows.
    for typed in [&b"correct\x03"[..], b"correct\x1c", b"correct\x1a\n"] {
        let mut command = program(&temp_dir);
        command.arg("backup").arg(temp_dir.join("friday.age")).arg("--encrypt").arg("--data-dir");
        command.arg(temp_dir.join("data")).stderr(Stdio::piped());
        command.stdin(terminal.try_clone().expect("an open file"));
        let mut child = command.spawn().expect("it starts");
        until("the terminal shows no typed characters", || {
            let modes = tcgetattr(&terminal).expect("a terminal").local_modes;
            (!modes.contains(LocalModes::ECHO)).then_some(())
        });
        keyboard.write_all(typed).expect("the terminal is open");
        assert_eq!(wait(&mut child), Some(1));
        let mut stderr = String::new();
        let mut output = child.stderr.take().expect("piped output");
        output.read_to_string(&mut stderr).expect("UTF-8 text");
        assert!(stderr.ends_with("doorbuster: interrupted\n"), "{stderr}");
        let after = tcgetattr(&terminal).expect("a terminal");
        assert_eq!(after.local_modes, before.local_modes);
        for index in [SpecialCodeIndex::VEOL, SpecialCodeIndex::VEOL2] {
            assert_eq!(after.special_codes[index], before.special_codes[index]);
        }
    }
}
