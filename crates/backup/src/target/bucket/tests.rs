//! Tests the bucket against a small imitation of an S3-compatible service.

use doorbuster_testkit::{BucketService, TempDir};
use object_store::ClientConfigKey;

use super::*;

fn open(service: &BucketService) -> Bucket {
    let builder = AmazonS3Builder::new()
        .with_bucket_name("shop")
        .with_region("local")
        .with_endpoint(service.url())
        .with_access_key_id("key")
        .with_secret_access_key("secret");
    Bucket::build(builder, "a/b", true).expect("valid settings")
}

#[tokio::test]
async fn objects_are_written_listed_read_and_deleted() {
    let service = BucketService::start("shop");
    let bucket = open(&service);
    bucket.put("gen/segment-1-2", Bytes::from_static(b"pages")).await.expect("writes");
    let dir = TempDir::new();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    // The content needs more than one part.
    let content: Vec<u8> = (0..PART_BYTES + 1_000).map(|at| (at % 251) as u8).collect();
    std::fs::write(&from, &content).expect("writable");
    bucket.put_file("gen/base-1.sqlite", &from).await.expect("writes");
    let mut names = bucket.list().await.expect("lists");
    names.sort_unstable();
    assert_eq!(names, ["gen/base-1.sqlite", "gen/segment-1-2"]);
    assert_eq!(bucket.get("gen/segment-1-2").await.expect("reads"), "pages");
    bucket.get_file("gen/base-1.sqlite", &to).await.expect("reads");
    assert!(
        std::fs::read(&to).expect("readable") == content,
        "the object must have all parts in order"
    );
    bucket.delete("gen/segment-1-2").await.expect("deletes");
    assert_eq!(bucket.list().await.expect("lists"), ["gen/base-1.sqlite"]);
    assert!(bucket.get("gen/segment-1-2").await.is_err());
    let names: Vec<String> = service.objects().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a/b/gen/base-1.sqlite"]);
}

#[tokio::test]
async fn the_generations_are_listed_without_their_objects() {
    let service = BucketService::start("shop");
    let bucket = open(&service);
    for number in 0..3 {
        for generation in ["first", "second"] {
            let name = format!("{generation}/segment-{number}-0");
            bucket.put(&name, Bytes::from_static(b"pages")).await.expect("writes");
        }
    }
    assert_eq!(bucket.generations().await.expect("lists"), ["first", "second"]);
    assert_eq!(service.listed(), 0, "the service must not return the names of objects");
    assert_eq!(bucket.list().await.expect("lists").len(), 6);
    assert_eq!(service.listed(), 6);
}

#[tokio::test]
async fn an_upload_with_a_refused_part_is_aborted() {
    let service = BucketService::start("shop");
    service.refuse_parts();
    let bucket = open(&service);
    let dir = TempDir::new();
    let from = dir.path().join("from");
    // The upload sends `PARTS_AT_ONCE` parts at the same time. This sparse file has one part more.
    let bytes = (PART_BYTES * (PARTS_AT_ONCE + 1)) as u64;
    File::create(&from).and_then(|file| file.set_len(bytes)).expect("writable");
    assert!(bucket.put_file("gen/base-1.sqlite", &from).await.is_err());
    assert_eq!((service.aborted(), service.objects().len()), (1, 0));
}

async fn wait_until(is_done: impl Fn() -> bool) {
    let wait = async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it happens in time");
}

#[tokio::test]
async fn a_cancelled_upload_is_aborted() {
    let service = BucketService::start("shop");
    service.hold_parts();
    let bucket = open(&service);
    let dir = TempDir::new();
    let from = dir.path().join("from");
    File::create(&from).and_then(|file| file.set_len(PART_BYTES as u64)).expect("writable");
    let upload = tokio::spawn(async move { bucket.put_file("gen/base-1.sqlite", &from).await });
    wait_until(|| service.held() > 0).await;
    upload.abort();
    wait_until(|| service.aborted() > 0).await;
    assert_eq!(service.objects().len(), 0);
}

#[test]
fn the_time_of_a_whole_download_has_no_limit() {
    let options = client_options(false);
    assert_eq!(options.get_config_value(&ClientConfigKey::Timeout), None);
    for key in [ClientConfigKey::ReadTimeout, ClientConfigKey::ConnectTimeout] {
        assert!(options.get_config_value(&key).is_some(), "{key:?}");
    }
}
