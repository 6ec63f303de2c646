//! A small client of the admin API. It sends one request at a time and describes each refusal in
//! one sentence.

mod problem;

use std::time::Duration;

use anyhow::{Context, anyhow};
use doorbuster_base::outgoing::is_this_machine;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::ServerArgs;
use crate::exit::{Failure, Outcome};
use crate::print;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pausing or closing a sale can take long: the server first waits until tickets are settled.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3_600);
/// The largest response body that this client reads, in bytes. A page of 200 sales fits if each
/// sale is at most as large as the largest request body. Later changes can make a sale larger than
/// that, so the command `status` reads smaller pages.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const _: () = assert!(200 * doorbuster_api::limits::ADMIN_BODY_BYTES_MAX < ANSWER_BYTES_MAX);

/// A connection to one server with one operator's key.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    key: String,
    json: bool,
}

/// The result of a request.
pub type ApiResult = Result<ApiResponse, ClientError>;

/// A successful answer.
pub struct ApiResponse {
    /// The body, unchanged.
    pub text: String,
}

impl ApiResponse {
    /// Parses the body.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        Ok(serde_json::from_str(&self.text).context(
            "cannot read the server's answer; the server and this program must have the same \
                 version",
        )?)
    }
}

/// Runs a future on a new runtime until the future completes, and returns its result.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start an event loop")?.block_on(future)
}

/// Why there is no successful answer.
pub enum ClientError {
    /// The server refused the request.
    Problem(problem::Problem),
    /// No valid answer arrived, but the server may have executed the request.
    Transport(anyhow::Error),
    /// The path cannot be written in a URL. No request was sent.
    Path(InvalidPart),
    /// The request is not valid HTTP. No request was sent.
    NotSent(anyhow::Error),
}

/// A part that the path of a URL cannot contain: an empty part, `.` or `..`.
pub struct InvalidPart(String);

impl From<InvalidPart> for ClientError {
    fn from(part: InvalidPart) -> Self {
        Self::Path(part)
    }
}

impl ClientError {
    /// Returns the reason as a text for people.
    pub fn detail(&self) -> String {
        match self {
            Self::Problem(problem) => problem.sentence(),
            Self::Transport(error) | Self::NotSent(error) => format!("{error:#}"),
            Self::Path(InvalidPart(part)) => format!("{part:?} is not a valid id"),
        }
    }

    /// Returns the code of the problem document. Returns `None` if the server sent no problem
    /// document.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            Self::Transport(_) | Self::Path(_) | Self::NotSent(_) => None,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(refused: ClientError) -> Self {
        match refused {
            ClientError::Problem(problem) if problem.wants_json => Self::Problem(problem.text),
            wrong @ ClientError::Path(_) => Self::Settings(wrong.detail()),
            other => Self::Refused(other.detail()),
        }
    }
}

/// Returns true if the request failed, but the server may have executed the request.
pub fn may_have_been_done(result: &ApiResult) -> bool {
    match result {
        Ok(_) | Err(ClientError::Path(_) | ClientError::NotSent(_)) => false,
        Err(ClientError::Problem(problem)) => problem.retryable,
        Err(ClientError::Transport(_)) => true,
    }
}

/// The path and the query of a request. The path is in parts, so that each part can be escaped.
pub struct Path<'a> {
    prefix: &'static [&'static str],
    parts: &'a [&'a str],
    query: Vec<(&'static str, String)>,
}

impl<'a> Path<'a> {
    /// Creates a path without a query.
    pub fn new(parts: &'a [&'a str]) -> Self {
        Self { prefix: &[], parts, query: Vec::new() }
    }

    /// Creates a path of the admin API, without a query.
    pub fn admin(parts: &'a [&'a str]) -> Self {
        Self { prefix: &["v1", "admin"], ..Self::new(parts) }
    }

    /// Adds a parameter to the query, if there is a value.
    pub fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }
}

impl Client {
    /// Creates a client for the server and the key from the command line or the environment.
    pub fn new(server: &ServerArgs) -> Result<Self, Failure> {
        let key = server.key.clone().filter(|key| !key.is_empty()).ok_or_else(|| {
            let text = "the operators' key is missing: give --key, or set DOORBUSTER_ADMIN_KEY";
            Failure::Settings(text.into())
        })?;
        Ok(Self { json: server.json, ..Self::with(server.url.parse()?, key)? })
    }

