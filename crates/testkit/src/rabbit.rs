//! A private `RabbitMQ` broker, and the messages in its queues.
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use lapin::message::Delivery;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

use crate::keeper::{TestBroker, dial, directory};
use crate::ports::free_ports;
use crate::tool::program;

/// The program that runs the broker. Tests do not use the script of the same name in the `PATH`,
/// because that script would run the broker as another user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A broker whose user `guest`, with password `guest`, has all permissions.
pub struct Rabbit {
    keeper: TestBroker,
    port: u16,
}

impl Rabbit {
    /// Starts a broker on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a broker that also accepts TLS, and returns its TLS port.
    pub fn start_with_tls(key: &Path, certificate: &Path) -> (Self, u16) {
        let [port] = free_ports();
        let rabbit = Self::start_with(&format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.verify = verify_none\n\
             ssl_options.certfile = {}\nssl_options.keyfile = {}\n",
            certificate.display(),
            key.display()
        ));
        let since = Instant::now();
        while dial(port).is_none() {
            assert!(since.elapsed() < Duration::from_secs(60), "the TLS port does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        (rabbit, port)
    }

    fn start_with(lines: &str) -> Self {
        program("rabbitmq-server");
        let [port, names, nodes] = free_ports();
        let dir = directory("rabbit");
        let at = |name: &str| dir.join(name).display().to_string();
        let conf = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlog.file = false\nlog.console = true\nlog.console.level = warning\n\
             disk_free_limit.absolute = 1MB\n{lines}"
        );
        std::fs::write(dir.join("rabbit.conf"), conf).expect("a writable directory");
        std::fs::write(dir.join("plugins"), "[].").expect("a writable directory");
        let environment = [
            ("HOME", at("")),
            // RabbitMQ needs a registry of Erlang nodes. If the broker started the registry, it
            // would outlive the broker. So `keeper` starts a private registry beside the broker.
            ("ERL_EPMD_PORT", names.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODENAME", format!("doorbuster{port}@localhost")),
            ("RABBITMQ_DIST_PORT", nodes.to_string()),
            ("RABBITMQ_MNESIA_BASE", at("mnesia")),
            ("RABBITMQ_LOG_BASE", at("log")),
            ("RABBITMQ_CONFIG_FILE", at("rabbit")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_PID_FILE", at("pid")),
            // Keep crash dumps out of the source tree.
            ("ERL_CRASH_DUMP", at("crash")),
            // With `+sbwt none`, an idle broker takes no processor time from other tests.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none +A 4 -kernel inet_dist_use_interface {127,0,0,1}".into(),
            ),
            // With this setting, the start script replaces its own process with the broker. So a
            // signal to this process ends the broker.
            ("detached", "1".into()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        let keeper = TestBroker::new(
            dir,
            format!("epmd -port {names} -address 127.0.0.1"),
            SERVER.into(),
            environment,
        );
        let mut rabbit = Self { keeper, port };
        rabbit.start_again();
        rabbit
    }

    /// Starts the stopped broker again, on the same port and with its data.
    pub fn start_again(&mut self) {
        let port = self.port;
        let greets = || {
            let mut stream = dial(port)?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").ok()?;
            let mut first = [0];
            stream.read_exact(&mut first).ok()?;
            (first == [1]).then_some(())
        };
        self.keeper.start(|| greets().is_some());
    }

    /// Stops the broker cleanly.
    pub fn stop(&mut self) {
        self.keeper.stop();
    }

    /// Kills the broker, as a power failure would.
    pub fn kill(&mut self) {
        self.keeper.kill();
    }

    /// Returns the broker's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the broker's URL with an exchange.
    pub fn url(&self, exchange: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/?exchange={exchange}", self.port)
    }

    /// Connects to the broker, and opens a channel.
    pub async fn connect(&self) -> (Connection, Channel) {
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port);
        let connection = Connection::connect(&url, ConnectionProperties::default())
            .await
            .expect("the broker listens");
        let channel = connection.create_channel().await.expect("a channel");
        (connection, channel)
    }

    /// Creates a durable queue. The queue gets the exchange's messages that match the routing
    /// pattern `types`, for example `order.*`.
    pub async fn queue(&self, exchange: &str, types: &str) -> Queue {
        let (connection, channel) = self.connect().await;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let none = FieldTable::default;
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none())
            .await
            .expect("an exchange");
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let name = format!("{exchange}.{:08x}", rand::random::<u32>());
        channel.queue_declare(name.as_str().into(), durable, none()).await.expect("a queue");
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(name.as_str().into(), exchange.into(), types.into(), bind, none())
            .await
            .expect("bound");
        Queue { name, _connection: connection, channel }
    }
}

/// A queue that a test reads.
pub struct Queue {
    name: String,
    _connection: Connection,
    channel: Channel,
}

impl Queue {
    /// Takes the next message from the queue. Returns `None` if the queue is empty.
    pub async fn take(&self) -> Option<Delivery> {
        let options = BasicGetOptions { no_ack: true };
        let got = self
            .channel
            .basic_get(self.name.as_str().into(), options)
            .await
            .expect("the queue exists");
        got.map(|got| got.delivery)
    }

    /// Waits up to 60 seconds for the next message.
    pub async fn next(&self) -> Delivery {
        let since = Instant::now();
        loop {
            if let Some(delivery) = self.take().await {
                return delivery;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "no message arrived");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the same queue after a restart of the broker, over a new connection.
    pub async fn again(&self, rabbit: &Rabbit) -> Self {
        let (connection, channel) = rabbit.connect().await;
        Self { name: self.name.clone(), _connection: connection, channel }
    }
}
