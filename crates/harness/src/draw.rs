//! Verifies the draw that decided the order of a waiting room. A shop publishes values about its
//! draw; with these values and a list of the participants, anybody can repeat the draw. The rules
//! are those of `docs/front-door.md`:
//!
//! - A participant's lot is the HMAC-SHA-256 of the buyer's id. The key is the 32 bytes of the
//!   seed.
//! - In the waiting room of one item, the HMAC's text is the item's name, a zero byte, and the
//!   buyer's id.
//! - The queue has the participants in ascending order of their lots.
//! - The commitment is the SHA-256 of the seed.

use std::collections::BTreeSet;

use aws_lc_rs::{digest, hmac};
use serde::Serialize;

/// The only algorithm that a draw may use.
pub const ALGORITHM: &str = "hmac-sha256";
const SEED_BYTES: usize = 32;
/// The report lists at most this many of the ranks that differ, and says how many more differ.
const FINDINGS_MAX: usize = 10;

/// The values that a shop published about its draw, and the order of admission that the shop
/// claims.
#[derive(Clone, Debug, Default)]
pub struct DrawClaim {
    /// The seed, in hexadecimal.
    pub seed: String,
    /// The item of the waiting room. `None` means that the room is for the whole sale.
    pub item: Option<String>,
    /// The commitments that must match the seed: the published commitment, and a commitment that
    /// somebody noted before the opening.
    pub commitments: Vec<String>,
    /// The published number of participants, if there is one.
    pub participants: Option<u64>,
    /// The participants in any order.
    pub list: Vec<String>,
    /// The claimed order of admission, if there is one.
    pub claimed: Option<Vec<String>>,
}

/// The result of the repeated draw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DrawReport {
    /// Whether all values agree.
    pub ok: bool,
    /// The values that do not agree.
    pub findings: Vec<String>,
    /// The commitment that the seed gives.
    pub commitment: Option<String>,
    /// The queue that the seed gives.
    pub order: Vec<String>,
}

/// Repeats the draw, and compares the result with the published values and the claimed order.
#[must_use]
pub fn verify(claim: &DrawClaim) -> DrawReport {
    let Some(seed) = parse_hex(&claim.seed) else {
        let finding = format!("the seed is not {SEED_BYTES} bytes in hexadecimal");
        return DrawReport {
            ok: false,
            findings: vec![finding],
            commitment: None,
            order: Vec::new(),
        };
    };
    let mut findings = Vec::new();
    let commitment = format!("sha256:{}", hex(digest::digest(&digest::SHA256, &seed).as_ref()));
    if claim.commitments.is_empty() {
        findings.push("no commitment was given".to_owned());
    }
    for noted in &claim.commitments {
        if !noted.eq_ignore_ascii_case(&commitment) {
            findings.push(format!(
                "the commitment {noted} does not match the seed; the seed gives {commitment}"
            ));
        }
    }
    let distinct: BTreeSet<&str> = claim.list.iter().map(String::as_str).collect();
    if distinct.len() < claim.list.len() {
        findings.push(format!(
            "the list names participants more than once; it has {} entries too many",
            claim.list.len() - distinct.len()
        ));
    }
    if distinct.is_empty() && claim.participants != Some(0) {
        findings.push("the list has no participants".to_owned());
    }
    if let Some(published) = claim.participants
        && published != distinct.len() as u64
    {
        findings.push(format!(
            "{published} participants were published, but the list has {}",
            distinct.len()
        ));
    }
    let order = drawn_order(&seed, claim.item.as_deref(), &distinct);
    if let Some(claimed) = &claim.claimed {
        compare(&order, claimed, &mut findings);
    }
    DrawReport { ok: findings.is_empty(), findings, commitment: Some(commitment), order }
}

fn drawn_order(
    seed: &[u8; SEED_BYTES],
    item: Option<&str>,
    participants: &BTreeSet<&str>,
) -> Vec<String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let prefix = item.map(|item| format!("{item}\0")).unwrap_or_default();
    let lot =
        |buyer: &&str| hmac::sign(&key, format!("{prefix}{buyer}").as_bytes()).as_ref().to_vec();
    let mut lots: Vec<(Vec<u8>, &str)> =
        participants.iter().map(|buyer| (lot(buyer), *buyer)).collect();
    lots.sort();
    lots.into_iter().map(|(_, buyer)| buyer.to_owned()).collect()
}

