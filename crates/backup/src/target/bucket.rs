//! A bucket of an S3-compatible service as the target. The address and the keys of the service come
//! from the environment variables `AWS_…` or from the cloud machine's metadata service.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use doorbuster_store::limits::COPY_BYTES_MAX;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Name;
use object_store::{ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::TargetError;
use crate::write_within;

/// The server reads and sends a base in parts of this many bytes.
const PART_BYTES: usize = 8 * 1024 * 1024;
const PARTS_AT_ONCE: usize = 4;
/// A request fails if the service sends nothing for this time. This time includes the upload of the
/// request's body, because the service sends nothing during the upload.
const READ_WITHIN: Duration = Duration::from_secs(80);
// [`READ_WITHIN`] must be longer than the upload of the largest segment may take.
const _: () = assert!(READ_WITHIN.as_secs() > write_within(COPY_BYTES_MAX).as_secs());

#[derive(Clone)]
pub(super) struct Bucket {
    objects: std::sync::Arc<AmazonS3>,
    prefix: Name,
}

impl From<object_store::Error> for TargetError {
    fn from(error: object_store::Error) -> Self {
        let is_missing = matches!(error, object_store::Error::NotFound { .. });
        Self { text: error.to_string(), is_missing }
    }
}

struct Upload {
    /// `None` after the end of the upload.
    parts: Option<Box<dyn MultipartUpload>>,
    sending: JoinSet<object_store::Result<()>>,
}

impl Upload {
    async fn send(&mut self, mut file: File) -> Result<(), TargetError> {
        while let Some(parts) = &mut self.parts {
            let read = tokio::task::spawn_blocking(move || {
                let mut part = Vec::with_capacity(PART_BYTES);
                let read = Read::take(&mut file, PART_BYTES as u64).read_to_end(&mut part);
                read.map(|_| (file, part))
            });
            let (rest, part) = read.await.map_err(io::Error::other)??;
            if part.is_empty() {
                wait_for_fewer(&mut self.sending, 1).await?;
                parts.complete().await?;
                self.parts = None;
                break;
            }
            file = rest;
            self.sending.spawn(parts.put_part(part.into()));
            wait_for_fewer(&mut self.sending, PARTS_AT_ONCE).await?;
        }
        Ok(())
    }
}

impl Drop for Upload {
    /// Aborts an upload that the server no longer waits for, for example because a new generation
    /// began.
    fn drop(&mut self) {
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) {
            runtime.spawn(abort(parts, std::mem::take(&mut self.sending)));
        }
    }
}

async fn wait_for_fewer(
    sending: &mut JoinSet<object_store::Result<()>>,
    max: usize,
) -> Result<(), TargetError> {
    while sending.len() >= max
        && let Some(sent) = sending.join_next().await
    {
        sent.map_err(io::Error::other)??;
    }
    Ok(())
}

/// Tells the service to delete the parts that were already uploaded. Ignores an error, because a
/// rule of the bucket can delete these parts later.
async fn abort(
    mut parts: Box<dyn MultipartUpload>,
    mut sending: JoinSet<object_store::Result<()>>,
) {
    sending.shutdown().await;
    let _ = parts.abort().await;
}

fn client_options(allow_http: bool) -> ClientOptions {
    let options = ClientOptions::new().with_timeout_disabled().with_read_timeout(READ_WITHIN);
    options.with_allow_http(allow_http)
}

impl Bucket {
    pub(super) fn open(bucket: &str, prefix: &str) -> Result<Self, TargetError> {
        // If this variable is `true`, the service's address may lack TLS, for example because the
        // service is on the same machine.
        let allow_http = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|set| set == "true");
        Self::build(AmazonS3Builder::from_env().with_bucket_name(bucket), prefix, allow_http)
    }

    fn build(
        builder: AmazonS3Builder,
        prefix: &str,
        allow_http: bool,
    ) -> Result<Self, TargetError> {
        let objects = builder.with_client_options(client_options(allow_http)).build()?;
        Ok(Self { objects: objects.into(), prefix: Name::from(prefix) })
    }

    fn name(&self, name: &str) -> Name {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), TargetError> {
        Ok(self.objects.put(&self.name(name), bytes.into()).await.map(drop)?)
    }

    pub(super) async fn put_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let file = File::open(file)?;
        let parts = self.objects.put_multipart(&self.name(name)).await?;
        let mut upload = Upload { parts: Some(parts), sending: JoinSet::new() };
        let sent = upload.send(file).await;
        if let Some(parts) = upload.parts.take() {
            abort(parts, std::mem::take(&mut upload.sending)).await;
        }
        sent
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, TargetError> {
        Ok(self.objects.get(&self.name(name)).await?.bytes().await?)
    }

    /// Copies an object to `file`. The write blocks the thread, which is acceptable because only a
    /// restore calls this function.
    pub(super) async fn get_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let mut parts = self.objects.get(&self.name(name)).await?.into_stream();
        let mut to =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(file)?;
        while let Some(part) = parts.try_next().await? {
            to.write_all(&part)?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), TargetError> {
        Ok(self.objects.delete(&self.name(name)).await?)
    }

    fn listed(&self) -> Option<&Name> {
        (!self.prefix.as_ref().is_empty()).then_some(&self.prefix)
    }

    /// Returns the names of the generations. The service groups the objects by generation, so one
    /// request returns up to 1,000 generations.
    pub(super) async fn generations(&self) -> Result<Vec<String>, TargetError> {
        let found = self.objects.list_with_delimiter(self.listed()).await?;
        let names = found.common_prefixes.iter().filter_map(|path| path.filename());
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, TargetError> {
        let found: Vec<_> = self.objects.list(self.listed()).try_collect().await?;
        let name = |path: &Name| {
            let parts: Vec<_> = path.prefix_match(&self.prefix)?.collect();
            Some(parts.iter().map(|part| part.as_ref()).collect::<Vec<&str>>().join("/"))
        };
        Ok(found.iter().filter_map(|object| name(&object.location)).collect())
    }
}

#[cfg(test)]
mod tests;
