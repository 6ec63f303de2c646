//! The background jobs of the HTTP server, and its last work before the process ends.

use std::time::Duration;

use crate::app::App;
#[cfg(feature = "otel")]
use crate::metrics;

impl App {
    /// Runs the jobs of the front door until `serving` ends. These jobs do not end at the stop
    /// signal, because requests that are still running need the jobs.
    pub async fn run_gate_during(&self, serving: impl Future<Output = ()>) {
        let gate = async {
            // For an edge, the nodes run these jobs.
            if self.node.edge().is_none() {
                self.gate.run_jobs(&self.node).await;
            }
            // This future never ends, so that this function ends only when `serving` ends.
            std::future::pending().await
        };
        tokio::select! {
            () = serving => {}
            () = gate => {}
        }
    }

    /// Runs all other background jobs of the HTTP server until the program stops.
    pub async fn run_jobs(&self) {
        if self.node.edge().is_some() {
            tokio::join!(self.run_edge_jobs(), self.run_otlp());
            return;
        }
        let keys = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                // If another node has deleted a key, this node must refuse the key too.
                self.refresh_operator_keys().await;
            }
        };
        let jobs = async {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.run_samples() => {}
                () = keys => {}
                () = self.run_series() => {}
                () = self.buyers.run_key_refresh() => {}
                () = self.payments.run_jobs() => {}
                () = self.outbox.run_jobs() => {}
                () = self.run_push() => {}
            }
        };
        tokio::join!(jobs, self.run_otlp());
    }

    /// Takes samples of the sales' counters each second, from which the views of the sales compute
    /// rates.
    pub(crate) async fn run_samples(&self) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            every.tick().await;
            self.views.take_samples();
        }
    }

    async fn run_push(&self) {
        match &self.push {
            Some(push) => push.run(&self.node, &self.gate).await,
            None => std::future::pending().await,
        }
    }

    #[cfg(feature = "otel")]
    async fn run_otlp(&self) {
        let source = doorbuster_telemetry::otlp::Source {
            now_ms: &|| self.node.clock().wall().0,
            page: &|| Box::pin(metrics::text(self)),
            failures: &self.metrics.otlp_failures,
        };
        doorbuster_telemetry::otlp::run(source, &self.stop).await;
    }

    #[cfg(not(feature = "otel"))]
    async fn run_otlp(&self) {}

    /// Waits until running purchases and operators' changes have ended, including those whose
    /// clients have disconnected. Then records the statistics of each sale's last second.
    pub async fn finish(&self) {
        self.running_purchases.close();
        self.running_purchases.wait().await;
        if self.node.edge().is_none() {
            self.record_last_second().await;
        }
    }
}
