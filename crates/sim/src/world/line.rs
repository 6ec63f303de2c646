//! Those who wait for a unit that comes back, and the leaders who serve them.
use doorbuster_core::limits::LINE_PLACES_MAX;
use doorbuster_core::line::Joiner;
use doorbuster_core::{ItemId, Phase, TicketId, Token};

use super::buyer::operator;
use super::flight::Message;
use super::{BUYERS, KEYS, NAMES, World};
use crate::op::line::Line;
use crate::truth::{Done, Tx};

impl World {
    pub(crate) fn line(&mut self, op: Line) {
        match op {
            Line::Join { buyer, key, item } => {
                self.join(buyer % BUYERS as u8, key % KEYS as u8, self.item_of(item));
            }
            Line::Leave { place } => {
                if let Some(id) = self.nth_place(place) {
                    self.commit(Tx::Leave(id, self.now));
                }
            }
            Line::TakeAway { order } => self.cancel(order, operator()),
            Line::Serve { leader, item } => {
                let tx = Tx::Serve(self.item_of(item), self.now);
                self.send(Message::Commit { leader: leader % 2, tx });
            }
            Line::End { leader, item } => {
                let tx = Tx::EndLine(self.item_of(item), self.now);
                self.send(Message::Commit { leader: leader % 2, tx });
            }
            Line::Ask { place } => self.ask_for_place(place),
        }
    }

    fn nth_place(&self, pick: u8) -> Option<TicketId> {
        let nth = usize::from(pick).checked_rem(self.truth.model.places.len())?;
        self.truth.model.places.values().nth(nth).map(|place| place.id)
    }

    fn join(&mut self, buyer: u8, key: u8, item: ItemId) {
        let places_max = match self.setup.tight {
            0 => LINE_PLACES_MAX,
            tight => u64::from(tight),
        };
        let (grant, token) = (self.draw_grant(), Token(self.draw() >> 16));
        let (buyer, key) =
            (NAMES.buyers[usize::from(buyer)].clone(), NAMES.keys[usize::from(key)].clone());
        let joiner = Joiner { buyer, key, grant, token, places_max };
        self.commit(Tx::Join(item, joiner, self.now));
    }

    /// A leader that sees somebody in line and a unit for them serves; one that sees somebody there after the sale's end ends the line.
    pub(crate) fn tend_line(&mut self, leader: u8, item: ItemId) {
        let (waiting, kept) =
            self.truth.model.items.get(&item).map_or((0, 0), |i| (i.waiting, i.kept()));
        let tx = match self.truth.phases.get(&item).map(|row| row.shown) {
            Some(Phase::Open) if kept > 0 => Tx::Serve(item, self.now),
            Some(Phase::Closed) if waiting > 0 => Tx::EndLine(item, self.now),
            _ => return,
        };
        self.send(Message::Commit { leader, tx });
    }

    fn ask_for_place(&mut self, pick: u8) {
        let Some(id) = self.nth_place(pick) else { return };
        let Some(place) = self.truth.model.places.values().find(|place| place.id == id).cloned()
        else {
            return;
        };
        let parts = NAMES
            .key
            .open(&id, place.buyer.as_str())
            .expect("a place proves itself with its buyer");
        let verdict = match self.truth.verdict(&id) {
            Some(verdict) => Some(verdict),
            None => match self.commit(Tx::Force(id, parts, place.buyer, self.now)) {
                Done::Forced(Some(resolved)) => Some(resolved.verdict),
                _ => None,
            },
        };
        let is_over =
            self.truth.phases.get(&place.item).is_some_and(|row| row.shown == Phase::Closed);
        match verdict {
            Some(verdict) => self.judge.verdict_told(&self.truth, id, verdict, self.now),
            None if is_over => self.judge.told_over(&id),
            None => self.judge.told_to_wait(&id),
        }
    }
}
