//! How often a sale may be asked: by one buyer, from one address, by everybody together. Looked at before anything that costs something.
//!
//! Each route has counts of its own under a sale's limits, so that waiting in line does not use up what buying needs. A request is held to the buyer's
//! limit first and to everybody's last, and one that is refused by a later measure takes nothing of an earlier one: nobody can use up what others share
//! by being refused.
//!
//! Everything is decided here in node memory, without waiting for anybody ([`table`]). Where nodes share limits, what was let in is told
//! to the others in batches beside the way ([`share`]).

mod rules;
mod share;
mod standing;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use doorbuster_api::problem::Scope;
use doorbuster_core::IdKey;
use doorbuster_core::gate::crowd::Crowd;
use doorbuster_core::gate::gcra::{self, Pace, Turn};

use crate::catalogue::SaleState;

pub(crate) use rules::{Rules, SCOPES};
use share::Owed;
pub(crate) use share::Sharing;
pub(crate) use standing::Standing;
use table::{Cell, Table};

/// Buyers known behind an address that have its budget once; twice as many have it twice. Up to here an address's limit is as it is set.
const BUYERS_PER_BUDGET: u64 = 250;
/// The buyers behind an address are counted anew after so long.
const CROWD_PERIOD_NANOS: u64 = 600 * NANOS_PER_SEC;
/// How long a crowd that has more than one budget is in use after somebody came, to the table.
const CROWD_STAYS_NANOS: u64 = 10 * NANOS_PER_SEC;
/// What crowds and their buyers are hashed with; no route has it.
const CROWD: u8 = 0xFE;
const BUYER_OF_CROWD: u8 = 0xFF;
const NANOS_PER_SEC: u64 = 1_000_000_000;
const NANOS_PER_MICRO: u64 = 1_000;

/// What is asked: each has counts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// An order.
    Purchase,
    /// A purchase pass.
    Pass,
    /// A challenge.
    Challenge,
    /// A place in the waiting room, or a look at it.
    Room,
    /// The place where an order is paid for.
    Checkout,
}

impl Route {
    /// Every one.
    pub(crate) const ALL: [Self; 5] =
        [Self::Purchase, Self::Pass, Self::Challenge, Self::Room, Self::Checkout];

    /// Its word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Pass => "pass",
            Self::Challenge => "challenge",
            Self::Room => "waiting_room",
            Self::Checkout => "checkout",
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// The address that the request comes from, as far as it is believed.
    pub address: IpAddr,
    /// The buyer, whose token was checked.
    pub buyer: &'a str,
}

/// A request that was too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    /// By which measure.
    pub scope: Scope,
    /// Seconds after which it would be let in.
    pub retry_after_secs: u32,
    /// Where the caller stands.
    pub standing: Standing,
}

/// What is kept of a sale's limits: everybody's, and what was refused.
#[derive(Debug, Default)]
pub struct SaleLimits {
    everybody: [Everybody; Route::ALL.len()],
    refused: [[AtomicU64; SCOPES.len()]; Route::ALL.len()],
}

/// A limit that all buyers of a sale have together.
#[derive(Debug, Default)]
struct Everybody {
    state: AtomicU64,
    /// What other nodes have not been told of, in nanoseconds of the limit's rate.
    owed: AtomicU64,
    is_queued: std::sync::atomic::AtomicBool,
}

impl SaleLimits {
    /// Requests that were too many.
    pub(crate) fn refused(&self, route: Route, scope: Scope) -> u64 {
        self.refused[route as usize][scope as usize].load(Ordering::Relaxed)
    }
}

/// The limits of this node.
#[derive(Debug)]
pub(crate) struct Limiter {
    table: Table,
    key: [u8; 32],
    birth: Instant,
    sharing: Option<Sharing>,
}

impl Limiter {
    /// With nobody known. Nodes that hold the same key keep a caller under the same number.
    pub(crate) fn new(id_key: &IdKey, sharing: Option<Sharing>) -> Self {
        let secret = id_key.buyer_hash("limits").to_be_bytes();
        let key = blake3::derive_key("doorbuster: whom limits are held to", &secret);
        Self { table: Table::default(), key, birth: Instant::now(), sharing }
    }

