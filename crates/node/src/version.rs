//! The version and the optional parts of this program.

use doorbuster_store::store_versions;

/// The optional parts of the program, and whether it was built with them.
const FEATURES: [(&str, bool); 4] = [
    ("amqp", cfg!(feature = "amqp")),
    ("nats", cfg!(feature = "nats")),
    ("otel", cfg!(feature = "otel")),
    ("s3", cfg!(feature = "s3")),
];

/// If `is_built` is true, returns the optional parts that this program contains. Otherwise, returns
/// the optional parts that it lacks.
#[must_use]
pub fn features(is_built: bool) -> Vec<&'static str> {
    FEATURES.iter().filter(|(_, is)| *is == is_built).map(|(name, _)| *name).collect()
}

/// Returns the program's version, the versions of its stores, and its optional parts, one fact per
/// line.
#[must_use]
pub fn details(commit: &str) -> String {
    let store = store_versions();
    let list = |is_built, reason| match features(is_built).join(" ") {
        names if names.is_empty() => "none".to_owned(),
        names => names + reason,
    };
    let reason = " (to keep the program small; build with --features NAME to add a feature)";
    format!(
        "{}\ncommit: {commit}\nfeatures: {}\nfeatures left out: {}\n\
         sqlite: {}\nschema of embedded: {}\nschema of postgres: {}",
        env!("CARGO_PKG_VERSION"),
        list(true, ""),
        list(false, reason),
        store.sqlite,
        store.sqlite_schema,
        store.postgres_schema
    )
}
