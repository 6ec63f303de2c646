//! Subscriptions of browsers to messages (web push). Each subscription belongs to one node. This
//! node sends the subscription's messages while the node has a lease.
use doorbuster_core::{BuyerId, Millis, NodeId, Order};

use crate::contract::{PushSubscription, StoredPushSubscription, SubscriptionOwner};
use crate::erase::DELETE_SUBSCRIPTIONS;
use crate::failure::Done;
use crate::limits::LEASE_END_MAX_MS;
use crate::rows;
use crate::sql::{Row, Statement, as_limit, bad_row, dialects, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

/// Deletes two kinds of rows with this endpoint:
/// - the buyer's row, if its keys are not the keys of the new subscription
/// - other buyers' rows with the same keys. These rows are from the same browser, because no other
///   browser knows the secret `auth`.
const DELETE_EARLIER: Statement = statement(
    "DELETE FROM push_subscription
     WHERE endpoint = $2 AND (buyer = $1) <> (public_key = $3 AND auth = $4)",
);
const PUT: Statement = statement(
    "INSERT INTO push_subscription (buyer, endpoint, public_key, auth, node, until)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (buyer, endpoint) DO UPDATE SET until = excluded.until,
         node = CASE WHEN EXISTS (SELECT 1 FROM node n
                                  WHERE n.node = push_subscription.node
                                    AND n.until > $7 AND n.until <= $8)
                THEN push_subscription.node ELSE excluded.node END
     RETURNING id, node, until",
);
const DELETE_OLDEST: Statement = statement(
    "DELETE FROM push_subscription WHERE buyer = $1 AND id NOT IN (
         SELECT id FROM push_subscription WHERE buyer = $1 ORDER BY until DESC, id DESC LIMIT $2)",
);
macro_rules! take_over {
    ($lock:literal) => {
        concat!(
            "UPDATE push_subscription SET node = $1 WHERE id IN (
                 SELECT s.id FROM push_subscription s
                 WHERE s.node <> $1 AND s.until > $2
                   AND s.node IN (SELECT n.node FROM node n
                                  WHERE n.until <= $2 OR n.until > $4)
                 ORDER BY s.id LIMIT $3",
            $lock,
            ")"
        )
    };
}
const TAKE_OVER: Statement =
    Statement { sqlite: take_over!(""), postgres: take_over!(" FOR UPDATE SKIP LOCKED") };
const OWNED: Statement =
    statement("SELECT id, node, until FROM push_subscription WHERE node = $1 AND until > $2");
const SUBSCRIPTIONS: Statement = dialects!(
    "SELECT id, until, buyer, endpoint, public_key, auth FROM push_subscription
     WHERE node = $1 AND id ",
    "IN (SELECT value FROM json_each($2))" | "= ANY($2)",
    ""
);
const DELETE: Statement = statement("DELETE FROM push_subscription WHERE id = $1");
const UNPAID_ORDERS: Statement = dialects!(
    concat!(
        "SELECT ",
        rows::order_columns!(),
        " FROM orders o WHERE o.state = 'reserved' AND o.pay_by > $1 AND o.buyer "
    ),
    "IN (SELECT value FROM json_each($2))" | "= ANY($2)",
    ""
);

fn owner(row: Row<'_>) -> Done<SubscriptionOwner> {
    let (id, node) = (row.number(0)?, NodeId(row.number_u32(1, "node")?));
    Ok(SubscriptionOwner { id, node, until: Millis(row.get(2)?) })
}

fn key<const N: usize>(row: Row<'_>, at: usize) -> Done<[u8; N]> {
    row.get::<Vec<u8>>(at)?.try_into().map_err(|_| bad_row("key of a browser"))
}

fn subscription(row: Row<'_>) -> Done<StoredPushSubscription> {
    let browser = PushSubscription {
        buyer: row.parse(2, "buyer", BuyerId::new)?,
        endpoint: row.get(3)?,
        public_key: key(row, 4)?,
        auth: key(row, 5)?,
    };
    Ok(StoredPushSubscription { id: row.number(0)?, until: Millis(row.get(1)?), browser })
}