    /// Asks for one request.
    ///
    /// # Errors
    /// It is one too many: nothing was used up.
    pub(crate) fn ask(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> Result<Standing, Limited> {
        if sale.limits_of(route).is_none() {
            return Ok(Standing::default());
        }
        self.ask_at(route, caller, sale, self.now())
    }

    fn ask_at(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
        now: u64,
    ) -> Result<Standing, Limited> {
        let mut standing = Standing::default();
        let mut used = None;
        if let Some(pace) = self.pace(route, sale, Scope::Buyer) {
            let key = self.hash(route, sale, Scope::Buyer, caller.buyer.as_bytes());
            let cost = pace.cost(1);
            let turn = self.table.with(key, now, |cell| self.step(cell, pace, now, cost, key));
            standing.note(Scope::Buyer, pace, state_of(turn), now);
            refuse(turn, Scope::Buyer, standing)
                .inspect_err(|_| sale.refuses(route, Scope::Buyer))?;
            used = Some((pace, key, cost));
        }
        let mut used_here = None;
        if let Some(pace) = self.pace(route, sale, Scope::Ip) {
            let address = self.hash(route, sale, Scope::Ip, &network(caller.address));
            let cost = pace.cost(self.budgets(caller, now));
            let turn =
                self.table.with(address, now, |cell| self.step(cell, pace, now, cost, address));
            standing.note(Scope::Ip, pace, state_of(turn), now);
            if let Err(mut limited) = refuse(turn, Scope::Ip, standing) {
                self.take_back(used, &mut limited.standing, Scope::Buyer, now);
                sale.refuses(route, Scope::Ip);
                return Err(limited);
            }
            used_here = Some((pace, address, cost));
        }
        if let Some(pace) = self.pace(route, sale, Scope::Interface) {
            let turn = self.everybody(route, sale, pace, now);
            standing.note(Scope::Interface, pace, state_of(turn), now);
            if let Err(mut limited) = refuse(turn, Scope::Interface, standing) {
                self.take_back(used, &mut limited.standing, Scope::Buyer, now);
                self.take_back(used_here, &mut limited.standing, Scope::Ip, now);
                sale.refuses(route, Scope::Interface);
                return Err(limited);
            }
        }
        Ok(standing)
    }

    /// Asks for one request about one thing of a caller's own, which nobody else may ask about.
    ///
    /// # Errors
    /// It is one too many: nothing was used up.
    pub(crate) fn ask_about(
        &self,
        route: Route,
        thing: &str,
        pace: Pace,
        sale: &SaleState,
    ) -> Result<(), Limited> {
        let (mut standing, now) = (Standing::default(), self.now());
        // No buyer's name has a control character.
        let key = self.hash(route, sale, Scope::Buyer, format!("\u{1}{thing}").as_bytes());
        let pace = self.sharing.as_ref().map_or(pace, |sharing| pace.part(sharing.parts()));
        let turn = self.table.with(key, now, |cell| self.step(cell, pace, now, pace.cost(1), key));
        standing.note(Scope::Buyer, pace, state_of(turn), now);
        refuse(turn, Scope::Buyer, standing).inspect_err(|_| sale.refuses(route, Scope::Buyer))
    }

    /// Where a caller stands, without using anything up.
    pub(crate) fn look(&self, route: Route, caller: Caller<'_>, sale: &SaleState) -> Standing {
        let (mut standing, now) = (Standing::default(), self.now());
        let known = |key| self.table.with_known(key, |cell| cell.state).unwrap_or(0);
        for scope in SCOPES {
            let Some(pace) = self.pace(route, sale, scope) else { continue };
            let state = match scope {
                Scope::Buyer => known(self.hash(route, sale, scope, caller.buyer.as_bytes())),
                Scope::Ip => known(self.hash(route, sale, scope, &network(caller.address))),
                Scope::Interface => {
                    sale.flags.limits.everybody[route as usize].state.load(Ordering::Relaxed)
                }
            };
            standing.note(scope, pace, state, now);
        }
        standing
    }

    /// Keys that were forgotten while they still counted.
    pub(crate) fn lost(&self) -> u64 {
        self.table.lost()
    }

    /// What is shared with other nodes, if anything is.
    pub(crate) fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.birth.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A sale's limit, or this node's part of it while the others cannot be told.
    fn pace(&self, route: Route, sale: &SaleState, scope: Scope) -> Option<Pace> {
        let pace = sale.limits_of(route).pace(scope)?;
        Some(match &self.sharing {
            Some(sharing) => pace.part(sharing.parts()),
            None => pace,
        })
    }

    fn hash(&self, route: Route, sale: &SaleState, scope: Scope, who: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher
            .update(&[route as u8, scope as u8])
            .update(sale.row.id.as_bytes())
            .update(b"\0")
            .update(who);
        first_word(&hasher)
    }

    /// How many budgets an address has: as many as it has buyers for, whatever they asked for and of which sale. This one is counted among them.
    fn budgets(&self, caller: Caller<'_>, now: u64) -> u32 {
        let hash = |what: u8, who: &[u8]| {
            first_word(blake3::Hasher::new_keyed(&self.key).update(&[what]).update(who))
        };
        let buyer = hash(BUYER_OF_CROWD, caller.buyer.as_bytes());
        self.table.with(hash(CROWD, &network(caller.address)), now, |cell| {
            let budgets = u32::try_from(count(cell, buyer, now) / BUYERS_PER_BUDGET)
                .unwrap_or(u32::MAX)
                .max(1);
            // Without a crowd nobody behind an address misses what is forgotten of it, and addresses are to be had in any number: they push nobody out who
            // has used up anything. Buyers are not: few addresses have a crowd, and it takes hundreds of buyers to count it anew.
            cell.state = if budgets > 1 { now + CROWD_STAYS_NANOS } else { now };
            budgets
        })
    }

    /// One step on a cell.
    fn step(&self, cell: &mut Cell, pace: Pace, now: u64, cost: u64, key: u64) -> Turn {
        let turn = pace.ask(cell.state, now, cost);
        cell.state = state_of(turn);
        if let (Some(sharing), Turn::Taken(_)) = (&self.sharing, turn) {
            cell.rest += cost;
            let is_worth_it = cell.rest > sharing.silent(pace.reach());
            if is_worth_it && !cell.is_queued {
                cell.is_queued =
                    sharing.owe(Owed::Cell { key, reach_us: pace.reach() / NANOS_PER_MICRO });
            }
        }
        turn
    }

    fn everybody(&self, route: Route, sale: &SaleState, pace: Pace, now: u64) -> Turn {
        let everybody = &sale.flags.limits.everybody[route as usize];
        let cost = pace.cost(1);
        let mut turn = Turn::Taken(0);
        // It never gives up: the closure always has a next state.
        let _ = everybody.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            turn = pace.ask(state, now, cost);
            Some(state_of(turn))
        });
        if let (Some(sharing), Turn::Taken(_)) = (&self.sharing, turn) {
            everybody.owed.fetch_add(cost, Ordering::AcqRel);
            if !everybody.is_queued.swap(true, Ordering::AcqRel) {
                let key = self.hash(route, sale, Scope::Interface, b"");
                let flags = sale.flags.clone();
                let owed =
                    Owed::Everybody { key, flags, route, reach_us: pace.reach() / NANOS_PER_MICRO };
                if !sharing.owe(owed) {
                    everybody.is_queued.store(false, Ordering::Release);
                }
            }
        }
        turn
    }

    /// Takes back what a request used by an earlier measure.
    fn take_back(
        &self,
        used: Option<(Pace, u64, u64)>,
        standing: &mut Standing,
        scope: Scope,
        now: u64,
    ) {
        let Some((pace, key, cost)) = used else { return };
        let state = self.table.with_known(key, |cell| {
            cell.state = gcra::give_back(cell.state, cost);
            cell.rest = cell.rest.saturating_sub(cost);
            cell.state
        });
        standing.note(scope, pace, state.unwrap_or(0), now);
    }
}

