//! Settling resolves each ticket exactly once. A *consumed* ticket becomes an order. If a ticket is
//! *returned* while its grant is open, the grant's slot gets a credit. Each ticket's units are
//! checked against the units of its grant. So even if a slot loses, forgets or repeats tickets, the
//! server does not sell too many units.
use crate::event::{Attribution, EventType, Subject};
use crate::event_log;
use crate::id::{IdKey, TicketId, TicketParts};
use crate::ledger::Ledger;
use crate::rows::{CloseCause, FeedCause, FeedRow, Grant, Order, OrderState, Resolution, Verdict};
use crate::rules::{Rule, enforces};
use crate::stock;
use crate::ticket::Ticket;
use crate::value::{BuyerId, ItemId, Millis, RequestKey, TicketN};

/// A ticket's verdict. After the commit, the verdict is sent to the node that waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketVerdict {
    /// The ticket's id.
    pub id: TicketId,
    /// The ticket's verdict.
    pub verdict: Verdict,
    /// The order that the verdict names, if any.
    pub order: Option<Order>,
    /// True if this transaction decided the ticket, and false if an earlier transaction decided it.
    pub fresh: bool,
}

/// Settles one ticket at the store's time `now`. If the ticket already has a verdict, returns this
/// verdict.
pub fn settle<L: Ledger + ?Sized>(
    ledger: &mut L,
    key: &IdKey,
    ticket: &Ticket,
    now: Millis,
) -> Result<TicketVerdict, L::Error> {
    let id = key.id_of(ticket);
    let mut case = Settlement {
        id,
        // A grant of another item is ignored: the ticket is returned, and no units move.
        grant: ledger.grant(ticket.grant)?.filter(|g| g.slot.item == ticket.item),
        n: ticket.n,
        buyer: &ticket.buyer,
        key: Some(&ticket.key),
        units: ticket.units.to_u64(),
        now,
        reused: false,
    };
    if let Some(resolved) = case.earlier_verdict(ledger)? {
        return Ok(resolved);
    }
    let existing = match enforces(Rule::OrderExists) {
        true => ledger.order_of(&ticket.buyer, &ticket.key)?,
        false => None,
    };
    let late = now > ticket.decide_by && enforces(Rule::DecideBy);
    case.close_if_faulty(ledger)?;
    let used = ledger.quota(ticket.item, &ticket.buyer)?;
    let Some(item) = ledger.item(ticket.item)? else {
        return case.return_ticket(ledger, Verdict::Unavailable, None);
    };
    if let Some(order) = existing {
        return match order.is_for(ticket.item, ticket.units) || !enforces(Rule::OrderExistsCompares)
        {
            true => case.return_ticket(ledger, Verdict::Order(order.id), Some(order)),
            false => case.return_ticket(ledger, Verdict::KeyReused, None),
        };
    }
    if late || (!case.is_open() && enforces(Rule::GrantOpen)) {
        return case.return_ticket(ledger, Verdict::Unavailable, None);
    }
    let holds = u64::from(used) + ticket.units.to_u64();
    if holds > u64::from(item.limit) && enforces(Rule::Quota) {
        return case.return_ticket(ledger, Verdict::LimitReached, None);
    }
    ledger.put_quota(ticket.item, &ticket.buyer, u32::try_from(holds).unwrap_or(u32::MAX))?;
    case.consume(ledger, ticket, now, item.hold_ms)
}

/// Decides a ticket from its id alone, after the ticket's `decide_by`. The ticket never becomes an
/// order. Returns `None` if the ticket may still become an order, or if the id belongs to a
/// waitlist entry.
pub fn force_verdict<L: Ledger + ?Sized>(
    ledger: &mut L,
    key: &IdKey,
    id: TicketId,
    parts: &TicketParts,
    buyer: &BuyerId,
    now: Millis,
) -> Result<Option<TicketVerdict>, L::Error> {
    let grant = ledger.grant(parts.grant)?;
    let item = grant.as_ref().map_or(ItemId(0), |g| g.slot.item);
    let (n, units) = (parts.n, parts.units.to_u64());
    let mut case = Settlement { id, grant, n, buyer, key: None, units, now, reused: false };
    if let Some(resolved) = case.earlier_verdict(ledger)? {
        return Ok(Some(resolved));
    }
    if case.grant.as_ref().is_some_and(|g| g.slot.is_waitlist()) && enforces(Rule::ForceLeavesLine)
    {
        return Ok(None);
    }
    let due = now > parts.decide_by || !enforces(Rule::ForceAfterDecideBy);
    if !due || !enforces(Rule::ForcedVerdict) {
        return Ok(None);
    }
    let existing = match enforces(Rule::ForcedFindsOrder) {
        true => ledger.orders_of_buyer(buyer, item)?.into_iter().find(|o| {
            o.units == parts.units
                && key.request_hash(buyer.as_str(), o.key.as_str()).id_bits() == parts.request
        }),
        false => None,
    };
    if !enforces(Rule::FirstCommitWins) {
        let verdict = Verdict::Unavailable;
        return Ok(Some(TicketVerdict { id, verdict, order: None, fresh: false }));
    }
    let key_of_order = existing.as_ref().map(|o| o.key.clone());
    case.key = key_of_order.as_ref();
    case.close_if_faulty(ledger)?;
    let verdict = existing.as_ref().map_or(Verdict::Unavailable, |o| Verdict::Order(o.id));
    case.return_ticket(ledger, verdict, existing).map(Some)
}

