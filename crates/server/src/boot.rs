//! Start and stop: settings in, a running server, and every accepted request answered before the
//! end.

mod demo;
mod handles;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::NodeId;
use sd_notify::NotifyState;
use secrecy::ExposeSecret;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::auth::{Buyers, ExpectedClaims, JwksError, Operators};
use crate::clock::Clock;
use crate::config::{BuyerKeys, ProviderSettings, Settings, Shape};
use crate::engine::{Engine, EngineError, EngineOptions, Place};
use crate::secrets::{self, Secrets, SecretsError};
use crate::trace;
use crate::web::{self, App};

/// How long the engine may take to settle what was accepted, once every request is answered.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long purchases and operators' changes may go on whose clients are gone.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// Threads for work that blocks, beside those that serve HTTP: files of keys, name look-ups.
const BLOCKING_THREADS_MAX: usize = 20;

/// Why a server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A secret could be neither read nor made.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The data directory is not there and cannot be made.
    #[error("data_dir: cannot use {}: {error}; name another directory with --data-dir", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        error: io::Error,
    },
    /// The buyers' public keys could not be read.
    #[error("auth.buyer_jwks: {0}")]
    Keys(#[from] JwksError),
    /// The stock side did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address cannot be listened on.
    #[error("listen: cannot serve on {address}: {error}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// Fewer files may be open than a server needs.
    #[error(
        "only {allowed} files may be open, too few for a server: raise the limit (ulimit -n) to \
         {needed} at least"
    )]
    Handles {
        /// As many as may be open.
        allowed: u64,
        /// As many as are needed.
        needed: u64,
    },
    /// The store failed for good while the server ran.
    #[error("the store failed, so the server ended: {0}")]
    Fatal(String),
    /// What was accepted did not settle in time; it is given back at the next start, or settled by
    /// other nodes.
    #[error("what was accepted did not settle within {} s; it is given back at the next start, or settled by other nodes", SETTLE_TIMEOUT.as_secs())]
    Late,
}

/// The event loop of a server, with as many threads as the settings say.
///
/// # Errors
/// When no threads can be had.
pub fn runtime(settings: &Settings) -> io::Result<Runtime> {
    event_loop(settings.workers.get())
}

fn event_loop(workers: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("doorbuster")
        // What another thread wakes (the settler, by the store's writer) is looked for before each
        // task. With more in between, a flood of requests, of which there are always more, keeps it
        // waiting for tens of milliseconds, and the writer has nothing to do meanwhile.
        .global_queue_interval(1)
        .enable_all()
        .build()
}

/// Serves until `asked_to_stop`, or until the store fails for good. Logging is the caller's to
/// begin.
///
/// Ready is told by one line on standard output, `doorbuster listening on http://HOST:PORT`, and to
/// the service manager.
///
/// # Errors Why it did not start, or did not end well.
pub async fn serve(
    settings: Settings,
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let say = |address| {
        // Whoever started the server may have closed its output: then nobody waits for the line.
        let mut out = io::stdout().lock();
        let _ =
            writeln!(out, "doorbuster listening on http://{address}").and_then(|()| out.flush());
    };
    serve_telling(settings, say, asked_to_stop).await
}

/// [`serve`] with something else than the line on standard output to tell that it is ready, and
/// where.
///
/// # Errors The same.
pub async fn serve_telling(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let connections_max = handles::raise(settings.connections_max)?;
    if let Shape::Embedded = &settings.shape {
        let path = settings.data_dir.clone();
        secrets::make_directory(&path).map_err(|error| ServeError::DataDir { path, error })?;
    }
    let secrets = secrets::prepare(&settings).await?;
    let (failed, fatal) = oneshot::channel();
    let engine = Engine::start(options(&settings, &secrets, failed)).await?;
    let parts = Parts { settings: &settings, secrets: &secrets, engine: &engine, connections_max };
    let run = run(parts, ready, asked_to_stop, fatal).await;
    if let Err(ServeError::Fatal(_)) = &run {
        // Nothing may be written any more: what was told is on the disk, the rest is given back at
        // the next start.
        return run;
    }
    tell(&[NotifyState::Stopping]);
    let stopped = tokio::time::timeout(SETTLE_TIMEOUT, engine.stop()).await;
    // Blocks while the collector takes what is left; a program that does not trace returns at once.
    drop(tokio::time::timeout(FINISH_TIMEOUT, tokio::task::spawn_blocking(trace::flush)).await);
    match stopped {
        Ok(()) => run,
        Err(_) => run.and(Err(ServeError::Late)),
    }
}