    /// Creates a client for this server, with this key. Error texts contain the address, so the
    /// address must not contain a password.
    pub fn with(url: Url, key: String) -> Result<Self, Failure> {
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(Failure::Settings(format!(
                "{url} is not an address like http://127.0.0.1:8080"
            )));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = "the key of --key or DOORBUSTER_ADMIN_KEY has a space, a line end or \
                        another invalid character; correct the key";
            return Err(Failure::Settings(text.into()));
        }
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("doorbuster/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // Without this call, reqwest reads the system's certificates even for plain HTTP, and
            // fails if the system has none.
            http = http.tls_certs_only([]);
        }
        if is_this_machine(&url) {
            http = http.no_proxy();
        }
        let http = http.build().context("cannot create the HTTP client")?;
        Ok(Self { http, url, key, json: false })
    }

    /// Sends a GET request.
    pub async fn get(&self, path: Path<'_>) -> ApiResult {
        self.send(self.request(Method::GET, &path)?).await
    }

    /// Sends a GET request and passes each piece of the body to `take` until `take` returns false.
    /// A body that ends too early is an error.
    pub async fn download(
        &self,
        path: Path<'_>,
        take: &mut dyn FnMut(&[u8]) -> anyhow::Result<bool>,
    ) -> Result<(), Failure> {
        let request = self.request(Method::GET, &path).map_err(ClientError::from)?;
        let request = request.timeout(DOWNLOAD_TIMEOUT);
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

    /// Sends a POST request without a body.
    pub async fn post(&self, path: Path<'_>) -> ApiResult {
        self.send(self.request(Method::POST, &path)?).await
    }

    /// Sends a DELETE request.
    pub async fn delete(&self, path: Path<'_>) -> ApiResult {
        self.send(self.request(Method::DELETE, &path)?).await
    }

    /// Sends a PATCH request with a JSON merge patch.
    pub async fn patch_json(&self, path: Path<'_>, patch: &impl Serialize) -> ApiResult {
        self.send(self.request(Method::PATCH, &path)?.json(patch)).await
    }

    /// Sends a PUT request with a JSON body.
    pub async fn put_json(&self, path: Path<'_>, body: &impl Serialize) -> ApiResult {
        self.send(self.request(Method::PUT, &path)?.json(body)).await
    }

    /// Sends a POST request with a JSON body.
    pub async fn post_json(&self, path: Path<'_>, body: &impl Serialize) -> ApiResult {
        self.send(self.request(Method::POST, &path)?.json(body)).await
    }

    /// Sends a POST request with a JSON body and an idempotency key, so that a repetition has no
    /// further effect.
    pub async fn post_with_key(
        &self,
        path: Path<'_>,
        key: &str,
        body: &impl Serialize,
    ) -> ApiResult {
        self.send(self.request(Method::POST, &path)?.header("idempotency-key", key).json(body))
            .await
    }

    /// Sends a POST request with these headers. The body is the text of a JSON document.
    pub async fn post_with_headers(
        &self,
        path: Path<'_>,
        headers: [(&'static str, String); 3],
        body: String,
    ) -> ApiResult {
        let mut request =
            self.request(Method::POST, &path)?.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(body)).await
    }

    /// Prints the result. With `--json`, prints the server's JSON. Without `--json`, prints the
    /// text that `human` makes from the result.
    pub fn print_result<T: DeserializeOwned>(
        &self,
        result: ApiResult,
        human: impl FnOnce(&T) -> String,
    ) -> Outcome {
        match result {
            Ok(answer) if self.json => print::line(answer.text.trim_end()),
            Ok(answer) => print::text(&human(&answer.read()?)),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Prints this text after a change for which the server sends no result. With `--json`, prints
    /// an empty object.
    pub fn print_done(&self, text: &str) -> Outcome {
        print::line(if self.json { "{}" } else { text })
    }

    /// Returns true if the command prints the server's JSON.
    pub fn wants_json(&self) -> bool {
        self.json
    }

    fn request(
        &self,
        method: Method,
        path: &Path<'_>,
    ) -> Result<reqwest::RequestBuilder, InvalidPart> {
        // With one of these parts, the request could go to another path than the caller intends.
        if let Some(part) = path.parts.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(InvalidPart((*part).to_owned()));
        }
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.prefix).extend(path.parts);
        }
        if !path.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&path.query);
        }
        Ok(self.http.request(method, url).bearer_auth(&self.key))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> ApiResult {
        let answer =
            request.send().await.map_err(|error| self.transport_error(error, ANSWER_TIMEOUT))?;
        self.read_body(answer).await
    }

    async fn read_body(&self, mut answer: reqwest::Response) -> ApiResult {
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) =
            answer.chunk().await.map_err(|error| self.transport_error(error, ANSWER_TIMEOUT))?
        {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::Transport(anyhow!(
                    "the answer of {} is larger than this program accepts",
                    self.url
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        match String::from_utf8(bytes) {
            Ok(text) if status.is_success() => Ok(ApiResponse { text }),
            text => Err(match text.ok().as_deref().and_then(problem::Problem::read) {
                Some(problem) => {
                    ClientError::Problem(problem::Problem { wants_json: self.json, ..problem })
                }
                None => ClientError::Transport(anyhow!(
                    "{} answered {status} in a format that Doorbuster does not use; check --url",
                    self.url
                )),
            }),
        }
    }

    fn transport_error(&self, error: reqwest::Error, limit: Duration) -> ClientError {
        if error.is_builder() {
            let cause = innermost_cause(&error);
            return ClientError::NotSent(anyhow!("the request cannot be sent: {cause}"));
        }
        let url = self.url.as_str().trim_end_matches('/');
        // rustls reports this error if the server answers in plain HTTP.
        if self.url.scheme() == "https" && innermost_cause(&error).contains("InvalidContentType") {
            let plain = url.replacen("https:", "http:", 1);
            return ClientError::Transport(anyhow!(
                "the server at {url} does not use TLS; write {plain}, or the address of the proxy \
                 that has the certificate"
            ));
        }
        if error.is_connect() {
            let error = anyhow!(
                "nothing answers at {url} ({}); is the server running there?",
                innermost_cause(&error)
            );
            return ClientError::Transport(error);
        }
        if error.is_timeout() {
            return ClientError::Transport(anyhow!(
                "{url} did not answer within {} s",
                limit.as_secs()
            ));
        }
        ClientError::Transport(anyhow!(
            "the connection to {url} broke: {}",
            innermost_cause(&error)
        ))
    }
}

/// If the network failed, the innermost cause is the operating system's message.
fn innermost_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
