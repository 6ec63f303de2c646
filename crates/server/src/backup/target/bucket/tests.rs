//! Tests the bucket against a small imitation of an S3-compatible service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::*;
use crate::temp_dir::TempDir;

/// The objects of the service by their paths, and the parts of objects that are not complete.
#[derive(Default)]
struct Service {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    parts: Mutex<BTreeMap<usize, Vec<u8>>>,
}

const DATE: &str = "Tue, 24 Nov 2026 20:00:00 GMT";

async fn answer(
    State(service): State<Arc<Service>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert!(headers.contains_key("authorization"), "every request is signed");
    let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default());
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let mut objects = service.objects.lock().expect("no panic");
    let mut parts = service.parts.lock().expect("no panic");
    let etag = [("etag", "\"tag\""), ("last-modified", DATE)];
    match method {
        Method::PUT => {
            match value("partNumber").and_then(|number| number.parse().ok()) {
                Some(number) => parts.insert(number, body.to_vec()),
                None => objects.insert(path, body.to_vec()),
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
                objects.remove(&format!("/shop/{key}"));
                deleted += &format!("<Deleted><Key>{key}</Key></Deleted>");
            }
            format!("<DeleteResult>{deleted}</DeleteResult>").into_response()
        }
        Method::POST => {
            objects.insert(path, std::mem::take(&mut *parts).into_values().flatten().collect());
            "<CompleteMultipartUploadResult><ETag>\"tag\"</ETag></CompleteMultipartUploadResult>"
                .into_response()
        }
        Method::DELETE => {
            objects.remove(&path);
            StatusCode::NO_CONTENT.into_response()
        }
        _ if query.contains("list-type") => {
            let entries = objects.iter().map(|(path, object)| {
                let key = path.strip_prefix("/shop/").unwrap_or(path);
                format!(
                    "<Contents><Key>{key}</Key><LastModified>2026-11-24T20:00:00.000Z\
                     </LastModified><ETag>\"tag\"</ETag><Size>{}</Size></Contents>",
                    object.len()
                )
            });
            let entries: String = entries.collect();
            format!("<ListBucketResult>{entries}</ListBucketResult>").into_response()
        }
        _ => match objects.get(&path) {
            Some(object) => (etag, object.clone()).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

#[tokio::test]
async fn objects_are_written_listed_read_and_deleted() {
    let service = Arc::new(Service::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let router = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::disable())
        .with_state(service.clone());
    drop(tokio::spawn(async move { axum::serve(listener, router).await }));
    let builder = AmazonS3Builder::new()
        .with_bucket_name("shop")
        .with_region("local")
        .with_endpoint(format!("http://{address}"))
        .with_access_key_id("key")
        .with_secret_access_key("secret");
    let bucket = Bucket::build(builder, "a/b", true).expect("valid settings");
    bucket.put("gen/segment-1-2", Bytes::from_static(b"pages")).await.expect("writes");
    let dir = TempDir::new();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    // The content has more than one part.
    let content: Vec<u8> = (0..PART_BYTES + 1_000).map(|at| (at % 251) as u8).collect();
    std::fs::write(&from, &content).expect("writable");
    bucket.put_file("gen/base-1.sqlite", &from).await.expect("writes");
    let mut names = bucket.list().await.expect("lists");
    names.sort_unstable();
    assert_eq!(names, ["gen/base-1.sqlite", "gen/segment-1-2"]);
    assert_eq!(bucket.get("gen/segment-1-2").await.expect("reads"), "pages");
    bucket.get_file("gen/base-1.sqlite", &to).await.expect("reads");
    assert!(std::fs::read(&to).expect("readable") == content, "the parts are in order");
    bucket.delete("gen/segment-1-2").await.expect("deletes");
    assert_eq!(bucket.list().await.expect("lists"), ["gen/base-1.sqlite"]);
    assert!(bucket.get("gen/segment-1-2").await.is_err());
    let kept = service.objects.lock().expect("no panic");
    assert!(kept.keys().all(|path| path.starts_with("/shop/a/b/gen/")), "{:?}", kept.keys());
}
