//! A small S3-compatible service with one bucket in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::runtime::{Builder, Runtime};

/// The bucket's complete objects by name, and the parts of incomplete uploads.
#[derive(Debug, Default)]
struct Objects {
    whole: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<usize, Vec<u8>>,
    refuses_parts: bool,
    holds_parts: bool,
    held: usize,
    aborted: usize,
    listed: usize,
}

type Shared = Arc<Mutex<Objects>>;

/// A running service with one bucket. A request must have an `Authorization` header, but the
/// service does not check its signature. The service stops when this value is dropped.
#[derive(Debug)]
pub struct BucketService {
    address: SocketAddr,
    bucket: Shared,
    runtime: Option<Runtime>,
}

impl BucketService {
    /// Starts the service on a free port. `bucket` is the bucket's name.
    ///
    /// # Panics
    ///
    /// Panics if no port is free, or if no thread can be started.
    #[must_use]
    pub fn start(bucket: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread");
        let (state, root) = (Shared::default(), format!("/{bucket}/"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let service = state.clone();
        drop(runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let answer =
                move |request: Request<Body>| answer(service.clone(), root.clone(), request);
            axum::serve(listener, Router::new().fallback(answer)).await
        }));
        Self { address, bucket: state, runtime: Some(runtime) }
    }

    /// Returns the address of the service.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the names and the contents of the bucket's objects, sorted by name.
    ///
    /// # Panics
    ///
    /// Panics if the service panicked.
    #[must_use]
    pub fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let objects = self.bucket.lock().expect("no panic");
        objects.whole.iter().map(|(name, content)| (name.clone(), content.clone())).collect()
    }

    /// From now on, the service refuses each request that uploads a part of an object.
    ///
    /// # Panics
    ///
    /// Panics if the service panicked.
    pub fn refuse_parts(&self) {
        self.bucket.lock().expect("no panic").refuses_parts = true;
    }

    /// From now on, the service never answers a request that uploads a part of an object.
    ///
    /// # Panics
    ///
    /// Panics if the service panicked.
    pub fn hold_parts(&self) {
        self.bucket.lock().expect("no panic").holds_parts = true;
    }

    /// Returns how many parts the service has received since [`Self::hold_parts`] and leaves
    /// without an answer.
    ///
    /// # Panics
    ///
    /// Panics if the service panicked.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bucket.lock().expect("no panic").held
    }

    /// Returns how many multipart uploads were aborted.
    ///
    /// # Panics
    ///
    /// Panics if the service panicked.
    #[must_use]
    pub fn aborted(&self) -> usize {
        self.bucket.lock().expect("no panic").aborted
    }

    /// Returns how many object names the service has returned in answers to list requests.
    ///
    /// # Panics
    ///
    /// Panics if the service panicked.
    #[must_use]
    pub fn listed(&self) -> usize {
        self.bucket.lock().expect("no panic").listed
    }
}

impl Drop for BucketService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

const DATE: &str = "Tue, 24 Nov 2026 20:00:00 GMT";

async fn answer(service: Shared, root: String, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    assert!(head.headers.contains_key("authorization"), "a request is not signed");
    // The read of the body fails only if the client has closed the connection. So no client reads
    // this answer.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let name = path.strip_prefix(&root).unwrap_or_default().to_owned();
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if value("partNumber").is_some() && is_held(&service) {
        return std::future::pending().await;
    }
    let etag = [("etag", "\"tag\""), ("last-modified", DATE)];
    let mut bucket = service.lock().expect("no panic");
    let Objects { whole: objects, parts, refuses_parts, aborted, listed, .. } = &mut *bucket;
    match head.method {
        Method::PUT if *refuses_parts && value("partNumber").is_some() => {
            StatusCode::FORBIDDEN.into_response()
        }
        Method::PUT => {
            match value("partNumber").and_then(|number| number.parse().ok()) {
                Some(number) => parts.insert(number, body.to_vec()),
                None => objects.insert(name, body.to_vec()),
            };
            etag.into_response()
        }
        Method::POST if query.starts_with("uploads") => {
            "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                .into_response()
        }
        Method::POST if query.starts_with("delete") => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let mut deleted = String::new();
            for key in text.split("<Key>").skip(1) {
                let key = key.split("</Key>").next().expect("a key");
                objects.remove(key);
                deleted += &format!("<Deleted><Key>{key}</Key></Deleted>");
            }
            format!("<DeleteResult>{deleted}</DeleteResult>").into_response()
        }
        Method::POST => {
            objects.insert(name, std::mem::take(parts).into_values().flatten().collect());
            "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>"
                .into_response()
        }
        Method::DELETE if value("uploadId").is_some() => {
            parts.clear();
            *aborted += 1;
            StatusCode::NO_CONTENT.into_response()
        }
        Method::DELETE => {
            objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        _ if query.contains("list-type") => {
            let prefix = value("prefix").unwrap_or_default().replace("%2F", "/");
            list(objects, &prefix, value("delimiter").is_some(), listed).into_response()
        }
        _ => match objects.get(&name) {
            Some(object) => (etag, object.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

/// Returns whether the service leaves uploads of parts unanswered. If it does, counts this part.
fn is_held(service: &Shared) -> bool {
    let mut bucket = service.lock().expect("no panic");
    if bucket.holds_parts {
        bucket.held += 1;
    }
    bucket.holds_parts
}

/// Lists the objects whose names begin with `prefix`. If `is_combined`, objects whose names are
/// equal up to the first slash after the prefix become one entry.
fn list(
    objects: &BTreeMap<String, Vec<u8>>,
    prefix: &str,
    is_combined: bool,
    listed: &mut usize,
) -> String {
    let (mut entries, mut combined) = (String::new(), BTreeSet::new());
    for (key, object) in objects {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        if is_combined && let Some((start, _)) = rest.split_once('/') {
            combined.insert(start);
            continue;
        }
        *listed += 1;
        entries += &format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-24T20:00:00.000Z</LastModified>\
             <ETag>\"tag\"</ETag><Size>{}</Size></Contents>",
            object.len()
        );
    }
    for start in combined {
        entries += &format!("<CommonPrefixes><Prefix>{prefix}{start}/</Prefix></CommonPrefixes>");
    }
    format!("<ListBucketResult>{entries}</ListBucketResult>")
}
