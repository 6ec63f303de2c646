//! Pages of lists.

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in the order of the list.
    pub rows: Vec<T>,
    /// The position after which the next page begins. `None` if this is the last page.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// Makes a page from at most `limit + 1` rows. The additional row means that there is a next
    /// page. `at` returns the position of a row.
    pub(crate) fn of(mut rows: Vec<T>, limit: usize, at: impl Fn(&T) -> i64) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(at);
        Self { rows, next }
    }

    pub(crate) fn of_pairs(rows: Vec<(T, i64)>, limit: usize) -> Self {
        let Page { rows, next } = Page::of(rows, limit, |(_, at)| *at);
        Self { rows: rows.into_iter().map(|(row, _)| row).collect(), next }
    }
}
