//! Purchase passes for many buyers. The benches sign the passes with the key of the server under
//! test, so that no buyer has to request a pass.
use std::time::{Duration, SystemTime};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_core::Millis;
use doorbuster_core::gate::pass::{Membership, PassKey, PassTerms, period};

use doorbuster_harness::generator::buyers::{Buyers, Template};
use doorbuster_harness::generator::http::AnswerReader;
use doorbuster_harness::generator::{AnswerKind, RequestScript};

/// The master key of servers under test.
pub const MASTER_KEY: [u8; 32] = [0x5a; 32];
/// How long a pass is valid. This is longer than any run.
const LIFE: Duration = Duration::from_secs(3_600);
const HEADER: &[u8] = b"Purchase-Pass: ";

/// The kind of pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// A valid pass of an admitted buyer. The pass is also valid for a sale with a waiting room.
    Good,
    /// A pass that was issued before the waiting room opened.
    WithoutRoom,
    /// A pass that expired a minute ago.
    Expired,
}

/// One pass for each buyer, for one item of one sale.
#[derive(Debug)]
pub struct Passes {
    /// The passes, which all have the same length.
    text: Vec<u8>,
    len: usize,
}

impl Passes {
    /// Makes the passes.
    #[must_use]
    pub fn new(buyers: &Buyers, sale: &str, item: &str, pass_kind: PassKind) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let (valid_from, life) = match pass_kind {
            PassKind::Good | PassKind::WithoutRoom => (now, LIFE),
            PassKind::Expired => (now.plus(-120_000), Duration::from_secs(60)),
        };
        let key = PassKey::derive(&MASTER_KEY, period(valid_from));
        let expires_at = valid_from.plus(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
        let issued_without_room = pass_kind == PassKind::WithoutRoom;
        let mut text = Vec::new();
        for buyer in 0..buyers.count() {
            let name = buyers.name(buyer);
            let terms = PassTerms {
                buyer: &name,
                membership: Membership::default(),
                issued_without_room,
                valid_from,
                expires_at,
            };
            text.extend_from_slice(URL_SAFE_NO_PAD.encode(key.sign(&terms, sale, item)).as_bytes());
        }
        let len = text.len() / (buyers.count() as usize).max(1);
        Self { text, len }
    }

    fn for_buyer(&self, buyer: u32) -> &[u8] {
        let at = buyer as usize * self.len;
        &self.text[at..at + self.len]
    }
}

/// A script in which each buyer in turn sends a purchase. Each purchase has a token and a pass,
/// like a purchase from the sale page.
#[derive(Debug)]
pub struct WithPass<'a> {
    buyers: &'a Buyers,
    passes: &'a Passes,
    template: Template,
    next: u32,
    round_and_round: bool,
    reader: AnswerReader,
}

impl<'a> WithPass<'a> {
    /// Returns a script in which each buyer buys once, beginning with the buyer number `first`.
    #[must_use]
    pub fn each_once(
        buyers: &'a Buyers,
        passes: &'a Passes,
        template: Template,
        first: u32,
    ) -> Self {
        Self {
            buyers,
            passes,
            template,
            next: first,
            round_and_round: false,
            reader: AnswerReader::default(),
        }
    }

    /// Returns a script that never ends: after the last buyer, it begins again with the first.
    #[must_use]
    pub fn round_and_round(buyers: &'a Buyers, passes: &'a Passes, template: Template) -> Self {
        Self { round_and_round: true, ..Self::each_once(buyers, passes, template, 0) }
    }
}

impl RequestScript for WithPass<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next == self.buyers.count() {
            if !self.round_and_round {
                return false;
            }
            self.next = 0;
        }
        let request = self.template.for_buyer(self.buyers, self.next);
        let line = request.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        out.extend_from_slice(&request[..line]);
        out.extend_from_slice(HEADER);
        out.extend_from_slice(self.passes.for_buyer(self.next));
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&request[line..]);
        self.next += 1;
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        self.reader.read(inbox)
    }
}

/// Checks the same pass `checks` times. Returns the mean time of one check in nanoseconds.
#[must_use]
pub fn check_nanos(checks: u32) -> f64 {
    let key = PassKey::derive(&MASTER_KEY, 0);
    let terms = PassTerms {
        buyer: "buyer-00000000",
        membership: Membership::default(),
        issued_without_room: false,
        valid_from: Millis(0),
        expires_at: Millis(i64::MAX >> 16),
    };
    let text = URL_SAFE_NO_PAD.encode(key.sign(&terms, "spring", "item"));
    let began = std::time::Instant::now();
    let mut held = 0_u32;
    for _ in 0..checks {
        let mut room = [0; doorbuster_core::gate::pass::PASS_BYTES_MAX + 2];
        let read = URL_SAFE_NO_PAD.decode_slice(std::hint::black_box(&text), &mut room);
        let pass = read
            .ok()
            .and_then(|len| doorbuster_core::gate::pass::UnverifiedPass::parse(&room[..len]));
        held +=
            u32::from(pass.is_some_and(|pass| {
                pass.is_signed_by(std::hint::black_box(&key), "spring", "item")
            }));
    }
    let took = began.elapsed();
    if held == checks { took.as_secs_f64() * 1e9 / f64::from(checks) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_harness::generator::buyers::RequestOptions;

    #[test]
    fn each_buyer_sends_its_pass_before_the_usual_headers() {
        let buyers = Buyers::new(&[7; 32], "r1", 3);
        let passes = Passes::new(&buyers, "spring", "item", PassKind::Good);
        let expected = RequestOptions {
            host: "127.0.0.1",
            sale: "spring",
            item: "item",
            units: 1,
            headers: "",
            keys: "k",
        };
        let mut script =
            WithPass::round_and_round(&buyers, &passes, Template::new(&buyers, &expected));
        let mut seen = Vec::new();
        for _ in 0..4 {
            let mut request = Vec::new();
            assert!(script.next(&mut request));
            let text = String::from_utf8(request).expect("ASCII");
            let pass = text
                .split_once("\r\nPurchase-Pass: ")
                .and_then(|(_, rest)| rest.split_once("\r\n"));
            seen.push(pass.expect("a header").0.to_owned());
            assert!(text.starts_with("POST /v1/orders HTTP/1.1\r\nPurchase-Pass: "), "{text}");
        }
        assert!(seen[0] == seen[3] && seen[0] != seen[1], "{seen:?}");
        assert!(check_nanos(10).is_finite());
    }
}