fn compare(order: &[String], claimed: &[String], findings: &mut Vec<String>) {
    let wrong = |at: &usize| order.get(*at) != claimed.get(*at);
    let places: Vec<usize> = (0..order.len().max(claimed.len())).filter(wrong).collect();
    let name = |line: &[String], at: usize| {
        line.get(at).map_or_else(|| "no participant".to_owned(), String::clone)
    };
    for &at in places.iter().take(FINDINGS_MAX) {
        findings.push(format!(
            "rank {} belongs to {}, but the claimed order has {}",
            at + 1,
            name(order, at),
            name(claimed, at)
        ));
    }
    if places.len() > FINDINGS_MAX {
        findings.push(format!("and {} further ranks differ", places.len() - FINDINGS_MAX));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &str) -> Option<[u8; SEED_BYTES]> {
    let mut bytes = [0; SEED_BYTES];
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if text.len() != 2 * SEED_BYTES {
        return None;
    }
    for (pair, byte) in text.as_bytes().chunks(2).zip(&mut bytes) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const COMMITMENT: &str =
        "sha256:630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd";
    /// The queue in the waiting room of the item `phone`. Python's `hmac` computed it, so the test
    /// compares two implementations.
    const ORDER_PHONE: [&str; 5] = ["erin", "bob", "dave", "alice", "carol"];
    const ORDER: [&str; 5] = ["erin", "alice", "carol", "bob", "dave"];

    fn claim() -> DrawClaim {
        let list = ["alice", "bob", "carol", "dave", "erin"].map(String::from).to_vec();
        let claimed = Some(ORDER.map(String::from).to_vec());
        DrawClaim {
            seed: SEED.into(),
            item: None,
            commitments: vec![COMMITMENT.into()],
            participants: Some(5),
            list,
            claimed,
        }
    }

    #[test]
    fn an_honest_draw_agrees() {
        let report = verify(&claim());
        assert_eq!((report.ok, &report.findings[..]), (true, &[][..]));
        assert_eq!(report.order, ORDER);
        assert_eq!(report.commitment.as_deref(), Some(COMMITMENT));
    }

    #[test]
    fn the_draw_of_an_item_has_its_own_order() {
        let order = ORDER_PHONE.map(String::from).to_vec();
        let phone =
            DrawClaim { item: Some("phone".into()), claimed: Some(order.clone()), ..claim() };
        let report = verify(&phone);
        assert_eq!((report.ok, &report.findings[..]), (true, &[][..]));
        assert_eq!(report.order, order);
    }

    #[test]
    fn every_change_of_the_claim_is_found() {
        let check = |change: fn(&mut DrawClaim), words: &str| {
            let mut claim = claim();
            change(&mut claim);
            let report = verify(&claim);
            assert!(
                !report.ok && report.findings.iter().any(|finding| finding.contains(words)),
                "{words}: {report:?}"
            );
        };
        check(|claim| claim.seed.replace_range(..2, "ff"), "does not match the seed");
        check(|claim| claim.seed.truncate(10), "hexadecimal");
        check(|claim| claim.seed.replace_range(..2, "é"), "hexadecimal");
        check(|claim| claim.commitments.push("sha256:00".into()), "does not match the seed");
        check(|claim| claim.commitments.clear(), "no commitment was given");
        check(
            |claim| {
                *claim = DrawClaim { participants: None, claimed: None, ..claim.clone() };
                claim.list.clear();
            },
            "the list has no participants",
        );
        check(
            |claim| claim.list.push("frank".into()),
            "5 participants were published, but the list has 6",
        );
        check(|claim| claim.list[0] = "erin".into(), "more than once");
        check(|claim| claim.claimed.as_mut().expect("set").swap(0, 1), "rank 1 belongs to");
        check(
            |claim| claim.claimed.as_mut().expect("set").truncate(4),
            "but the claimed order has no participant",
        );
    }
}
