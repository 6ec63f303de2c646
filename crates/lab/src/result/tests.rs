//! Tests which verdicts agree with the promise of a strategy.

use super::*;

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
