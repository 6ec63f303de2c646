//! Counts requests by route and status, in a table of atomic counters. The routes and statuses are
//! fixed, so the table never grows.

use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::endpoints;

/// The route of a request. The server stores the route in the extensions of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteIndex(pub u8);

/// Routes that are not endpoints of the API.
pub const ROUTES_OTHER: [&str; 6] =
    ["unmatched", "page", "asset", "docs_asset", "guest", "sandbox"];

/// Statuses with their own counter. The last counter is for all other statuses.
const STATUSES: [u16; 22] = [
    101, 200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 429, 431,
    500, 503, 0,
];

const ROUTES_MAX: usize = 128;

/// Returns the name of every route, by index.
pub fn routes() -> impl Iterator<Item = &'static str> {
    ROUTES_OTHER.into_iter().chain(endpoints::all().map(|endpoint| endpoint.id))
}

/// Returns the index of the route `name`, or the index of `unmatched`.
#[must_use]
pub fn route_index(name: &str) -> RouteIndex {
    RouteIndex(
        routes()
            .position(|route| route == name)
            .and_then(|index| u8::try_from(index).ok())
            .unwrap_or(0),
    )
}

/// Returns the name of a route.
#[must_use]
pub fn route_name(index: RouteIndex) -> &'static str {
    routes().nth(usize::from(index.0)).unwrap_or(ROUTES_OTHER[0])
}

/// Requests by route and status.
#[derive(Debug)]
pub struct Requests(Box<[[AtomicU64; STATUSES.len()]; ROUTES_MAX]>);

impl Default for Requests {
    fn default() -> Self {
        Self(Box::new([const { [const { AtomicU64::new(0) }; STATUSES.len()] }; ROUTES_MAX]))
    }
}

impl Requests {
    /// Counts one answer.
    pub fn count(&self, route: RouteIndex, status: u16) {
        let column =
            STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        self.0[usize::from(route.0) % ROUTES_MAX][column].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns each route and status whose count is not zero, with this count.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        routes().zip(self.0.iter()).flat_map(|(route, row)| {
            let cells = STATUSES
                .iter()
                .zip(row)
                .map(move |(status, count)| (route, *status, count.load(Ordering::Relaxed)));
            cells.filter(|(_, _, count)| *count > 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_own_counter() {
        let names: Vec<_> = routes().collect();
        assert!(names.len() <= ROUTES_MAX, "raise ROUTES_MAX");
        for (index, name) in names.iter().enumerate() {
            assert_eq!(
                usize::from(route_index(name).0),
                index,
                "{name} does not have its own index"
            );
        }
        assert_eq!(route_name(route_index("no such route")), "unmatched");
    }

    #[test]
    fn answers_are_counted_by_route_and_status() {
        let requests = Requests::default();
        requests.count(route_index("purchase"), 409);
        requests.count(route_index("purchase"), 409);
        requests.count(route_index("purchase"), 418);
        let seen: Vec<_> = requests.read().collect();
        assert_eq!(seen, [("purchase", 409, 2), ("purchase", 0, 1)]);
    }
}
