//! Asks the shared Redis and the nodes in `store.peers` for the database's newest history. Redis
//! and each node remember the newest history that they have seen.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::health::DatabaseFence;
use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_slots::{ScriptReply, SharedRedis};
use doorbuster_store::{AskPeersForHistory, KnownHistories};
use futures_util::future::join_all;
use reqwest::Url;
use serde::Deserialize;
use tokio::time::timeout;

use super::peer_names::PeerNames;

/// How long the node waits for Redis or for a peer. A response that arrives later is ignored.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// The largest response of a peer that this node reads, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The maximum number of addresses of one peer's name. Further addresses are ignored.
const ADDRESSES_MAX: usize = 64;
const NEWEST: &str = include_str!("newest_history.lua");

/// The part of a peer's response to `/readyz` that this node reads.
#[derive(Deserialize)]
struct PeerAnswer {
    database: Option<DatabaseFence>,
}

/// Returns a function that asks Redis and the peers for the newest history. The function also sends
/// this node's history to Redis.
pub fn history_asker(
    memory: &KnownHistories,
    shared: Option<SharedRedis>,
    peers: Vec<String>,
) -> AskPeersForHistory {
    let (memory, peers) = (memory.clone(), Arc::new(peers));
    let names = PeerNames::new();
    let http = reqwest::Client::builder()
        .timeout(ANSWER_WAIT)
        .dns_resolver(names.clone())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build();
    Box::new(move || {
        let (known, shared, peers) = (memory.known(), shared.clone(), Arc::clone(&peers));
        let (http, names) = (http.as_ref().ok().cloned(), names.clone());
        Box::pin(async move {
            let in_redis = async {
                match &shared {
                    Some(shared) => ask_redis(shared, known.as_ref()).await,
                    None => None,
                }
            };
            let of_peers = async {
                let Some(http) = http else { return Vec::new() };
                join_all(peers.iter().map(|peer| ask_peer(&http, &names, peer))).await
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
    match timeout(ANSWER_WAIT, reply).await {
        Ok(Ok(ScriptReply::Bytes(text))) => parse(std::str::from_utf8(&text).ok()?),
        _ => None,
    }
}

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

/// Sends the question to each address of the peer's name, because one name may stand for several
/// nodes. If no address is known, the peer is not asked.
async fn ask_peer(http: &reqwest::Client, names: &PeerNames, peer: &str) -> Vec<DatabaseHistory> {
    let Ok(url) = Url::parse(peer) else { return Vec::new() };
    let Some(host) = url.host_str() else { return Vec::new() };
    let asked = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(_) => vec![url],
        Err(_) => urls(&url, &names.look_up(host).await),
    };
    let asked = asked.into_iter().map(|url| ask_node(http, url));
    join_all(asked).await.into_iter().flatten().collect()
}

/// Returns the peer's URL once for each of these addresses. A URL with `https` keeps its name and
/// is returned once, because the peer's certificate is valid for the name.
fn urls(peer: &Url, addresses: &[SocketAddr]) -> Vec<Url> {
    let at = |address: &SocketAddr| {
        let mut url = peer.clone();
        url.set_ip_host(address.ip()).ok()?;
        Some(url)
    };
    match peer.scheme() {
        "http" => addresses.iter().take(ADDRESSES_MAX).filter_map(at).collect(),
        _ => addresses.first().map(|_| peer.clone()).into_iter().collect(),
    }
}

async fn ask_node(http: &reqwest::Client, mut url: Url) -> Option<DatabaseHistory> {
    url.set_path("/readyz");
    let answer = http.get(url).send().await.ok()?;
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

    #[test]
    fn a_peer_is_asked_at_each_address_of_its_name() {
        let peer = Url::parse("http://doorbuster-nodes:8080").expect("a URL");
        let addresses = ["10.0.0.7:8080", "[fd00::7]:8080"].map(|text| text.parse().expect("ok"));
        let asked: Vec<String> = urls(&peer, &addresses).iter().map(Url::to_string).collect();
        assert_eq!(asked, ["http://10.0.0.7:8080/", "http://[fd00::7]:8080/"]);
        assert!(urls(&peer, &[]).is_empty());
        let peer = Url::parse("https://doorbuster-nodes:8443").expect("a URL");
        assert_eq!(urls(&peer, &addresses), std::slice::from_ref(&peer));
        assert!(urls(&peer, &[]).is_empty());
    }

    #[tokio::test]
    async fn a_peer_at_a_name_answers_with_its_history() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let answering = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.expect("a request");
            assert!(request[..length].starts_with(b"GET /readyz "));
            let body = r#"{"database":{"fence":3,"token":"t","timeline":2,"position":9}}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.expect("the answer is read");
        };
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let (names, peer) = (PeerNames::new(), format!("http://localhost:{port}"));
        let (found, ()) = tokio::join!(ask_peer(&http, &names, &peer), answering);
        assert_eq!(found.iter().map(|found| found.fence).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn pods_without_a_disk_ask_each_other() {
        let manifest = include_str!("../../../../packaging/kubernetes/postgres.yaml");
        for line in [
            "{name: DOORBUSTER_STORE__PEERS, value: \"http://doorbuster-nodes:8080\"}",
            "name: doorbuster-nodes",
            "clusterIP: None",
            "publishNotReadyAddresses: true",
        ] {
            assert!(manifest.contains(line), "{line}");
        }
    }
}
