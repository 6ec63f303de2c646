//! Publishes messages with AMQP 0-9-1, as `RabbitMQ` implements it: to a durable topic exchange, as
//! persistent messages, with publisher confirms.
//!
//! * The routing key is the message's type, so consumers can bind queues to types such as
//!   `order.*`.
//! * A message is published when the broker has confirmed it.
//! * If no queue receives a message, the broker first returns the message to the publisher, and
//!   then confirms the message. This crate reports such a message as refused.
//! * The client library assumes that a returned message belongs to the channel's next confirm. So
//!   each channel has at most one unconfirmed message.
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, BasicProperties, Channel, Confirmation, ConnectionProperties, ErrorKind,
    ExchangeKind, runtime,
};
use tokio::time::Instant;

use crate::connection::{BrokerConnection, PublishError, SharedConnection};
use crate::{Address, Error, Message};

/// The delivery mode of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// Seconds between heartbeats. If two heartbeats of the broker are missing, the connection counts
/// as broken.
const HEARTBEAT_SECS: u16 = 20;
/// The header with the message's key, for receivers that do not read the body, such as a
/// consistent-hash exchange.
const KEY_HEADER: &str = "partitionkey";

pub(crate) struct Amqp {
    address: Address,
    connect_timeout: Duration,
    kept: SharedConnection<Connection>,
}

struct Connection {
    connection: lapin::Connection,
    socket: Socket,
    free: Mutex<Vec<Channel>>,
}

/// The socket of a connection. Shutting down the socket ends the connection at once. A close by the
/// protocol would have to wait for the broker's answer.
#[derive(Clone, Default)]
struct Socket(Arc<OnceLock<TcpStream>>);

impl Socket {
    fn shut_down(&self) {
        if let Some(socket) = self.0.get() {
            // If the call fails, the socket is already closed.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Closes a connection that is still being opened, if the future that opens it is dropped.
struct ConnectGuard(Option<Socket>);

impl Drop for ConnectGuard {
    fn drop(&mut self) {
        if let Some(socket) = self.0.take() {
            socket.shut_down();
        }
    }
}

impl BrokerConnection for Connection {
    fn is_closed(&self) -> bool {
        !self.connection.status().connected()
    }

    fn shut_down(&self) {
        self.socket.shut_down();
    }
}

impl Connection {
    async fn channel(&self) -> lapin::Result<Channel> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(channel) = free {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    fn return_channel(&self, channel: Channel) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }
}

impl Amqp {
    pub(crate) fn new(address: &Address, connect_timeout: Duration) -> Self {
        Self { address: address.clone(), connect_timeout, kept: SharedConnection::new() }
    }

    pub(crate) async fn publish(&self, message: &Message, within: Duration) -> Result<(), Error> {
        let until = Instant::now() + within;
        let connection = self.kept.get(self.connect_timeout, self.connect()).await?;
        self.kept.run_on(connection.clone(), until, self.send(&connection, message)).await
    }

    async fn send(&self, connection: &Connection, message: &Message) -> Result<(), PublishError> {
        let doubt = |error: lapin::Error| PublishError::Unknown(self.describe_error(&error));
        let channel = connection.channel().await.map_err(doubt)?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let (exchange, what) = (self.address.name(), message.what.as_str());
        let sending = channel.basic_publish(
            exchange.into(),
            what.into(),
            options,
            &message.body,
            properties(message),
        );
        let confirmed = sending.await.map_err(doubt)?.await.map_err(doubt)?;
        connection.return_channel(channel);
        match confirmed {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(PublishError::Refused(Error::new(format!(
                    "no queue received the message: bind a queue to the exchange {exchange} for \
                     {what}"
                ))))
            }
            Confirmation::Nack(None) => {
                Err(PublishError::Refused(Error::new("the broker rejected the message")))
            }
            Confirmation::NotRequested => {
                Err(PublishError::Unknown(Error::new("the broker does not confirm messages")))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let socket = Socket::default();
        let mut unfinished = ConnectGuard(Some(socket.clone()));
        let made = self
            .open_connection(socket.clone())
            .await
            .map_err(|error| self.describe_error(&error))?;
        unfinished.0 = None;
        Ok(made)
    }

    async fn open_connection(&self, socket: Socket) -> lapin::Result<Connection> {
        let (found, within) = (socket.clone(), self.connect_timeout);
        let connection = lapin::Connection::connector(
            self.uri(),
            runtime::default_runtime()?,
            async move |uri, runtime| {
                let (host, is_tls) = (uri.authority.host.clone(), uri.scheme == AMQPScheme::AMQPS);
                let connecting = async {
                    let at: Vec<_> = tokio::net::lookup_host((host.as_str(), uri.authority.port))
                        .await?
                        .collect();
                    let stream = AsyncTcpStream::connect(&runtime, at).await?;
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        let plain = plain.get_ref();
                        plain.set_nodelay(true)?;
                        // This cell is still empty, so `set` cannot fail: each connection has its
                        // own cell, and connects only once.
                        let _ = found.0.set(TcpStream::from(plain.as_fd().try_clone_to_owned()?));
                    }
                    match is_tls {
                        true => stream.into_tls(&host, OwnedTLSConfig::default().as_ref()).await,
                        false => Ok(stream),
                    }
                };
                let made = tokio::time::timeout(within, connecting).await;
                Ok(made.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?)
            },
            ConnectionProperties::default().with_connection_name("doorbuster".into()),
        )
        .await?;
        let made = Connection { connection, socket, free: Mutex::new(Vec::new()) };
        let channel = made.channel().await?;
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = self.address.name();
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default())
            .await?;
        made.return_channel(channel);
        Ok(made)
    }

    fn uri(&self) -> AMQPUri {
        let address = &self.address;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        AMQPUri {
            scheme: if address.is_tls() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: text(address.user()),
                    password: text(address.password()),
                },
                host: address.host().to_owned(),
                port: address.port(),
            },
            vhost: address.virtual_host().to_owned(),
            query: AMQPQueryString {
                heartbeat: Some(HEARTBEAT_SECS),
                ..AMQPQueryString::default()
            },
        }
    }

    /// Returns the error in this crate's words, without the broker's text, which may contain
    /// secrets.
    fn describe_error(&self, error: &lapin::Error) -> Error {
        let exchange = self.address.name();
        Error::new(match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    "the broker refused the login or access; check password and permissions"
                        .to_owned()
                }
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                    format!("the exchange {exchange} is not a durable topic exchange")
                }
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
                    format!("the exchange {exchange} no longer exists")
                }
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                    "the virtual host does not exist, or this user has no access to it".to_owned()
                }
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => {
                    "the broker closed the connection".to_owned()
                }
                _ => format!("the broker refused with AMQP error {}", error.get_id()),
            },
            ErrorKind::IOError(error) => format!("no connection: {}", error.kind()),
            ErrorKind::MissingHeartbeatError => "the broker sent no heartbeat".to_owned(),
            _ => "the connection broke".to_owned(),
        })
    }
}

fn properties(message: &Message) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(KEY_HEADER.into(), AMQPValue::LongString(message.key.as_str().into()));
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(message.content_type.into())
        .with_message_id(message.id.as_str().into())
        .with_type(message.what.as_str().into())
        .with_timestamp(message.at_secs)
        .with_app_id("doorbuster".into())
        .with_headers(headers)
}
