//! Tests which node gets a request from the edge, and what the edge does if a node does not answer.
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

/// If no second node gets a read within this time, the test assumes that the edge does not repeat
/// the read.
const AFTER_A_REPEAT: Duration = Duration::from_millis(300);

/// A server that answers either all requests or none.
struct Node {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Node {
    async fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let counting = requests.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, answers, counting.clone()));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, answers: bool, requests: Arc<AtomicUsize>) {
    let mut bytes = [0; 4_096];
    while let Ok(1..) = client.read(&mut bytes).await {
        requests.fetch_add(1, Ordering::SeqCst);
        if answers {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            client.write_all(answer).await.expect("the client waits");
        }
    }
}

fn named(addresses: &[SocketAddr]) -> Vec<NamedNodes> {
    let look_up = |address: &SocketAddr| NamedNodes::look_up(address.to_string());
    addresses.iter().map(|address| look_up(address).expect("an address")).collect()
}

/// Returns nodes that are ready, as after their first check.
fn upstreams(addresses: &[SocketAddr]) -> Upstreams {
    let upstreams = Upstreams::new(&named(addresses));
    assert_eq!(upstreams.ready(), 0, "a node must not be ready before its first check");
    upstreams.all.load().iter().for_each(|upstream| upstream.set_state(UpstreamState::Ready));
    upstreams
}

fn request(method: Method, path: &'static str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    request.headers_mut().insert("host", HeaderValue::from_static("shop.example"));
    request
}

#[tokio::test]
async fn a_read_gets_its_answer_from_another_node_if_the_first_node_is_silent() {
    let (silent, node) = (Node::start(false).await, Node::start(true).await);
    let upstreams = upstreams(&[silent.address, node.address]);
    for _ in 0..4 {
        let began = Instant::now();
        let response = upstreams.send(request(Method::GET, "/v1/orders")).await;
        assert_eq!(response.expect("an answer").status(), 200);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    // Each node is the first node for two of the four reads. The two reads that begin at the silent
    // node are repeated at the other node.
    assert_eq!((silent.requests(), node.requests()), (2, 4));
}

#[tokio::test]
async fn an_event_stream_and_an_operators_read_are_never_repeated_at_a_slow_node() {
    let (silent, node) = (Node::start(false).await, Node::start(true).await);
    for path in ["/v1/events", "/v1/admin/audit", "/console/sign-in"] {
        let upstreams = upstreams(&[silent.address, node.address]);
        let sending = upstreams.send(request(Method::GET, path));
        assert!(tokio::time::timeout(AFTER_A_REPEAT, sending).await.is_err(), "{path}");
    }
    assert_eq!((silent.requests(), node.requests()), (3, 0));
}

#[tokio::test]
async fn the_callback_of_a_sign_in_is_sent_to_one_node_even_if_that_node_is_lost() {
    let (silent, node) = (Node::start(false).await, Node::start(true).await);
    let upstreams = upstreams(&[silent.address, node.address]);
    let sending = upstreams.send(request(Method::GET, "/console/callback?code=c&state=s"));
    let waiting = tokio::time::timeout(AFTER_A_REPEAT, sending);
    let losing = async {
        while silent.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        upstreams.all.load()[0].set_state(UpstreamState::Lost);
    };
    let (waited, ()) = tokio::join!(waiting, losing);
    assert!(waited.is_err(), "no other node must answer the callback");
    assert_eq!((silent.requests(), node.requests()), (1, 0));
}

#[tokio::test]
async fn a_purchase_is_sent_to_one_node_even_if_that_node_is_silent() {
    let (silent, node) = (Node::start(false).await, Node::start(true).await);
    let upstreams = upstreams(&[silent.address, node.address]);
    let sending = upstreams.send(request(Method::POST, "/v1/orders"));
    assert!(tokio::time::timeout(AFTER_A_REPEAT, sending).await.is_err());
    assert_eq!((silent.requests(), node.requests()), (1, 0));
}

#[test]
fn a_purchase_waits_for_its_answer_five_seconds_longer_than_for_its_verdict() {
    let waits = |method, path, prefer: Option<&'static str>| {
        let mut request = request(method, path);
        if let Some(prefer) = prefer {
            request.headers_mut().insert("prefer", HeaderValue::from_static(prefer));
        }
        answer_max(&request).as_secs()
    };
    assert_eq!(waits(Method::POST, "/v1/orders", None), 7);
    assert_eq!(waits(Method::POST, "/v1/orders", Some("respond-async")), 5);
    assert_eq!(waits(Method::POST, "/v1/orders", Some("wait=30")), 35);
    assert_eq!(waits(Method::POST, "/v1/orders/x/payment", None), 75);
    assert_eq!(waits(Method::GET, "/v1/orders", None), 75);
}

