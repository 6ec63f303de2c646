//! The limits of one sale, and the text that describes them to clients.

use doorbuster_api::admin::front_door::{Limit, LimitSetting, Limits};
use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::gcra::RateLimit;

/// The default limit of one buyer. This limit only bounds how much work one token can cause for the
/// server. To share the stock fairly among buyers, an operator must set a lower limit.
pub(crate) const BUYER_DEFAULT: Limit = Limit { burst: 50_000, per_minute: 60_000 };
/// The default limit of one IP address. It grows with the number of known buyers at the address.
pub(crate) const IP_DEFAULT: Limit = Limit { burst: 200_000, per_minute: 600_000 };
/// The highest limit of one buyer's challenges. A sale's settings can lower this limit but not
/// raise it, because all sales share the threads that draw challenges.
const CHALLENGES: Limit = Limit { burst: 200, per_minute: 120 };

/// The highest limit of one buyer's checkouts. A sale's settings can lower this limit but not raise
/// it, because the payment provider limits the requests of all buyers together.
const CHECKOUTS: Limit = Limit { burst: 60, per_minute: 60 };
/// The limit of requests for checkouts of one order.
const ORDER_CHECKOUTS: Limit = Limit { burst: 10, per_minute: 10 };

/// The limits of one sale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitRules {
    /// In the order of [`RateLimitScope::ALL`].
    paces: [Option<RateLimit>; RateLimitScope::ALL.len()],
    /// The value of `RateLimit-Policy`.
    policy: String,
}

impl LimitRules {
    /// Creates the limits of a sale with these settings.
    pub fn new(limits: &Limits) -> Self {
        let settings = [
            (limits.buyer, Some(BUYER_DEFAULT)),
            (limits.ip, Some(IP_DEFAULT)),
            (limits.interface, None),
        ];
        let paces = settings.map(|(setting, default)| {
            let limit = match setting {
                LimitSetting::Default => default,
                LimitSetting::None => None,
                LimitSetting::Some(limit) => Some(limit),
            };
            limit.map(|limit| RateLimit::new(limit.burst, limit.per_minute))
        });
        let policies = RateLimitScope::ALL.iter().zip(paces).filter_map(|(scope, pace)| {
            let pace = pace?;
            Some(format!("\"{}\";q={};w={}", scope.as_str(), pace.burst(), pace.window_secs()))
        });
        Self { policy: policies.collect::<Vec<_>>().join(", "), paces }
    }

    /// Creates the limits for this sale's challenges.
    pub fn for_challenges(limits: &Limits) -> Self {
        Self::capped(limits, CHALLENGES)
    }

    /// Creates the limits for checkouts of this sale's orders.
    pub fn for_checkouts(limits: &Limits) -> Self {
        Self::capped(limits, CHECKOUTS)
    }

    /// Returns the limit of the checkouts of one order. It applies in addition to the buyer's
    /// limit.
    pub fn order_pace() -> RateLimit {
        RateLimit::new(ORDER_CHECKOUTS.burst, ORDER_CHECKOUTS.per_minute)
    }

    /// Creates limits with these settings. The limit of one buyer is the lower of the settings'
    /// limit and `most`. If the settings have no limit for a buyer, the limit is `most`.
    fn capped(limits: &Limits, most: Limit) -> Self {
        let buyer = match limits.buyer {
            LimitSetting::Some(limit) => Limit {
                burst: limit.burst.min(most.burst),
                per_minute: limit.per_minute.min(most.per_minute),
            },
            LimitSetting::Default | LimitSetting::None => most,
        };
        Self::new(&Limits { buyer: LimitSetting::Some(buyer), ..*limits })
    }

    /// Returns the limit of this scope, or `None` if this scope has no limit.
    pub fn pace(&self, scope: RateLimitScope) -> Option<RateLimit> {
        self.paces[scope as usize]
    }

    /// Returns whether there are no limits.
    pub fn is_none(&self) -> bool {
        self.policy.is_empty()
    }

    /// Returns the value of the header `RateLimit-Policy`. For each scope, the value has the burst,
    /// and the number of seconds after which a used-up burst is fully available again.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_limit_has_its_default_and_null_means_no_limit() {
        let check = |json: &str, policy: &str| {
            let limits: Limits = serde_json::from_str(json).expect("the stored limits are valid");
            assert_eq!(LimitRules::new(&limits).policy(), policy, "{json}");
        };
        check("{}", r#""buyer";q=50000;w=50, "ip";q=200000;w=20"#);
        check(r#"{"buyer":null,"ip":null}"#, "");
        check(
            r#"{"buyer":{"burst":5,"per_minute":60},"ip":null,"interface":{"burst":1000,"per_minute":7}}"#,
            r#""buyer";q=5;w=5, "interface";q=1000;w=8572"#,
        );
        assert!(
            LimitRules::new(&Limits {
                buyer: LimitSetting::None,
                ip: LimitSetting::None,
                ..Limits::default()
            })
            .is_none()
        );
    }

    #[test]
    fn a_buyers_challenges_are_limited_in_every_sale() {
        let check = |json: &str, policy: &str| {
            let limits: Limits = serde_json::from_str(json).expect("the stored limits are valid");
            assert_eq!(LimitRules::for_challenges(&limits).policy(), policy, "{json}");
        };
        check("{}", r#""buyer";q=200;w=100, "ip";q=200000;w=20"#);
        check(r#"{"buyer":null,"ip":null}"#, r#""buyer";q=200;w=100"#);
        check(r#"{"buyer":{"burst":201,"per_minute":600},"ip":null}"#, r#""buyer";q=200;w=100"#);
        check(r#"{"buyer":{"burst":600,"per_minute":20},"ip":null}"#, r#""buyer";q=200;w=600"#);
        check(r#"{"buyer":{"burst":1,"per_minute":60},"ip":null}"#, r#""buyer";q=1;w=1"#);
    }

    #[test]
    fn scopes_are_stored_in_the_order_of_their_numbers() {
        for (at, scope) in RateLimitScope::ALL.into_iter().enumerate() {
            assert_eq!(scope as usize, at);
        }
    }
}