/// What a server is made of.
#[derive(Clone, Copy)]
struct Parts<'a> {
    settings: &'a Settings,
    secrets: &'a Secrets,
    engine: &'a Arc<Engine>,
    connections_max: usize,
}

/// Everything between a started engine and its end.
async fn run(
    parts: Parts<'_>,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
    fatal: oneshot::Receiver<String>,
) -> Result<(), ServeError> {
    let Parts { settings, secrets, engine, connections_max } = parts;
    let app = app(settings, secrets, engine).await?;
    let at = |error| ServeError::Listen { address: settings.listen, error };
    let listener = web::bind(settings.listen).map_err(at)?;
    let address = listener.address().map_err(at)?;
    app.set_server_address(&format!(
        "http://{}",
        SocketAddr::new(reachable(address.ip()), address.port())
    ));
    announce(parts, address).await?;
    tell(&[NotifyState::Ready]);
    ready(address);
    tracing::info!(%address, workers = settings.workers, "serving");
    let stop = CancellationToken::new();
    let serving = async {
        let served = listener.serve(&app, connections_max, settings.idle, &stop);
        tokio::join!(served, app.run_jobs());
    };
    let mut serving = std::pin::pin!(serving);
    let asked_to_stop = async {
        asked_to_stop.await;
        if !settings.stop_notice.is_zero() {
            tracing::info!(
                for_secs = settings.stop_notice.as_secs(),
                "asked to stop: not ready any more, and served all the same"
            );
            app.mark_not_ready();
            tokio::time::sleep(settings.stop_notice).await;
        }
    };
    let ended = tokio::select! {
        () = serving.as_mut() => Ok(()),
        () = asked_to_stop => Ok(()),
        // The sender lives in the store; it is gone only with it.
        Ok(reason) = fatal => Err(ServeError::Fatal(reason)),
    };
    tracing::info!("stopping: requests in progress are finished");
    app.begin_shutdown();
    stop.cancel();
    // Beside the requests in progress, and not for ever: an operator's change may hold an item
    // while the disk hangs.
    tokio::join!(serving, tokio::time::timeout(FINISH_TIMEOUT, engine.begin_to_stop())).0;
    if ended.is_ok() {
        // Whoever asked to wait longer finds the verdict by the same key after the next start.
        drop(tokio::time::timeout(FINISH_TIMEOUT, app.finish()).await);
    }
    ended
}

fn options(
    settings: &Settings,
    secrets: &Secrets,
    failed: oneshot::Sender<String>,
) -> EngineOptions {
    let failed = Mutex::new(Some(failed));
    EngineOptions {
        place: match &settings.shape {
            Shape::Embedded => Place::Directory(settings.data_dir.clone()),
            Shape::Postgres { store } => Place::Postgres(store.clone()),
            Shape::Cluster { store, slots, wait_replicas } => Place::Cluster {
                store: store.clone(),
                slots: slots.clone(),
                wait_replicas: *wait_replicas,
            },
        },
        roles: settings.roles,
        id_key: secrets.id_key.clone(),
        clock: Clock::default(),
        node: match settings.shape {
            Shape::Embedded => NodeId(1),
            // Another one after each start: what a node's last life left is not this one's.
            Shape::Postgres { .. } | Shape::Cluster { .. } => {
                NodeId(rand::random_range(1..1 << 31))
            }
        },
        bounds: doorbuster_core::slot::SlotBounds::default(),
        leads_regardless: false,
        allow_fsync_off: false,
        on_fatal: Arc::new(move |reason| {
            tracing::error!(reason, "the store failed for good");
            if let Some(failed) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // Nobody listens any more when the server is ending anyway.
                let _ = failed.send(reason.to_owned());
            }
        }),
    }
}

