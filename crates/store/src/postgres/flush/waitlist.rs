//! Writes waitlist entries: first the entries that ended, then the new entries.
use doorbuster_core::WaitlistEntry;

use crate::postgres::row_cache::RowCache;
use crate::sql::to_i64;

use super::{Query, value};

pub(super) fn waitlist(cache: &RowCache, queries: &mut Vec<Query>) {
    let (ended, new): (Vec<_>, Vec<_>) =
        cache.waitlist.dirty().partition(|kept| kept.read.is_some());
    let ended: Vec<&WaitlistEntry> = ended.into_iter().map(|kept| &kept.row).collect();
    let new: Vec<&WaitlistEntry> = new.into_iter().map(|kept| &kept.row).collect();
    if !ended.is_empty() {
        let sql = "UPDATE waitlist SET state = t.state, ended_at = t.ended_at
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[]) AS t (item_id, n,
             state, ended_at)
             WHERE waitlist.item_id = t.item_id AND waitlist.n = t.n";
        let values = vec![
            value(ended.iter().map(|p| p.item.0).collect::<Vec<_>>()),
            value(ended.iter().map(|p| to_i64(p.n.0)).collect::<Vec<_>>()),
            value(ended.iter().map(|p| p.state.as_str()).collect::<Vec<_>>()),
            value(ended.iter().map(|p| p.ended_at.map(|t| t.0)).collect::<Vec<_>>()),
        ];
        queries.push(Query { sql, values });
    }
    if !new.is_empty() {
        let sql = "INSERT INTO waitlist (item_id, n, id, buyer, request_key, state, joined_at,
                   ended_at)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[],
             $6::text[], $7::bigint[], $8::bigint[])";
        let values = vec![
            value(new.iter().map(|p| p.item.0).collect::<Vec<_>>()),
            value(new.iter().map(|p| to_i64(p.n.0)).collect::<Vec<_>>()),
            value(new.iter().map(|p| p.id.to_string()).collect::<Vec<_>>()),
            value(new.iter().map(|p| p.buyer.as_str().to_owned()).collect::<Vec<_>>()),
            value(new.iter().map(|p| p.key.as_str().to_owned()).collect::<Vec<_>>()),
            value(new.iter().map(|p| p.state.as_str()).collect::<Vec<_>>()),
            value(new.iter().map(|p| p.joined_at.0).collect::<Vec<_>>()),
            value(new.iter().map(|p| p.ended_at.map(|t| t.0)).collect::<Vec<_>>()),
        ];
        queries.push(Query { sql, values });
    }
}
