//! A small client of the admin API. It sends one request at a time and describes each refusal in
//! one sentence.

mod problem;

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::ServerArgs;
use crate::exit::{Failure, Outcome};
use crate::print;

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: a pause or a close waits for what is in flight.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a download may take.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Longest answer that is read: more than the largest page; a longer one is none.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Talks to one server as one operator.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    key: String,
    json: bool,
}

/// What asking came to.
pub type ApiResult = Result<ApiResponse, Refused>;

/// An answer that is no refusal.
pub struct ApiResponse {
    /// Its body, byte for byte.
    pub text: String,
}

impl ApiResponse {
    /// The body, understood.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_str(&self.text)
            .context("cannot read the server's answer; use the server's version of this program")?)
    }
}

/// Runs one conversation with a server to its end.
pub fn block_on<T>(conversation: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start an event loop")?.block_on(conversation)
}

/// Why there is no such answer.
pub enum Refused {
    /// The server said no.
    Problem(problem::Problem),
    /// No answer came, or one that is not understood; the request may have taken effect.
    Transport(anyhow::Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Problem(problem) => Self::Refused(problem.sentence()),
            Refused::Transport(error) => Self::Refused(format!("{error:#}")),
        }
    }
}

/// Whether it is unknown, or may yet be, that the server did what it was asked.
pub fn may_have_been_done(asked: &ApiResult) -> bool {
    match asked {
        Ok(_) => false,
        Err(Refused::Problem(problem)) => problem.retryable,
        Err(Refused::Transport(_)) => true,
    }
}

/// Where a request goes, from the parts of its path, so that each part is escaped.
pub struct Path<'a>(pub &'a [&'a str], pub &'a [(&'a str, &'a str)]);

impl<'a> Path<'a> {
    /// A path without a query.
    pub fn new(parts: &'a [&'a str]) -> Self {
        Self(parts, &[])
    }
}

impl Client {
    /// A client for the server and the key that the command line or the environment names.
    pub fn new(server: &ServerArgs) -> Result<Self, Failure> {
        let key = server.key.clone().filter(|key| !key.is_empty()).ok_or_else(|| {
            let text = "the operators' key is missing: give --key, or set DOORBUSTER_ADMIN_KEY";
            Failure::Settings(text.into())
        })?;
        Ok(Self { json: server.json, ..Self::with(server.url.clone(), key)? })
    }

    /// A client for this server, with this key.
    pub fn with(url: Url, key: String) -> Result<Self, Failure> {
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(Failure::Settings(format!(
                "{url} is not an address like http://127.0.0.1:8080"
            )));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("doorbuster/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // Without this the system's certificates are read, and must exist, though none is asked
            // for.
            http = http.tls_certs_only([]);
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost"
            || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        {
            http = http.no_proxy();
        }
        let http = http.build().context("cannot set up HTTP")?;
        Ok(Self { http, url, key, json: false })
    }

    /// Reads something.
    pub async fn get(&self, path: Path<'_>) -> ApiResult {
        self.send(self.request(Method::GET, &path)).await
    }

    /// Reads something long, piece by piece, and hands each piece on until `take` says that it
    /// wants no more. One that breaks off is a failure.
    pub async fn download(
        &self,
        path: Path<'_>,
        take: &mut dyn FnMut(&[u8]) -> anyhow::Result<bool>,
    ) -> Result<(), Failure> {
        let request = self.request(Method::GET, &path).timeout(DOWNLOAD_TIMEOUT);
        let mut answer =
            request.send().await.map_err(|error| self.transport_error(error, DOWNLOAD_TIMEOUT))?;
        if !answer.status().is_success() {
            return Err(self
                .read_body(answer)
                .await
                .err()
                .map_or(Failure::AlreadyReported, Into::into));
        }
        while let Some(piece) =
            answer.chunk().await.map_err(|error| self.transport_error(error, DOWNLOAD_TIMEOUT))?
        {
            if !take(&piece)? {
                break;
            }
        }
        Ok(())
    }

    /// Does something that needs no words.
    pub async fn post(&self, path: Path<'_>) -> ApiResult {
        self.send(self.request(Method::POST, &path)).await
    }

    /// Deletes something.
    pub async fn delete(&self, path: Path<'_>) -> ApiResult {
        self.send(self.request(Method::DELETE, &path)).await
    }

    /// Changes something by a JSON merge patch.
    pub async fn patch_json(&self, path: Path<'_>, patch: &impl Serialize) -> ApiResult {
        self.send(self.request(Method::PATCH, &path).json(patch)).await
    }

    /// Sends a JSON value.
    pub async fn post_json(&self, path: Path<'_>, body: &impl Serialize) -> ApiResult {
        self.send(self.request(Method::POST, &path).json(body)).await
    }

    /// Sends a JSON value under a key, so that sending it again does it once.
    pub async fn post_with_key(
        &self,
        path: Path<'_>,
        key: &str,
        body: &impl Serialize,
    ) -> ApiResult {
        self.send(self.request(Method::POST, &path).header("idempotency-key", key).json(body)).await
    }

    /// Prints the result: the server's own JSON, or the text that `human` makes of it.
    pub fn print_result<T: DeserializeOwned>(
        &self,
        asked: ApiResult,
        human: impl FnOnce(&T) -> String,
    ) -> Outcome {
        match asked {
            Ok(answer) if self.json => print::line(answer.text.trim_end()),
            Ok(answer) => print::text(&human(&answer.read()?)),
            Err(Refused::Problem(problem)) if self.json => {
                print::line(problem.text.trim_end())?;
                Err(Failure::AlreadyReported)
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Whether the server's own JSON is wanted.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    fn request(&self, method: Method, path: &Path<'_>) -> reqwest::RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.0);
        }
        if !path.1.is_empty() {
            url.query_pairs_mut().extend_pairs(path.1);
        }
        self.http.request(method, url).bearer_auth(&self.key)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> ApiResult {
        let answer =
            request.send().await.map_err(|error| self.transport_error(error, ANSWER_TIMEOUT))?;
        self.read_body(answer).await
    }

    /// Reads an answer to its end.
    async fn read_body(&self, mut answer: reqwest::Response) -> ApiResult {
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| self.transport_error(error, ANSWER_TIMEOUT))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Refused::Transport(anyhow!(
                    "the answer of {} is larger than this program accepts",
                    self.url
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        match String::from_utf8(bytes) {
            Ok(text) if status.is_success() => Ok(ApiResponse { text }),
            text => Err(match text.ok().as_deref().and_then(problem::Problem::read) {
                Some(problem) => Refused::Problem(problem),
                None => Refused::Transport(anyhow!(
                    "{} answered {status} in a format that is not a Doorbuster server's; check \
                     --url",
                    self.url
                )),
            }),
        }
    }

    fn transport_error(&self, error: reqwest::Error, limit: Duration) -> Refused {
        let url = self.url.as_str().trim_end_matches('/');
        if error.is_connect() {
            let error = anyhow!(
                "nothing answers at {url} ({}); is the server running there?",
                innermost_cause(&error)
            );
            return Refused::Transport(error);
        }
        if error.is_timeout() {
            return Refused::Transport(anyhow!(
                "{url} did not answer within {} s",
                limit.as_secs()
            ));
        }
        Refused::Transport(anyhow!("the connection to {url} broke: {}", innermost_cause(&error)))
    }
}

/// The innermost reason: what the system said.
fn innermost_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