#[tokio::test]
async fn a_node_that_accepts_no_connection_delays_one_request_only() {
    // Fills the queue of a listener, so that the operating system drops further attempts to
    // connect.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let full = socket.listen(1).expect("a listener");
    let address = full.local_addr().expect("an address");
    let mut queued = Vec::new();
    let connect = || tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address));
    while let Ok(connected) = connect().await {
        queued.push(connected.expect("the queue has space"));
        assert!(
            queued.len() < 100,
            "the listener accepted 100 connections, so its queue has no bound"
        );
    }
    let node = Node::start(true).await;
    let upstreams = upstreams(&[address, node.address]);
    let buy = async || {
        let began = Instant::now();
        let response = upstreams.send(request(Method::POST, "/v1/orders")).await;
        assert_eq!(response.expect("an answer").status(), 200);
        began.elapsed()
    };
    buy().await;
    for _ in 0..4 {
        let took = buy().await;
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
    assert_eq!((upstreams.ready(), node.requests()), (1, 5));
}

#[tokio::test]
async fn a_node_that_is_not_ready_comes_last_and_a_node_without_the_role_api_gets_nothing() {
    let (first, second) = (Node::start(true).await, Node::start(true).await);
    let upstreams = upstreams(&[first.address, second.address]);
    let set = |node: usize, state| upstreams.all.load()[node].set_state(state);
    let send = async || upstreams.send(request(Method::POST, "/v1/orders")).await;
    set(0, UpstreamState::NotReady);
    for _ in 0..4 {
        send().await.expect("an answer");
    }
    assert_eq!((first.requests(), second.requests(), upstreams.ready()), (0, 4, 1));
    set(1, UpstreamState::WithoutApi);
    send().await.expect("a node that is not ready must get the request if no node is ready");
    set(0, UpstreamState::WithoutApi);
    assert_eq!(send().await.expect_err("no node serves buyers"), PassFailure::Unsent);
    assert_eq!((first.requests(), second.requests()), (1, 4));
}

#[tokio::test]
async fn ready_nodes_get_equally_many_requests_while_other_nodes_are_not_ready() {
    use UpstreamState::{NotReady, Ready, WithoutApi};
    let cases = [
        (vec![NotReady, Ready, Ready], vec![0, 6, 6]),
        (vec![WithoutApi, WithoutApi, Ready, Ready], vec![0, 0, 6, 6]),
    ];
    for (states, expected) in cases {
        let mut nodes = Vec::new();
        for _ in &states {
            nodes.push(Node::start(true).await);
        }
        let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
        let upstreams = upstreams(&addresses);
        for (node, state) in states.iter().enumerate() {
            upstreams.all.load()[node].set_state(*state);
        }
        for _ in 0..12 {
            let response = upstreams.send(request(Method::POST, "/v1/orders")).await;
            assert_eq!(response.expect("an answer").status(), 200);
        }
        let requests: Vec<_> = nodes.iter().map(Node::requests).collect();
        assert_eq!(requests, expected, "{states:?}");
    }
}

#[tokio::test]
async fn nodes_whose_addresses_stay_keep_their_state_and_new_nodes_get_requests() {
    let [one, two, three] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let upstreams = upstreams(&[one, two]);
    let removed = upstreams.all.load()[0].clone();
    assert!(
        !upstreams.change_addresses(&named(&[one, two]), &mut JoinSet::new()).await,
        "equal addresses must count as unchanged"
    );
    assert!(upstreams.change_addresses(&named(&[two, three, two]), &mut JoinSet::new()).await);
    let all = upstreams.all.load();
    let states: Vec<_> = all.iter().map(|node| (node.address, node.state())).collect();
    assert_eq!(states, [(two, UpstreamState::Ready), (three, UpstreamState::Lost)]);
    assert_eq!(removed.state(), UpstreamState::Lost, "the relay must leave the removed node");
}

#[test]
fn a_name_that_cannot_be_looked_up_again_keeps_its_addresses() {
    let nodes = NamedNodes::look_up("localhost:8080".to_owned()).expect("the name is known");
    let families: Vec<bool> = nodes.addresses().iter().map(SocketAddr::is_ipv4).collect();
    assert!(families.windows(2).all(|two| two[0] == two[1]), "{nodes:?}");
    assert_eq!(nodes.clone().look_up_again(), nodes);
    assert_eq!(
        NamedNodes::look_up("localhost".to_owned()),
        None,
        "an address without a port must be invalid"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_ready_again_in_time_keeps_the_relay() {
    let upstream = Arc::new(Upstream::new(SocketAddr::from(([127, 0, 0, 1], 1))));
    upstream.set_state(UpstreamState::Ready);
    let watched = upstream.clone();
    let waiting = tokio::spawn(async move { watched.unready_for(Duration::from_secs(2)).await });
    let has_ended = async |after_ms| {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        waiting.is_finished()
    };
    assert!(!has_ended(60_000).await, "the wait must not end while the node is ready");
    upstream.set_state(UpstreamState::NotReady);
    assert!(!has_ended(1_900).await);
    upstream.set_state(UpstreamState::Ready);
    assert!(!has_ended(1_900).await, "the wait must begin again after the node was ready");
    upstream.set_state(UpstreamState::Lost);
    assert!(!has_ended(1_900).await);
    upstream.set_state(UpstreamState::NotReady);
    assert!(has_ended(200).await, "the wait must end after two seconds without the state `Ready`");
}
