//! Tests the layers of settings, and settings with which the server does not start.

use doorbuster_testkit::TempDir;
use secrecy::ExposeSecret;

use super::*;

mod oidc;
mod random;
mod shape;
mod shown;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let home = [("HOME", "/home/someone"), ("PATH", "/bin")];
    home.iter().chain(pairs).map(|(name, value)| (name.into(), value.into())).collect()
}

fn file(text: &str) -> (TempDir, Flags) {
    let dir = TempDir::new();
    let path = dir.path().join("doorbuster.toml");
    std::fs::write(&path, text).expect("a scratch file");
    (dir, Flags { config: Some(path), ..Flags::default() })
}

#[test]
fn the_defaults_are_valid_without_any_other_setting() {
    let settings = load(&Flags::default(), environment(&[])).expect("the defaults");
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.data_dir.to_str(), Some("/home/someone/.local/share/doorbuster"));
    assert_eq!((settings.pass_ttl.as_secs(), settings.room_per_sec), (120, 2_000));
    assert!(
        settings.auth.buyers.is_none()
            && settings.auth.admin_key.is_none()
            && !settings.deliveries.allow_private
    );
}

#[test]
fn the_default_file_names_every_setting_and_no_other() {
    let table: toml::Table = DEFAULT_FILE.parse().expect("TOML");
    for setting in SETTINGS {
        let (section, name) = setting.path.split_once('.').unwrap_or(("", setting.path));
        let body = DEFAULT_FILE
            .split("\n[")
            .find(|part| section.is_empty() || part.starts_with(&format!("{section}]")));
        let body = body.unwrap_or_else(|| panic!("the default file has no section {section}"));
        let stands = body
            .lines()
            .any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
        assert!(stands, "{} is missing in the default file", setting.path);
    }
    assert!(table.contains_key("listen"));
}

#[test]
fn a_stronger_layer_wins() {
    let (_dir, mut flags) = file("listen = \"127.0.0.1:1\"\nworkers = 3\n[pass]\nttl_secs = 60\n");
    let vars = environment(&[("DOORBUSTER_LISTEN", "127.0.0.1:2"), ("DOORBUSTER_WORKERS", "4")]);
    let settings = load(&flags, vars.clone()).expect("valid");
    assert_eq!(
        (settings.listen.port(), settings.workers.get(), settings.pass_ttl.as_secs()),
        (2, 4, 60)
    );
    flags.listen = Some("127.0.0.1:3".into());
    assert_eq!(load(&flags, vars).expect("valid").listen.port(), 3);
}

#[test]
fn a_demonstration_allows_webhooks_to_private_addresses_by_default() {
    let flags = Flags { demo: true, ..Flags::default() };
    assert!(load(&flags, environment(&[])).expect("valid").deliveries.allow_private);
    let vars = environment(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "false")]);
    assert!(!load(&flags, vars.clone()).expect("valid").deliveries.allow_private);
    let shown = |vars| show(&flags, vars).0;
    assert!(
        shown(environment(&[])).contains("allow_private = true  # --demo\n"),
        "{}",
        shown(environment(&[]))
    );
    assert!(shown(vars.clone()).contains("allow_private = false  # "), "{}", shown(vars));
}