async fn app(
    settings: &Settings,
    secrets: &Secrets,
    engine: &Arc<Engine>,
) -> Result<Arc<App>, ServeError> {
    let expected = ExpectedClaims {
        issuer: settings.auth.issuer.clone(),
        audience: settings.auth.audience.clone(),
    };
    let buyers = match (&secrets.buyer, &settings.auth.buyers) {
        (Some(secret), _) => Buyers::with_secret(secret, expected),
        (None, Some(keys @ (BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)))) => {
            Buyers::with_keys(keys, expected).await?
        }
        (None, _) => unreachable!("without public keys a secret was prepared"),
    };
    let operators = Operators::new(&secrets.admin_key);
    operators.replace_keys(engine.store().keys().await.map_err(EngineError::from)?);
    let guests = settings.demo.then(|| secrets.buyer.clone()).flatten();
    let app = App::new(
        settings,
        engine.clone(),
        buyers,
        operators,
        guests,
        secrets.pass_keys.clone(),
        &secrets.webhook,
    );
    // Whom operators turn away is known before the first request.
    app.load_blocks().await.map_err(EngineError::from)?;
    Ok(app)
}

/// Says where the server is, and in a demonstration what there is to see.
async fn announce(parts: Parts<'_>, address: SocketAddr) -> Result<(), ServeError> {
    let Parts { settings, secrets, engine, .. } = parts;
    let near = SocketAddr::new(seen_from_elsewhere(address.ip()), address.port());
    if !settings.demo && matches!(settings.payment.provider, ProviderSettings::Sandbox) {
        let buttons = settings.payment.sandbox_page;
        tracing::warn!(
            buttons,
            "payment.provider is the sandbox, which moves no money: orders are paid with none"
        );
    }
    if settings.demo {
        let sale = demo::open(engine).await?;
        eprintln!(
            "sale page:      http://{near}/sale/{sale}   opens in {} s",
            demo::OPENS_IN.as_secs()
        );
        eprintln!("all sales:      http://{near}/");
        eprintln!("operator's key: {}", secrets.admin_key.expose_secret());
    } else if secrets.admin_key_is_new {
        eprintln!("operator's key, shown this once: {}", secrets.admin_key.expose_secret());
    }
    Ok(())
}

/// An address that others in the same network can go to, for one that stands for all: the one that
/// this machine would speak to others from. Nothing is sent to find out.
fn seen_from_elsewhere(ip: IpAddr) -> IpAddr {
    // An address that is kept for documents, and so nobody's: whatever is said to it goes the way
    // of everything.
    let own = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        socket.local_addr().ok().map(|own| own.ip())
    };
    if ip.is_unspecified() { own().unwrap_or_else(|| reachable(ip)) } else { ip }
}

/// An address that this machine can go to, for one that stands for all.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Poll;

    use super::*;

    /// As many connections as have something to say at once; more than a worker keeps in its own
    /// queue.
    const BUSY: usize = 512;
    const ASKED: usize = 50;

    #[test]
    fn what_another_thread_wakes_is_heard_in_the_midst_of_a_flood() {
        let polled: &'static AtomicU64 = Box::leak(Box::default());
        let runtime = event_loop(1).expect("a thread");
        for _ in 0..BUSY {
            drop(runtime.spawn(poll_fn(|context| {
                polled.fetch_add(1, Ordering::Relaxed);
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            })));
        }
        let (ask, mut asked) = tokio::sync::mpsc::channel(1);
        let (answer, answers) = std::sync::mpsc::sync_channel(1);
        drop(runtime.spawn(async move {
            while let Some(at) = asked.recv().await {
                let _ = answer.send(polled.load(Ordering::Relaxed) - at);
            }
        }));
        let mut waits: Vec<u64> = std::iter::repeat_with(|| {
            ask.blocking_send(polled.load(Ordering::Relaxed)).expect("it listens");
            answers.recv().expect("it answers")
        })
        .take(ASKED)
        .collect();
        waits.sort_unstable();
        // Turns of others. Where nothing is said of the interval, it waits for 32,000 of them.
        assert!(waits[ASKED / 2] <= 4 * BUSY as u64, "{waits:?}");
        runtime.shutdown_background();
    }
}
