//! Leases: each node's own, and that of the one that does the work of one for all. Runs a few times
//! a lease.
//!
//! The leader closes the grants of nodes whose lease lapsed, so that others sell their units.
//! Leases save work; safety rests on the store's rows: a node that went on without its lease has
//! its tickets returned.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::{CloseCause, lease};
use tokio::time::Instant;

use crate::config::Roles;
use crate::engine::{Engine, EngineError};

/// How long a node that says nothing counts as alive.
pub(crate) const LEASE_MS: i64 = 3_000;
/// Between two beats.
const EVERY: Duration = Duration::from_millis(500);

/// Beats until the program stops.
pub(super) async fn run(engine: Arc<Engine>, roles: Roles) {
    if engine.layout().is_alone() {
        return std::future::pending().await;
    }
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        let asked = Instant::now();
        match lead_now(&engine, roles).await {
            Ok(()) => {
                if asked.duration_since(last) > Duration::from_millis(LEASE_MS.unsigned_abs()) {
                    lapsed_grants(&engine, asked.duration_since(last));
                }
                last = asked;
            }
            Err(error) => {
                tracing::warn!(%error, "this node's lease could not be renewed");
                engine.control().leads.store(false, Ordering::Release);
                engine.control().tends.store(engine.layout().is_own(), Ordering::Release);
            }
        }
    }
}

/// This node was away for longer than its lease, so its grants may be closed: whatever it reaches
/// is looked at now.
fn lapsed_grants(engine: &Engine, away: Duration) {
    tracing::warn!(
        away_ms = away.as_millis(),
        "this node's lease lapsed: its slots begin anew if others took their units"
    );
    engine.meter().lapse();
    engine.control().suspect();
    for item in engine.warm_items() {
        engine.control().wake(item.row.id);
    }
}

/// Renews this node's lease and, with the role, takes or renews the leader's; then looks after
/// nodes that are gone.
pub(crate) async fn lead_now(engine: &Engine, roles: Roles) -> Result<(), EngineError> {
    let control = engine.control();
    if engine.layout().is_alone() {
        control.leads.store(true, Ordering::Release);
        control.tends.store(true, Ordering::Release);
        return Ok(());
    }
    engine.store().renew_node_lease(engine.node(), LEASE_MS).await?;
    let has_lead =
        roles.control && engine.store().take_leader_lease(engine.node().0, LEASE_MS).await?;
    let leads = has_lead || engine.leads_regardless();
    if control.leads.swap(leads, Ordering::AcqRel) != leads {
        tracing::info!(leads, node = %engine.node(), "the lead changed");
        engine.meter().lead();
    }
    control.tends.store(leads || engine.layout().is_own(), Ordering::Release);
    // Before the living: whoever opened a grant had a lease before.
    let may_lapse = leads && !engine.layout().reaches_all();
    let grants = if may_lapse { engine.store().open_grants().await? } else { Vec::new() };
    let live = engine.store().live_nodes().await?;
    engine.living().saw(live.len());
    for grant in lease::lapsed_grants(&grants, &live, engine.node()) {
        if engine.store().close_grant(grant.id, CloseCause::LeaseLapsed).await? {
            tracing::warn!(slot = %grant.slot, units = grant.unsettled(), "a node's lease lapsed: others sell its units");
        }
    }
    Ok(())
}
