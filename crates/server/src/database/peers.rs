//! Asks the shared Redis and the nodes of `store.peers` for the newest history of the database.
//! Redis and the nodes remember that history too.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::health::DatabaseFence;
use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_slots::{ScriptReply, SharedRedis};
use doorbuster_store::{AskPeersForHistory, HistoryMemory};
use futures_util::future::join_all;
use serde::Deserialize;

/// Longest wait for one answer. A peer without an answer in time is ignored.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Longest answer of a peer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const NEWEST: &str = include_str!("newest_history.lua");

/// The part of a peer's `/readyz` that this node reads.
#[derive(Deserialize)]
struct PeerAnswer {
    database: Option<DatabaseFence>,
}

/// Creates the function that asks Redis and the peers. The function also tells Redis the history
/// that this node knows.
pub(crate) fn other_places(
    memory: &HistoryMemory,
    shared: Option<SharedRedis>,
    peers: Vec<String>,
) -> AskPeersForHistory {
    let (memory, peers) = (memory.clone(), Arc::new(peers));
    let http = reqwest::Client::builder()
        .timeout(ANSWER_WAIT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build();
    Box::new(move || {
        let (known, shared, peers) = (memory.known(), shared.clone(), Arc::clone(&peers));
        let http = http.as_ref().ok().cloned();
        Box::pin(async move {
            let in_redis = async {
                match &shared {
                    Some(shared) => ask_redis(shared, known.as_ref()).await,
                    None => None,
                }
            };
            let of_peers = async {
                let Some(http) = http else { return Vec::new() };
                join_all(peers.iter().map(|peer| ask_peer(&http, peer))).await
            };
            let (in_redis, of_peers) = tokio::join!(in_redis, of_peers);
            of_peers.into_iter().flatten().chain(in_redis).collect()
        })
    })
}

async fn ask_redis(
    shared: &SharedRedis,
    known: Option<&DatabaseHistory>,
) -> Option<DatabaseHistory> {
    let arguments = match known {
        Some(DatabaseHistory { fence, token, timeline, position, .. }) => {
            [fence.to_string(), token.clone(), timeline.to_string(), position.to_string()]
        }
        None => ["0".to_owned(), String::new(), "0".to_owned(), "0".to_owned()],
    };
    let keys = [shared.key("database", "history")];
    let reply = shared.eval(NEWEST, &keys, &arguments);
    match tokio::time::timeout(ANSWER_WAIT, reply).await {
        Ok(Ok(ScriptReply::Bytes(text))) => parse(std::str::from_utf8(&text).ok()?),
        _ => None,
    }
}

/// Parses the script's answer.
fn parse(text: &str) -> Option<DatabaseHistory> {
    let mut parts = text.split(' ');
    let (fence, token, timeline) = (parts.next()?, parts.next()?, parts.next()?);
    let (fence, timeline) = (fence.parse().ok()?, timeline.parse().ok()?);
    let position = parts.next()?.parse().ok()?;
    Some(DatabaseHistory {
        fence,
        token: token.to_owned(),
        timeline,
        position,
        system_id: String::new(),
    })
}

async fn ask_peer(http: &reqwest::Client, peer: &str) -> Option<DatabaseHistory> {
    let answer = http.get(format!("{peer}/readyz")).send().await.ok()?;
    if answer.content_length().is_none_or(|length| length > ANSWER_BYTES_MAX as u64) {
        return None;
    }
    let answer: PeerAnswer = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    let DatabaseFence { fence, token, timeline, position } = answer.database?;
    Some(DatabaseHistory { fence, token, timeline, position, system_id: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_redis_is_parsed_or_ignored() {
        let history = parse("3 abc 2 900").expect("a history");
        assert_eq!((history.fence, &*history.token), (3, "abc"));
        assert_eq!((history.timeline, history.position), (2, 900));
        for text in ["", "3", "x abc 2 900", "3 abc", "3 abc 2"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
