//! The SQL that finds inconsistent waitlist entries.

/// Pairs of a rule and the query that finds violations of this rule. The query's columns are the
/// item, and a text that describes the violation. Both backends run the queries.
pub(crate) const CHECKS: &[(&str, &str)] = &[
    (
        "I2",
        "SELECT coalesce(i.id, w.item_id), format('the item counts %s waiting, but %s entries wait',
         coalesce(i.waiting, 0), coalesce(w.places, 0))
         FROM item i FULL JOIN (SELECT item_id, count(*) AS places FROM waitlist
         WHERE state = 'waiting' GROUP BY item_id) w ON w.item_id = i.id
         WHERE coalesce(i.waiting, -1) <> coalesce(w.places, 0)",
    ),
    (
        "I8",
        "SELECT w.item_id, format('waitlist entry %s has state %s, order %s and refusal %s',
         w.id, w.state, coalesce(o.id, 'none'),
                                 coalesce(r.ticket, 'none'))
         FROM waitlist w
              LEFT JOIN slot_grant g ON g.item_id = w.item_id AND g.slot = 2147483647
              LEFT JOIN orders o ON o.grant_id = g.id AND o.n = w.n AND o.id = w.id
              LEFT JOIN resolution r ON r.grant_id = g.id AND r.n = w.n AND r.ticket = w.id
         WHERE (w.state = 'served') <> (o.id IS NOT NULL)
         OR (w.state IN ('left', 'passed_over')) <> (r.ticket IS NOT NULL)",
    ),
    (
        "I8",
        "SELECT o.item_id, format('order %s is from a waitlist, but no entry was served with it',
         o.id)
         FROM slot_grant g JOIN orders o ON o.grant_id = g.id LEFT JOIN waitlist w
         ON w.item_id = g.item_id AND w.n = o.n AND w.state = 'served'
         WHERE g.slot = 2147483647 AND w.n IS NULL",
    ),
];