fn put(
    tx: &mut Transaction<'_, '_>,
    node: NodeId,
    browser: &PushSubscription,
    lives_ms: i64,
    of_buyer_max: usize,
) -> Done<SubscriptionOwner> {
    let PushSubscription { buyer, endpoint, public_key, auth } = browser;
    let now = tx.now();
    tx.run(DELETE_EARLIER, &values![buyer, endpoint, public_key, auth])?;
    let (until, lease_end_max) = (now.plus(lives_ms), now.plus(LEASE_END_MAX_MS));
    let values = values![buyer, endpoint, public_key, auth, node, until, now, lease_end_max];
    let owner = tx.one(PUT, &values, owner)?.ok_or_else(|| bad_row("subscription"))?;
    tx.run(DELETE_OLDEST, &values![buyer, as_limit(of_buyer_max)])?;
    Ok(owner)
}

impl Store {
    /// Adds or renews a browser's subscription, for `lives_ms` from now, and returns its owner. The
    /// owner is `node` if the subscription is new, or if the earlier owner has no lease. Deletes
    /// other buyers' subscriptions of the same browser. If the buyer has more than `of_buyer_max`
    /// subscriptions, deletes the subscriptions that end first.
    pub async fn put_push_subscription(
        &self,
        node: NodeId,
        browser: PushSubscription,
        lives_ms: i64,
        of_buyer_max: usize,
    ) -> StoreResult<SubscriptionOwner> {
        self.job(RetryUnknown::Allowed, move |tx| put(tx, node, &browser, lives_ms, of_buyer_max))
            .await
    }

    /// Makes this node the owner of at most `limit` subscriptions that belong to nodes without a
    /// valid lease. Returns the number of these subscriptions.
    pub async fn take_over_push_subscriptions(
        &self,
        node: NodeId,
        limit: usize,
    ) -> StoreResult<u64> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            let values = values![node, now, as_limit(limit), now.plus(LEASE_END_MAX_MS)];
            tx.run(TAKE_OVER, &values)
        })
        .await
    }

    /// Returns an owner's subscriptions that have not ended, in any order.
    pub async fn owned_push_subscriptions(
        &self,
        node: NodeId,
    ) -> StoreResult<Vec<SubscriptionOwner>> {
        self.all(OWNED, values![node, self.now()], owner).await
    }

    /// Returns the subscriptions with these ids and this owner, in any order.
    pub async fn push_subscriptions(
        &self,
        node: NodeId,
        ids: &[u64],
    ) -> StoreResult<Vec<StoredPushSubscription>> {
        let ids: Vec<i64> = ids.iter().map(|id| id.cast_signed()).collect();
        self.all(SUBSCRIPTIONS, values![node, ids], subscription).await
    }

    /// Deletes a subscription, if it exists.
    pub async fn delete_push_subscription(&self, id: u64) -> StoreResult<()> {
        self.job(RetryUnknown::Allowed, move |tx| tx.run(DELETE, &values![id]).map(drop)).await
    }

    /// Deletes every subscription of a buyer.
    pub async fn delete_push_subscriptions_of(&self, buyer: &BuyerId) -> StoreResult<()> {
        let buyer = buyer.clone();
        self.job(RetryUnknown::Allowed, move |tx| {
            tx.run(DELETE_SUBSCRIPTIONS, &values![&buyer]).map(drop)
        })
        .await
    }

    /// Returns these buyers' orders that wait for payment, in any order.
    pub async fn unpaid_orders_of(&self, buyers: &[BuyerId]) -> StoreResult<Vec<Order>> {
        let buyers: Vec<String> = buyers.iter().map(|buyer| buyer.as_str().to_owned()).collect();
        self.all(UNPAID_ORDERS, values![self.now(), buyers], rows::order).await
    }
}
