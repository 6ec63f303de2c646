//! Tests which verdicts agree with the promise of a strategy.

use std::time::Duration;

use super::*;
use crate::driver::BuyerRecord;
use crate::{checker, registry};

#[test]
fn a_verdict_agrees_with_a_claim_as_documented() {
    use Verdict::{Duplicated, Held, Lost, Oversold, Undersold};
    let all = [Held, Oversold, Undersold, Lost, Duplicated];
    let faults = [Fault::Crash, Fault::Slow, Fault::Restart];
    let agreeing = |claim, fault| {
        all.into_iter().filter(|verdict| verdict.agrees_with(claim, fault)).collect::<Vec<_>>()
    };
    assert_eq!(agreeing(Claim::Safe, Fault::None), [Held]);
    assert_eq!(agreeing(Claim::SafeWithoutFaults, Fault::None), [Held]);
    assert_eq!(agreeing(Claim::Unsafe, Fault::None), all);
    for fault in faults {
        assert_eq!(agreeing(Claim::Safe, fault), [Held, Undersold]);
        assert_eq!(agreeing(Claim::SafeWithoutFaults, fault), all);
        assert_eq!(agreeing(Claim::Unsafe, fault), all);
    }
}

#[test]
fn without_a_fault_every_buyer_must_be_answered() {
    let agrees = |strategy: &str, fault, buyers, last_answer| {
        let (units, latency) = (1, Duration::ZERO);
        let record = BuyerRecord { buyer: 1, units, last_answer, latency, errors: 0 };
        let answers = Answers { buyers, records: vec![record], ..Answers::default() };
        let run = RunKey { level: 1, seed: 7, fault, applies: true };
        let findings = checker::check_answers(0, &answers.records, &[]);
        let entry = registry::find(strategy).expect("a strategy");
        RunResult::new(entry, &run, 0, &answers, findings).agrees
    };
    assert!(agrees("unit-rows", Fault::None, 1, LastAnswer::SoldOut));
    for answer in [LastAnswer::Refused, LastAnswer::NoAnswer] {
        assert!(!agrees("unit-rows", Fault::None, 1, answer));
        assert!(!agrees("redis-lua", Fault::None, 1, answer));
        assert!(agrees("unsafe-update", Fault::None, 1, answer));
        assert!(agrees("unit-rows", Fault::Crash, 1, answer));
        assert!(agrees("unit-rows", Fault::None, 2, answer), "the run stopped early");
    }
}
