//! Visitors of a sale page: the requests that their browsers send, and the times of these requests.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use doorbuster_harness::generator::http::AnswerReader;
use doorbuster_harness::generator::{AnswerKind, RequestScript};

/// A visitor who waits for the opening stays this long after the opening. Any other visitor stays
/// this long after the page has loaded.
const STAYS: Duration = Duration::from_secs(30);
/// A visitor who comes at most this long before the opening waits for the opening. The page of such
/// a visitor sets its clock with a request that no cache can answer.
const NEAR_OPENING: Duration = Duration::from_secs(90);
/// At the opening, each page waits for a random time in this range, in milliseconds. Then the page
/// reads the status.
const AT_THE_OPENING_MS: (f64, f64) = (200.0, 2_000.0);
/// While the sale is open, a page waits for a random time after each read of the status. The time
/// is in this range, in milliseconds.
const OPEN_MS: (f64, f64) = (2_000.0, 5_000.0);
const SEED: u64 = 0x00d0_04b5;
/// A response that contains a sale's status is smaller than this number of bytes. The bench
/// searches only such small responses for a version.
const STATUS_MAX: usize = 4096;

/// The next request of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NextRequest {
    /// A read of the status with a random version in its URL, so that no cache answers. The page
    /// sets its clock by the time in the server's response.
    Clock,
    /// A read of the status right after the opening. Its URL differs from the URLs before the
    /// opening, so a cache cannot answer with an old status.
    Opening,
    /// A read of the status with the page's last known version in its URL.
    Status,
}

/// An open page, ordered by the time of its next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Visitor {
    due: Instant,
    next: NextRequest,
    leaves: Instant,
    version: usize,
}

/// The page views of the run, which start one after another. Between two starts, the pages that are
/// already open send their requests.
#[derive(Debug)]
pub struct PageVisits {
    sale: String,
    /// The requests that load a page, in order. The last request reads the status.
    load: Vec<Vec<u8>>,
    /// The index in `load` of the next request.
    at: usize,
    left: u32,
    opens: Instant,
    open_pages: BinaryHeap<Reverse<Visitor>>,
    /// The versions of the status that the server has sent. The first entry is the empty version,
    /// for a page that has not read the status.
    versions: Vec<String>,
    clocks: u64,
    polls: u64,
    rng: SmallRng,
    reader: AnswerReader,
}

impl PageVisits {
    /// Returns this many views of a sale page with these assets.
    #[must_use]
    pub fn new(sale: &str, assets: &[String], views: u32) -> Self {
        let page = format!("/sale/{sale}");
        let own = [format!("/v1/sales/{sale}"), format!("/v1/sales/{sale}/status?v=")];
        Self {
            sale: sale.to_owned(),
            load: std::iter::once(&page).chain(assets).chain(&own).map(|path| get(path)).collect(),
            at: 0,
            left: views,
            opens: Instant::now(),
            open_pages: BinaryHeap::new(),
            versions: vec![String::new()],
            clocks: 0,
            polls: 0,
            rng: SmallRng::seed_from_u64(SEED),
            reader: AnswerReader::default(),
        }
    }

    /// Sets the time of the opening.
    pub fn opens(&mut self, at: Instant) {
        self.opens = at;
    }