impl SaleState {
    fn refuses(&self, route: Route, scope: Scope) {
        self.flags.limits.refused[route as usize][scope as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// About how many buyers an address has, by those of this period or of the one before, whichever are more. This one is counted among them.
fn count(cell: &mut Cell, buyer: u64, now: u64) -> u64 {
    let period = now / CROWD_PERIOD_NANOS + 1;
    let (known, mut before) = (cell.rest >> u32::BITS, cell.rest & u64::from(u32::MAX));
    if known != period {
        before = if known + 1 == period { cell.crowd.about() } else { 0 };
        cell.crowd = Crowd::default();
    }
    cell.crowd = cell.crowd.with(buyer);
    cell.rest = period << u32::BITS | before;
    cell.crowd.about().max(before)
}

fn first_word(hasher: &blake3::Hasher) -> u64 {
    let mut word = [0; 8];
    hasher.finalize_xof().fill(&mut word);
    u64::from_be_bytes(word)
}

fn state_of(turn: Turn) -> u64 {
    match turn {
        Turn::Taken(state) | Turn::Wait { state, .. } => state,
    }
}

fn refuse(turn: Turn, scope: Scope, standing: Standing) -> Result<(), Limited> {
    match turn {
        Turn::Taken(_) => Ok(()),
        Turn::Wait { nanos, .. } => {
            let secs = u32::try_from(gcra::seconds(nanos)).unwrap_or(u32::MAX).max(1);
            Err(Limited { scope, retry_after_secs: secs, standing })
        }
    }
}

/// What of an address is one caller: an IPv4 address, or the 64 bits of an IPv6 network, in which a single customer has addresses without end.
fn network(address: IpAddr) -> [u8; 9] {
    let mut bytes = [0; 9];
    match address.to_canonical() {
        IpAddr::V4(address) => bytes[1..5].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&address.octets()[..8]);
        }
    }
    bytes
}