struct Settlement<'a> {
    id: TicketId,
    grant: Option<Grant>,
    n: TicketN,
    buyer: &'a BuyerId,
    key: Option<&'a RequestKey>,
    units: u64,
    now: Millis,
    /// Whether another resolved ticket of the same grant has the same number.
    reused: bool,
}

impl Settlement<'_> {
    fn earlier_verdict<L: Ledger + ?Sized>(
        &self,
        ledger: &mut L,
    ) -> Result<Option<TicketVerdict>, L::Error> {
        if !enforces(Rule::TicketOnce) {
            return Ok(None);
        }
        // `max_n` is the highest resolved number, so a higher number has no verdict yet.
        if self.grant.as_ref().is_some_and(|g| self.n > g.max_n) {
            return Ok(None);
        }
        let Some(resolution) = ledger.resolution(&self.id)? else { return Ok(None) };
        let order = match resolution.verdict {
            Verdict::Reserved => ledger.order(&self.id)?,
            Verdict::Order(id) => ledger.order(&id)?,
            _ => None,
        };
        Ok(Some(TicketVerdict { id: self.id, verdict: resolution.verdict, order, fresh: false }))
    }

    fn is_open(&self) -> bool {
        self.grant.as_ref().is_some_and(|g| g.open)
    }

    /// Closes the grant if the ticket proves a fault of the grant's slot: the slot issued too many
    /// units, or used a number twice.
    fn close_if_faulty<L: Ledger + ?Sized>(&mut self, ledger: &mut L) -> Result<(), L::Error> {
        let Some(grant) = &mut self.grant else { return Ok(()) };
        if self.n <= grant.max_n && enforces(Rule::ReusedNumber) {
            self.reused = ledger.ticket_of(grant.id, self.n)?.is_some();
        }
        let over = grant.counted
            && grant.settled + self.units > grant.granted
            && enforces(Rule::SettleGuard);
        let cause = match (over, self.reused) {
            (true, _) => CloseCause::OverGranted,
            (_, true) => CloseCause::NumberReused,
            _ => return Ok(()),
        };
        if grant.open {
            stock::close_locked(ledger, grant, cause)?;
            ledger.put_grant(grant)?;
        }
        Ok(())
    }

    fn count_resolved(&mut self) {
        if let Some(grant) = &mut self.grant
            && !self.reused
        {
            grant.max_n = grant.max_n.max(self.n);
            grant.resolved += 1;
        }
    }

    fn consume<L: Ledger + ?Sized>(
        mut self,
        ledger: &mut L,
        ticket: &Ticket,
        now: Millis,
        hold_ms: i64,
    ) -> Result<TicketVerdict, L::Error> {
        self.count_resolved();
        let order = Order {
            id: self.id,
            item: ticket.item,
            buyer: ticket.buyer.clone(),
            key: ticket.key.clone(),
            units: ticket.units,
            state: OrderState::Reserved,
            grant: ticket.grant,
            n: ticket.n,
            reserved_at: now,
            pay_by: now.plus(hold_ms),
            paid_at: None,
            ended_at: None,
        };
        ledger.insert_order(&order)?;
        event_log::append_order_event(ledger, &order, Attribution::BUYER, now)?;
        if let Some(grant) = &mut self.grant {
            grant.settled += self.units;
            ledger.put_grant(grant)?;
        }
        Ok(TicketVerdict {
            id: order.id,
            verdict: Verdict::Reserved,
            order: Some(order),
            fresh: true,
        })
    }

    /// Records that the ticket is returned. If the grant is open, the grant's slot gets a credit.
    /// If the grant is closed, the slot gets no credit, because closing the grant has already
    /// returned the units to the pool.
    fn return_ticket<L: Ledger + ?Sized>(
        mut self,
        ledger: &mut L,
        verdict: Verdict,
        order: Option<Order>,
    ) -> Result<TicketVerdict, L::Error> {
        self.count_resolved();
        let Self { id, grant, n, buyer, key, units, now, reused } = self;
        if let Some(mut grant) = grant {
            // If the request already has an order, the buyer needs no event about the refused
            // ticket.
            if !matches!(verdict, Verdict::Order(_)) {
                let subject = Subject::Ticket {
                    id,
                    item: grant.slot.item,
                    buyer: buyer.clone(),
                    units,
                    verdict,
                };
                event_log::append(
                    ledger,
                    EventType::OrderRefused,
                    subject,
                    Attribution::ENGINE,
                    now,
                )?;
            }
            let credit = match grant.open {
                true => enforces(Rule::CreditWhileOpen),
                false => !enforces(Rule::NoCreditOnceClosed),
            };
            if credit {
                let row = FeedRow {
                    ticket: Some(id),
                    buyer: Some(buyer.clone()),
                    key: key.cloned(),
                    units: if grant.counted { units } else { 0 },
                    quota_delta: -(units as i64),
                    ..stock::blank_feed_row(FeedCause::Returned)
                };
                stock::append_feed_row(ledger, &mut grant, row)?;
            }
            ledger.insert_resolution(&Resolution {
                ticket: id,
                grant: grant.id,
                n: (!reused).then_some(n),
                verdict,
            })?;
            ledger.put_grant(&grant)?;
        }
        Ok(TicketVerdict { id, verdict, order, fresh: true })
    }
}