    /// Returns how many requests are needed to load the pages of all views that have not started
    /// yet.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.load.len() as u64 * u64::from(self.left)
    }

    /// Returns the number of views that have not started yet.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Returns the number of clock requests, which no cache can answer. Each visitor who came
    /// shortly before the opening sent one.
    #[must_use]
    pub fn clocks(&self) -> u64 {
        self.clocks
    }

    /// Returns how often open pages have read the status again. Requests for the server's time are
    /// not counted.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.polls
    }

    /// Returns the number of versions of the status that the server has sent.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.versions.len() - 1
    }

    fn newest(&self) -> usize {
        self.versions.len() - 1
    }

    fn jitter(&mut self, (low, high): (f64, f64)) -> Duration {
        Duration::from_secs_f64((low + self.rng.random::<f64>() * (high - low)) / 1e3)
    }

    fn arrive(&mut self, now: Instant) {
        let wait = self.opens.saturating_duration_since(now);
        let soon = !wait.is_zero() && wait <= NEAR_OPENING;
        let leaves = if soon { self.opens + STAYS } else { now + STAYS };
        if soon {
            self.open_pages.push(Reverse(Visitor {
                due: now,
                next: NextRequest::Clock,
                leaves,
                version: self.newest(),
            }));
        } else {
            self.stay(now, leaves);
        }
    }

    /// Plans the visitor's next request. If the opening is more than [`NEAR_OPENING`] away, the
    /// visitor sends no further request.
    fn stay(&mut self, now: Instant, leaves: Instant) {
        let wait = self.opens.saturating_duration_since(now);
        let (due, next) = match wait.is_zero() {
            true => (now + self.jitter(OPEN_MS), NextRequest::Status),
            false if wait > NEAR_OPENING => return,
            false => (self.opens + self.jitter(AT_THE_OPENING_MS), NextRequest::Opening),
        };
        if due <= leaves {
            self.open_pages.push(Reverse(Visitor { due, next, leaves, version: self.newest() }));
        }
    }

    fn ask_page(&mut self, visitor: Visitor, now: Instant, out: &mut Vec<u8>) {
        let version = match visitor.next {
            NextRequest::Clock => format!("{:032x}", self.rng.random::<u128>()),
            NextRequest::Opening => format!("{}-open", self.versions[visitor.version]),
            NextRequest::Status => self.versions[visitor.version].clone(),
        };
        match visitor.next {
            NextRequest::Clock => self.clocks += 1,
            NextRequest::Opening | NextRequest::Status => self.polls += 1,
        }
        out.extend_from_slice(&get(&format!("/v1/sales/{}/status?v={version}", self.sale)));
        self.stay(now, visitor.leaves);
    }

    fn remember_version(&mut self, answer: &[u8]) {
        let Ok(text) = std::str::from_utf8(answer) else { return };
        let named = text.split_once(r#""version":""#).and_then(|(_, rest)| rest.split_once('"'));
        if let Some((version, _)) = named
            && !self.versions.iter().any(|known| known == version)
        {
            self.versions.push(version.to_owned());
        }
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n").into_bytes()
}

impl RequestScript for PageVisits {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let now = Instant::now();
        if self.open_pages.peek().is_some_and(|visitor| visitor.0.due <= now)
            && let Some(Reverse(visitor)) = self.open_pages.pop()
        {
            self.ask_page(visitor, now, out);
            return true;
        }
        if self.left == 0 {
            return false;
        }
        out.extend_from_slice(&self.load[self.at]);
        self.at += 1;
        if self.at == self.load.len() {
            (self.at, self.left) = (0, self.left - 1);
            self.arrive(now);
        }
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        let kind = self.reader.read(inbox)?;
        if kind.is_some() && inbox.len() < STATUS_MAX {
            self.remember_version(inbox);
        }
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the paths of all requests, and the number of requests for the server's time.
    fn requested_paths(visits: &mut PageVisits) -> (Vec<String>, u64) {
        let (mut paths, mut out) = (Vec::new(), Vec::new());
        while visits.next(&mut out) {
            let text = String::from_utf8(std::mem::take(&mut out)).expect("ASCII");
            paths.push(text.split(' ').nth(1).expect("a path").to_owned());
        }
        (paths, visits.clocks())
    }

    #[test]
    fn a_view_requests_every_part_and_sets_its_clock_only_shortly_before_the_opening() {
        let second = Duration::from_secs(1);
        for (opens, clocks) in [
            (Instant::now() + second * 60, 2),
            (Instant::now() + second * 600, 0),
            (Instant::now(), 0),
        ] {
            let mut visits = PageVisits::new("spring", &["/assets/a.0.js".to_owned()], 2);
            visits.opens(opens);
            assert_eq!(visits.loads(), 8);
            let (paths, counted) = requested_paths(&mut visits);
            let load = [
                "/sale/spring",
                "/assets/a.0.js",
                "/v1/sales/spring",
                "/v1/sales/spring/status?v=",
            ];
            assert_eq!(paths[..4], load, "{paths:?}");
            assert_eq!(
                (counted, paths.len(), visits.left()),
                (clocks, 8 + clocks as usize, 0),
                "{paths:?}"
            );
        }
    }

    #[test]
    fn each_version_from_an_answer_is_stored_once() {
        let mut visits = PageVisits::new("spring", &[], 1);
        for (version, known) in [("a", 1), ("a", 1), ("b", 2), ("a", 2)] {
            let body = format!(r#"{{"sale":"spring","version":"{version}"}}"#);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(visits.read(answer.as_bytes()).expect("an answer"), Some(AnswerKind::Fine));
            assert_eq!(visits.versions(), known, "{version}");
        }
    }
}
