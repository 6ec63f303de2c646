//! Publishes messages with NATS `JetStream`. A message goes to the subject `PREFIX.TYPE`, and the
//! stream that stores this subject confirms the message.
//!
//! An operator creates the stream. The stream drops a repeated message with the same id, if the
//! message arrives within the stream's duplicate window.
use std::error::Error as _;
use std::io;
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Request, RequestErrorKind,
    ServerAddr,
};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::{BrokerConnection, PublishError, SharedConnection};
use crate::{Address, Error, Message};

/// The header with which a stream detects a repeated message.
const MESSAGE_ID_HEADER: &str = "Nats-Msg-Id";
/// The header with the message's key, for consumers that do not read the body.
const KEY_HEADER: &str = "ce-partitionkey";

pub(crate) struct Nats {
    address: Address,
    connect_timeout: Duration,
    kept: SharedConnection<Connection>,
}

/// A connection to NATS. After the connection breaks, this module does not use it again, although
/// the client library reconnects once by itself. The reason: after the reconnect, nobody knows
/// whether the broker has the unconfirmed messages.
struct Connection {
    client: Client,
    over: watch::Receiver<bool>,
}

impl BrokerConnection for Connection {
    fn is_closed(&self) -> bool {
        *self.over.borrow()
    }

    fn shut_down(&self) {
        // Nothing to do: the client library closes the connection when the last handle of the
        // client is dropped. Before that, the library may send a message again, but the stream
        // detects the repeated id.
    }
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
}

impl Nats {
    pub(crate) fn new(address: &Address, connect_timeout: Duration) -> Self {
        Self { address: address.clone(), connect_timeout, kept: SharedConnection::new() }
    }

    pub(crate) async fn publish(&self, message: &Message, within: Duration) -> Result<(), Error> {
        let until = Instant::now() + within;
        let connection = self.kept.get(self.connect_timeout, self.connect()).await?;
        let mut over = connection.over.clone();
        let work = async {
            tokio::select! {
                answer = self.send(&connection.client, message) => answer,
                _ = over.wait_for(|over| *over) => Err(PublishError::Unknown(Error::new("the connection broke"))),
            }
        };
        self.kept.run_on(connection.clone(), until, work).await
    }

    async fn send(&self, client: &Client, message: &Message) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID_HEADER, message.id.as_str());
        headers.insert("Content-Type", message.content_type);
        headers.insert(KEY_HEADER, header_value(&message.key).as_str());
        let request = Request::new().headers(headers).payload(message.body.clone()).timeout(None);
        let subject = format!("{}.{}", self.address.name(), message.what);
        let answer =
            client.send_request(subject, request).await.map_err(|error| match error.kind() {
                RequestErrorKind::NoResponders => {
                    let name = self.address.name();
                    PublishError::Refused(Error::new(format!(
                        "no stream has the subject: create a stream for {name}.>"
                    )))
                }
                RequestErrorKind::MaxPayloadExceeded => PublishError::Refused(Error::new(
                    "the message is larger than the broker's max_payload: raise max_payload",
                )),
                _ => PublishError::Unknown(Error::new("the connection broke")),
            })?;
        let ack: Ack = serde_json::from_slice(&answer.payload).map_err(|_| {
            PublishError::Refused(Error::new("the answer did not come from a stream"))
        })?;
        match ack.error {
            Some(AckError { code, err_code }) => Err(PublishError::Refused(Error::new(format!(
                "the stream refused the message with code {code}, error {err_code}"
            )))),
            None if ack.stream.is_empty() || ack.seq == 0 => {
                Err(PublishError::Refused(Error::new("the answer did not come from a stream")))
            }
            None => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let (closed, over) = watch::channel(false);
        let mut options = ConnectOptions::new()
            .name("doorbuster")
            .connection_timeout(self.connect_timeout)
            .require_tls(self.address.is_tls())
            // 1 is the lowest possible limit, because 0 means no limit. So the library may
            // reconnect once.
            .max_reconnects(1)
            // Connect only to the allowed address, and not to other servers that the broker names.
            .ignore_discovered_servers()
            .event_callback(move |event| {
                if matches!(event, Event::Disconnected | Event::Closed) {
                    closed.send_replace(true);
                }
                async {}
            });
        options = match (self.address.user(), self.address.password()) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.to_owned(), password.to_owned())
            }
            (Some(token), None) => options.token(token.to_owned()),
            (None, _) => options,
        };
        let host = self.address.host();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let at: ServerAddr = format!("nats://{host}:{}", self.address.port())
            .parse()
            .map_err(|_| Error::new("no connection: the address is invalid"))?;
        let client = options.connect(at).await.map_err(|error| describe_error(&error))?;
        Ok(Connection { client, over })
    }
}

/// Describes the error without any text from the broker.
fn describe_error(error: &async_nats::ConnectError) -> Error {
    let mut cause = error.source();
    let why = std::iter::from_fn(|| {
        let at = cause?;
        cause = at.source();
        Some(at)
    });
    let io = why.filter_map(|why| why.downcast_ref::<io::Error>()).last().map(io::Error::kind);
    Error::new(match (error.kind(), io) {
        (ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation, _) => {
            "the broker refused the login: check the user name and the password, or the token"
                .to_owned()
        }
        (ConnectErrorKind::TimedOut, _) => "no connection in time".to_owned(),
        (ConnectErrorKind::Dns, _) => "no connection: the host name is unknown".to_owned(),
        (ConnectErrorKind::Tls, _) => {
            "no connection: TLS failed; check which certificates this machine trusts".to_owned()
        }
        (_, Some(kind)) => format!("no connection: {kind}"),
        (_, None) => "no connection".to_owned(),
    })
}

/// Replaces control characters by blanks, because a header's value must be one line.
fn header_value(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
