//! Logs and prints what the operator must know at a start.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use doorbuster_config::{LogFormat, ProviderSettings, Settings};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::node::Node;
use doorbuster_engine::sales::SaleControl;
use doorbuster_secrets::{self as secrets, Secrets};
use doorbuster_telemetry::trace;
use secrecy::ExposeSecret;

use super::demo;
use super::error::ServeError;
use super::parts::StartContext;

/// Logs and prints what the operator must know. In a demonstration, creates and schedules the
/// sample sale.
pub(super) async fn announce(
    context: StartContext<'_>,
    sales: &SaleControl,
    address: SocketAddr,
) -> Result<(), ServeError> {
    let StartContext { settings, secrets, node } = context;
    trace::announce();
    if node.edge().is_some() {
        return Ok(());
    }
    let near = SocketAddr::new(lan_address(address.ip()), address.port());
    if !settings.demo && matches!(settings.payment.provider, ProviderSettings::Sandbox) {
        let buttons = settings.payment.sandbox_page;
        tracing::warn!(
            buttons,
            event = "payment.sandbox",
            "payment.provider is the sandbox, which moves no money; orders are marked paid without \
             payment"
        );
    }
    warn_of_restore(node).await?;
    if settings.demo {
        let sale = demo::open(node, sales).await?;
        eprintln!(
            "sale page:      http://{near}/sale/{sale}   opens in {} s",
            demo::OPENS_IN.as_secs()
        );
        eprintln!("all sales:      http://{near}/");
        // With JSON logs, standard error may go to a log collector, which must not get the key.
        if settings.log.format == LogFormat::Text || std::io::stderr().is_terminal() {
            eprintln!("operator's key: {}", secrets.admin_key.expose_secret());
        } else if settings.auth.admin_key.is_none() {
            eprintln!("operator's key: in {}", settings.data_dir.join("admin_key").display());
        }
    }
    Ok(())
}

/// Writes a generated operators' key to its file. If the key is new, logs the path of this file.
/// The key itself appears only on a terminal, never in the log.
pub(crate) fn announce_key(settings: &Settings, secrets: &Secrets) {
    let (dir, path) = (&settings.data_dir, settings.data_dir.join("admin_key"));
    // The file of an old key can be missing: another node may have created the key, or an earlier
    // start may have failed.
    let is_file_missing =
        settings.auth.admin_key.is_none() && !dir.as_os_str().is_empty() && !path.exists();
    let is_new = secrets.admin_key_is_new;
    if !(is_new || is_file_missing) {
        return;
    }
    // In a demonstration, `announce` prints the key, or the path of its file. So no log line is
    // needed.
    let is_shown = is_new && !settings.demo;
    match secrets::keep_admin_key(settings, &secrets.admin_key) {
        Ok(()) if !is_shown => {}
        Ok(()) => tracing::info!(
            path = %path.display(),
            event = "key.generated",
            "generated the operators' key; only the user of this process can read the key's file"
        ),
        Err(error) => tracing::warn!(
            path = %path.display(),
            %error,
            event = "key.unwritten",
            "failed to write the generated operators' key to a file; set auth.admin_key"
        ),
    }
    if is_shown && std::io::stderr().is_terminal() {
        eprintln!(
            "operators' key, which is not shown again: {}",
            secrets.admin_key.expose_secret()
        );
    }
}

async fn warn_of_restore(node: &Node) -> Result<(), EngineError> {
    let catalogue = node.catalogue();
    let is_paused = |id: &str| {
        catalogue.sale(id).is_some_and(|sale| sale.row.phase == doorbuster_core::Phase::Paused)
    };
    for row in node.store().store_history().await? {
        let Some(backup_at) = row.backup_at else { continue };
        let sales: Vec<&str> =
            row.paused.iter().map(|sale| sale.sale.as_str()).filter(|id| is_paused(id)).collect();
        if !sales.is_empty() {
            tracing::warn!(
                backup_at = %time_text(backup_at),
                restored_at = %time_text(row.at),
                sales = sales.join(" "),
                event = "store.restored",
                "the store was restored from a backup; orders, payments and events after the \
                 backup are missing, and these sales are paused; run doorbuster csv orders and \
                 doorbuster csv payments, compare their output with the payment provider and the \
                 shop's records, then resume the sales; see docs/how-to/back-up-and-restore.md"
            );
        }
    }
    Ok(())
}

fn time_text(at: doorbuster_core::Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

/// Replaces an unspecified address, such as `0.0.0.0`, by the address of this machine in its
/// network. Sends no packet.
fn lan_address(ip: IpAddr) -> IpAddr {
    // The system tells which of this machine's addresses it would use to reach 192.0.2.1, an
    // address reserved for documentation.
    let own = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        socket.local_addr().ok().map(|own| own.ip())
    };
    if ip.is_unspecified() { own().unwrap_or_else(|| local_address(ip)) } else { ip }
}

/// Replaces an unspecified address, such as `0.0.0.0`, by the loopback address of this machine.
pub(super) fn local_address(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
