//! The figures of the benches. Each file below measures one group of figures.

mod after_sale;
mod catch_up;
mod challenges;
mod cluster;
mod dead_endpoints;
mod edges;
mod expiry;
mod generator;
mod growth;
mod latency;
mod memory;
mod nodes;
mod orders;
mod overload;
mod passes;
mod processor;
mod refusal_kinds;
mod refusals;
mod sale_server;
mod settling;
mod slot;
mod start;
mod tickets;
mod views;
mod waiting_room;

use anyhow::{Result, bail};

pub use slot::measure_in_process as slot_alone;

use crate::config::BenchConfig;
use crate::figure::{Figure, Target};

type Measure = fn(&BenchConfig, &[&'static str]) -> Vec<Figure>;

/// Figures that are measured together.
#[derive(Clone, Debug)]
pub struct Group {
    ids: Vec<&'static str>,
    measure: Measure,
}

/// All groups of figures. Each entry has the ids of the group's figures, and the function that
/// measures these figures.
const GROUPS: [(&[&str], Measure); 22] = [
    (&["R1"], refusals::measure),
    (&["R1D"], passes::measure),
    (&["R2", "R3"], orders::measure),
    (&["R4", "R4N"], cluster::measure),
    (&["R5"], settling::measure),
    (&["R6"], memory::measure),
    (&["R7"], latency::measure),
    (&["R8"], overload::measure),
    (&["R9"], processor::measure),
    (&["R10", "R10P"], growth::measure),
    (&["R10N"], nodes::measure),
    (&["N1"], catch_up::measure),
    (&["R11"], start::measure),
    (&["R12"], generator::measure),
    (&["D5"], expiry::measure),
    (&["D8"], dead_endpoints::measure),
    (&["V1"], views::measure),
    (&["S1"], tickets::measure),
    (&["E4"], challenges::measure),
    (&["E7"], waiting_room::measure),
    (&["E8", "E9"], edges::measure),
    (&["B1"], after_sale::measure),
];

/// Returns the groups of the named figures, in the sequence of `GROUPS`. If `names` is empty,
/// returns all groups.
///
/// # Errors
///
/// Fails if a name is unknown.
pub fn choose(names: &[String]) -> Result<Vec<Group>> {
    let known: Vec<&'static str> = GROUPS.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
    if let Some(name) =
        names.iter().find(|name| !known.iter().any(|id| id.eq_ignore_ascii_case(name)))
    {
        bail!("there is no figure {name}; the figures are {}", known.join(", "));
    }
    let is_chosen = |id: &&&'static str| {
        names.is_empty() || names.iter().any(|name| id.eq_ignore_ascii_case(name))
    };
    let groups = GROUPS.iter().map(|(ids, measure)| Group {
        ids: ids.iter().filter(is_chosen).copied().collect(),
        measure: *measure,
    });
    Ok(groups.filter(|group| !group.ids.is_empty()).collect())
}

impl Group {
    /// Measures these figures.
    #[must_use]
    pub fn measure(&self, config: &BenchConfig) -> Vec<Figure> {
        eprintln!("bench: {} …", self.ids.join(", "));
        (self.measure)(config, &self.ids)
    }
}

/// Returns the measured figure. If `measured` is an error, returns an invalid figure with this
/// error as the reason.
fn figure_or_invalid(
    id: &'static str,
    what: &str,
    target: Target,
    measured: Result<Figure>,
) -> Figure {
    measured.unwrap_or_else(|error| Figure::new(id, what, target).invalid(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], chosen: &[&[&str]]) {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let groups = choose(&names).expect("known names");
        let ids: Vec<&[&str]> = groups.iter().map(|g| &g.ids[..]).collect();
        assert_eq!(ids, chosen);
    }

    #[test]
    fn figures_are_chosen_by_name_and_measured_in_their_order() {
        check(&["r7", "R3"], &[&["R3"], &["R7"]]);
        check(&["R2", "R3"], &[&["R2", "R3"]]);
        assert_eq!(choose(&[]).expect("all").len(), GROUPS.len());
        assert!(choose(&["R99".to_owned()]).is_err());
    }
}
