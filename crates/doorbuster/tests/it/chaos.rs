//! Tests faults of nodes, of Redis, of PostgreSQL, and of the connections between them. Each fault
//! occurs during its own load.

use std::path::Path;

use doorbuster_harness::chaos::{self, ChaosPlan, Fault};
use doorbuster_harness::cluster::Shape;

use crate::several::require_servers;
use crate::test_server::TempDir;

/// The number of buyers in each round. The number is low, because there are many rounds.
const BUYERS: u32 = 240;

fn every_fault(shape: Shape) {
    require_servers();
    let temp_dir = TempDir::new();
    let mut plan =
        ChaosPlan::new(Path::new(env!("CARGO_BIN_EXE_doorbuster")), &temp_dir.join("chaos"), shape);
    plan.buyers = BUYERS;
    println!("cargo xtask chaos --shape {} --buyers {BUYERS} --seed {}", shape.as_str(), plan.seed);
    let rounds = chaos::run(&plan, |round| println!("{}", round.to_text()))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rounds.len(), Fault::all_for(shape).len());
    let wrong: Vec<String> =
        rounds.iter().filter(|round| !round.ok()).map(chaos::RoundReport::to_text).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_between_nodes_and_postgresql_break_no_promise() {
    every_fault(Shape::Postgres);
}

#[test]
fn faults_between_nodes_redis_and_postgresql_break_no_promise() {
    every_fault(Shape::Cluster);
}