#[test]
fn the_sandbox_buttons_are_on_by_default_only_in_a_demonstration() {
    let demo = Flags { demo: true, ..Flags::default() };
    let works = |flags: &Flags, vars: &[(&str, &str)]| {
        load(flags, environment(vars)).expect("valid").payment.sandbox_page
    };
    let (on, off) = (
        ("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "true"),
        ("DOORBUSTER_PAYMENT__SANDBOX_PAGE", "false"),
    );
    assert_eq!([works(&demo, &[]), works(&demo, &[off])], [true, false]);
    assert_eq!([works(&Flags::default(), &[]), works(&Flags::default(), &[on])], [false, true]);
}

/// Checks that the value is refused, and that the error names `setting` and contains `word`.
#[track_caller]
fn check(name: &str, value: &str, setting: &str, word: &str) {
    let error = load(&Flags::default(), environment(&[(name, value)])).expect_err(name);
    let message = error.to_string();
    assert_eq!(error.0.len(), 1, "{message}");
    assert!(
        message.contains(name) && message.starts_with(setting) && message.contains(word),
        "{name}={value}: {message}"
    );
}

#[test]
fn a_backup_needs_a_known_place_outside_of_the_data_directory() {
    check("DOORBUSTER_BACKUP__TO", "gs://bucket", "backup.to", "s3://BUCKET/PREFIX");
    check(
        "DOORBUSTER_BACKUP__TO",
        "/home/someone/.local/share/doorbuster/b",
        "backup.to",
        "inside",
    );
    check("DOORBUSTER_BACKUP__PASSPHRASE", "correct horse", "backup.passphrase", "backup.to");
    check("DOORBUSTER_BACKUP__KEEP_HOURS", "0", "backup.keep_hours", "1 to 8760");
    let to = ("DOORBUSTER_BACKUP__TO", "/backups/shop");
    let with = |passphrase| {
        let vars = environment(&[to, ("DOORBUSTER_BACKUP__PASSPHRASE", passphrase)]);
        load(&Flags::default(), vars).map(|settings| settings.backup.expect("a backup").passphrase)
    };
    let short = with("eleven char").expect_err("a short passphrase").to_string();
    assert!(short.contains("backup.passphrase") && short.contains("12 characters"), "{short}");
    assert!(with("twelve chars").expect("valid").is_some());
}

#[test]
fn the_address_to_listen_on_may_be_a_name() {
    let settings = load(&Flags::default(), environment(&[("DOORBUSTER_LISTEN", "localhost:9520")]));
    let listen = settings.expect("valid settings").listen;
    assert!(listen.ip().is_loopback() && listen.port() == 9520, "{listen}");
}

#[test]
fn an_invalid_environment_variable_is_named_in_the_error() {
    check("DOORBUSTER_LISTEN", "nowhere", "listen", "127.0.0.1:8080");
    check("DOORBUSTER_LISTEN", "", "listen", "127.0.0.1:8080");
    check("DOORBUSTER_WORKERS", "0", "workers", "1 to 1024");
    check("DOORBUSTER_WORKERS", "two", "workers", "1 to 1024");
    check("DOORBUSTER_WORKERS", "-1", "workers", "1 to 1024");
    check("DOORBUSTER_SHAPE", "round", "shape", "write embedded");
    check("DOORBUSTER_ROLES", "api", "roles", "api,settle,control");
    check("DOORBUSTER_ROLES", "api,settle,control,cook", "roles", "\"cook\"");
    check("DOORBUSTER_DATA_DIR", "", "data_dir", "directory");
    check("DOORBUSTER_DATA_DIR", "/dev/null", "data_dir", "is not a directory");
    check("DOORBUSTER_STORE__URL", "postgres://x", "store.url", "contradicts");
    check("DOORBUSTER_SLOTS__URLS", "redis://x", "slots.urls", "contradicts");
    check("DOORBUSTER_SLOTS__WAIT_REPLICAS", "1", "slots.wait_replicas", "contradicts");
    check("DOORBUSTER_AUTH__BUYER_SECRET", "short", "auth.buyer_secret", "32 bytes");
    check("DOORBUSTER_AUTH__BUYER_JWKS", "/no/such/file", "auth.buyer_jwks", "cannot read");
    check(
        "DOORBUSTER_AUTH__BUYER_JWKS",
        "/etc/passwd",
        "auth.buyer_jwks",
        "not a JSON Web Key Set",
    );
    check("DOORBUSTER_AUTH__BUYER_JWKS", "/dev/null", "auth.buyer_jwks", "not a JSON Web Key Set");
    check("DOORBUSTER_AUTH__BUYER_JWKS", "http://shop.example/jwks", "auth.buyer_jwks", "https://");
    check("DOORBUSTER_AUTH__BUYER_JWKS", "https://", "auth.buyer_jwks", "https://");
    check("DOORBUSTER_AUTH__ADMIN_KEY", "too-short", "auth.admin_key", "32");
    check("DOORBUSTER_AUTH__ADMIN_KEY", &"a b".repeat(20), "auth.admin_key", "visible");
    check("DOORBUSTER_AUTH__ID_KEY", "beef", "auth.id_key", "64");
    check("DOORBUSTER_AUTH__SIGN_IN_URL", "javascript:alert(1)", "auth.sign_in_url", "https://");
    check("DOORBUSTER_AUTH__SIGN_IN_URL", "//evil.example", "auth.sign_in_url", "https://");
    check("DOORBUSTER_AUTH__ISSUER", " ", "auth.issuer", "empty");
    check("DOORBUSTER_PAYMENT__PROVIDER", "bank", "payment.provider", "sandbox");
    check(
        "DOORBUSTER_PAYMENT__WEBHOOK_SECRET",
        "whsec_short",
        "payment.webhook_secret",
        "24 to 64",
    );
    check("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", ",", "payment.webhook_secret", "up to 8");
    check(
        "DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY",
        "sk_test_1",
        "payment.stripe.secret_key",
        "contradicts",
    );
    check(
        "DOORBUSTER_PAYMENT__STRIPE__API_URL",
        "https://x.example",
        "payment.stripe.api_url",
        "contradicts",
    );
    check("DOORBUSTER_PAGE__URL", "shop.example", "page.url", "https://");
    check("DOORBUSTER_PASS__KEYS", "beef", "pass.keys", "64");
    check("DOORBUSTER_PASS__KEYS", ",", "pass.keys", "1 to 8");
    check("DOORBUSTER_PASS__TTL_SECS", "4", "pass.ttl_secs", "5 to 3600");
    check("DOORBUSTER_PASS__TTL_SECS", "3601", "pass.ttl_secs", "5 to 3600");
    check("DOORBUSTER_WAITING_ROOM__PER_SEC", "3", "waiting_room.per_sec", "4 to 100000");
    check("DOORBUSTER_WAITING_ROOM__PER_SEC", "100001", "waiting_room.per_sec", "4 to 100000");
    check(
        "DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE",
        "perhaps",
        "webhooks.allow_private",
        "true or false",
    );
    check(
        "DOORBUSTER_BROKERS__HOSTS",
        "rabbit.internal,http://rabbit",
        "brokers.hosts",
        "is not a host",
    );
    check("DOORBUSTER_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "trusted_proxies", "\"proxy\"");
    check("DOORBUSTER_LIMITS__CONNECTIONS", "1", "limits.connections", "16 to");
    check("DOORBUSTER_LOG__FORMAT", "xml", "log.format", "json");
    check("DOORBUSTER_LOG__FILTER", "info,=,x=loud", "log.filter", "level");
    check("DOORBUSTER_PAGE__SHOP", "a\nb", "page.shop", "one line");
}

#[test]
fn invalid_origins_and_unknown_settings_are_named() {
    for origin in [
        "*",
        "null",
        "shop.example",
        "https://shop.example/",
        "https://shop.example/x",
        "HTTPS://shop.example",
        "ftp://shop.example",
    ] {
        check("DOORBUSTER_PAGE__ORIGIN", origin, "page.origin", "is not an origin");
    }
    for unknown in [
        "DOORBUSTER_LISTENN",
        "DOORBUSTER_AUTH_BUYER_SECRET",
        "DOORBUSTER_listen",
        "DOORBUSTER_",
        "DOORBUSTER_LISTEN_FILE",
    ] {
        check(unknown, "x", unknown, "no such setting");
    }
}

#[test]
fn environment_variables_of_the_command_line_client_are_ignored() {
    let vars = environment(&[
        ("DOORBUSTER_URL", "http://x"),
        ("DOORBUSTER_ADMIN_KEY", "k"),
        ("NOTDOORBUSTER_X", "1"),
    ]);
    assert!(load(&Flags::default(), vars).is_ok());
}

#[test]
fn all_faults_of_a_settings_file_are_reported_together() {
    let (_dir, flags) = file(
        "listen = 8080\nworkers = \"4\"\nnonsense = 1\n[auth]\nadmin = \"x\"\n[pass]\nttl_secs = \
         1.5\n",
    );
    let message = load(&flags, environment(&[])).expect_err("five faults").to_string();
    for word in ["listen", "workers", "nonsense", "auth.admin ", "pass.ttl_secs", "doorbuster.toml"]
    {
        assert!(message.contains(word), "{word}: {message}");
    }
    let (_dir, flags) = file("listen = ");
    assert!(
        load(&flags, environment(&[])).expect_err("no TOML").to_string().contains("not valid TOML")
    );
    let flags = Flags { config: Some("/no/such/file".into()), ..Flags::default() };
    assert!(load(&flags, environment(&[])).expect_err("no file").to_string().contains("--config"));
}

#[test]
fn contradictions_are_refused() {
    let secret = ("DOORBUSTER_AUTH__BUYER_SECRET", "0123456789012345678901234567890123456789");
    let jwks = ("DOORBUSTER_AUTH__BUYER_JWKS", "https://shop.example/jwks.json");
    let text = load(&Flags::default(), environment(&[secret, jwks])).expect_err("both").to_string();
    assert!(text.contains("auth.buyer_jwks") && text.contains("auth.buyer_secret"), "{text}");
    let flags = Flags { demo: true, ..Flags::default() };
    assert!(load(&flags, environment(&[jwks])).expect_err("demo").to_string().contains("--demo"));
    let file = ("DOORBUSTER_AUTH__BUYER_SECRET_FILE", "/run/secret");
    let text = load(&Flags::default(), environment(&[secret, file])).expect_err("both").to_string();
    assert!(text.contains("as a file"), "{text}");
}

#[test]
fn a_secret_may_be_in_a_file_without_its_line_end() {
    let (dir, flags) = file("");
    let path = dir.path().join("secret");
    std::fs::write(&path, "0123456789012345678901234567890123456789\n").expect("a scratch file");
    let vars =
        environment(&[("DOORBUSTER_AUTH__BUYER_SECRET_FILE", path.to_str().expect("UTF-8"))]);
    match load(&flags, vars).expect("valid").auth.buyers {
        Some(BuyerKeys::Secret(secret)) => {
            assert_eq!(secret.expose_secret(), "0123456789012345678901234567890123456789");
        }
        other => panic!("{other:?}"),
    }
    let vars = environment(&[("DOORBUSTER_AUTH__BUYER_SECRET_FILE", "/no/such/file")]);
    assert!(load(&flags, vars).expect_err("no file").to_string().contains("/no/such/file"));
}

#[test]
fn stripe_needs_all_of_its_settings_and_none_of_the_sandbox() {
    let good = [
        ("DOORBUSTER_PAYMENT__PROVIDER", "stripe"),
        ("DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY", "sk_test_key"),
        ("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", "whsec_new,whsec_old"),
        ("DOORBUSTER_PAGE__URL", "https://sale.example"),
    ];
    let settings = load(&Flags::default(), environment(&good)).expect("valid");
    let ProviderSettings::Stripe(stripe) = settings.payment.provider else { panic!("stripe") };
    assert_eq!(
        (stripe.webhook_secrets.len(), stripe.api_url.as_str()),
        (2, "https://api.stripe.com")
    );
    let shown = show(&Flags::default(), environment(&good)).0;
    assert!(!shown.contains("sk_test_key") && !shown.contains("whsec_new"), "{shown}");
    let missing = load(&Flags::default(), environment(&good[..1]))
        .expect_err("only the provider's name is set")
        .to_string();
    for path in ["payment.stripe.secret_key: ", "payment.stripe.webhook_secret: ", "page.url: "] {
        assert!(missing.contains(&format!("{path}is missing")), "{missing}");
    }
    for (name, value, wanted) in [
        (
            "DOORBUSTER_PAYMENT__WEBHOOK_SECRET",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "contradicts",
        ),
        ("DOORBUSTER_PAYMENT__STRIPE__API_URL", "http://api.stripe.example", "https://"),
        ("DOORBUSTER_PAYMENT__STRIPE__API_URL", "https://api.stripe.com/v1", "https://"),
        ("DOORBUSTER_PAYMENT__STRIPE__SECRET_KEY", "a key", "is not a Stripe key"),
        ("DOORBUSTER_PAYMENT__STRIPE__WEBHOOK_SECRET", "secret", "whsec_"),
    ] {
        let vars = [&good[..], &[(name, value)]].concat();
        let error = load(&Flags::default(), environment(&vars)).expect_err(value).to_string();
        assert!(error.contains(wanted), "{name}={value}: {error}");
    }
}
