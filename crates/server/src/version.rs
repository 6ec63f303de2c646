//! The version and the optional parts of this program.

use doorbuster_store::store_versions;

/// Returns the optional parts that this program was built with.
#[must_use]
pub fn features() -> Vec<&'static str> {
    let all = [
        ("amqp", cfg!(feature = "amqp")),
        ("nats", cfg!(feature = "nats")),
        ("otel", cfg!(feature = "otel")),
    ];
    all.into_iter().filter(|(_, is_built)| *is_built).map(|(name, _)| name).collect()
}

/// Returns the program's version and its optional parts, each on its own line.
#[must_use]
pub fn details(commit: &str) -> String {
    let store = store_versions();
    let features = features();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
    format!(
        "{}\ncommit: {commit}\nfeatures: {features}\nsqlite: {}\nschema of embedded: {}\nschema of \
         postgres: {}",
        env!("CARGO_PKG_VERSION"),
        store.sqlite,
        store.sqlite_schema,
        store.postgres_schema
    )
}
