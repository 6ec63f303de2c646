//! Every limit of the API, and what the server does with a value beyond the limit.

/// Longest name of a sale, item or buyer, in bytes. A longer value gets `422`.
pub const NAME_MAX: usize = doorbuster_types::NAME_BYTES_MAX;

/// Longest `Idempotency-Key`, in bytes. A longer value gets `422`.
pub const KEY_MAX: usize = doorbuster_types::NAME_BYTES_MAX;

/// The largest number of units in one request. A larger number gets `422`.
pub const UNITS_MAX: u32 = doorbuster_types::UNITS_MAX;

/// The largest counted stock of one item, and the largest adjustment of a stock, in units. A larger
/// number gets `422`.
pub const STOCK_MAX: u32 = 1_000_000_000;

/// The largest number of waiting visitors that an operator can admit with one request. A larger
/// number gets `422`.
pub const ADMISSIONS_MAX: u32 = 5_000;

/// The largest number of slots that an operator may set for one item. A larger number gets `422`.
pub const PARTITIONS_MAX: u32 = 64;

/// Highest price in minor units. A larger number gets `422`.
pub const PRICE_MINOR_MAX: i64 = 1_000_000_000_000;

/// Largest body of a buyer's request, in bytes. A larger body gets `413`.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// Largest body of an operator's request, in bytes. A larger body gets `413`.
pub const ADMIN_BODY_BYTES_MAX: usize = 256 * 1024;

/// The largest number of items in one sale. A larger number gets `422`.
pub const ITEMS_MAX: usize = 100;

/// Longest title, reason or key name, in characters. A longer value gets `422`.
pub const TITLE_CHARS_MAX: usize = 200;

/// Longest description, in characters. A longer value gets `422`.
pub const DESCRIPTION_CHARS_MAX: usize = 4_000;

/// Longest address of an image, in bytes. A longer value gets `422`.
pub const IMAGE_BYTES_MAX: usize = 2_048;

/// The largest number of languages of one text. A larger number gets `422`.
pub const LANGUAGES_MAX: usize = 20;

/// The largest number of further pictures of an item, after its first picture. A larger number gets
/// `422`.
pub const GALLERY_MAX: usize = 12;

/// The largest number of facts about one item. A larger number gets `422`.
pub const ITEM_FACTS_MAX: usize = 40;

/// The highest limit per buyer that an item may have, in units. A larger number gets `422`.
pub const LIMIT_PER_BUYER_MAX: u32 = 1_000_000;

/// The default limit per buyer of a new item.
pub const LIMIT_PER_BUYER_DEFAULT: u32 = 1;

/// Longest payment window, in seconds. A longer value gets `422`.
pub const HOLD_SECS_MAX: u32 = 86_400;

/// The default payment window of a new item, in seconds.
pub const HOLD_SECS_DEFAULT: u32 = 900;

/// Longest extension of an order's payment window, in seconds. A longer value gets `422`.
pub const EXTEND_SECS_MAX: u32 = 30 * 86_400;

/// Longest id that a provider may write for an order or a payment, in characters. A message with a
/// longer id is invalid.
pub const ORDER_TEXT_CHARS_MAX: usize = 200;

/// Largest `burst`, and largest `per_minute`, of a limit at the front door. A larger number gets
/// `422`.
pub const LIMIT_MAX: u32 = 10_000_000;

/// The smallest effort of a proof of work: the number of keys that a device tries on average. A
/// smaller number gets `422`.
pub const POW_EFFORT_MIN: u32 = 100;

/// Largest effort of a proof of work. With this effort, a slow phone needs up to 80 of the 120
/// seconds for which a challenge is valid. A larger number gets `422`.
pub const POW_EFFORT_MAX: u32 = 50_000;

/// The default effort of a proof of work: the number of keys that a device tries on average.
pub const POW_EFFORT_DEFAULT: u32 = 5_000;

/// Longest URL of an endpoint that receives events, in bytes. A longer value gets `422`.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;

/// Longest URL of a push subscription, in bytes. A longer value gets `422`.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2_048;

/// The largest `overlap_secs`: how long a replaced webhook secret still signs messages. A larger
/// number gets `422`.
pub const OVERLAP_SECS_MAX: u32 = 7 * 86_400;

/// The default `overlap_secs` of a replaced webhook secret.
pub const OVERLAP_SECS_DEFAULT: u32 = 86_400;

/// Longest challenge that a client sends back, in characters. A longer value gets `422`.
pub const CHALLENGE_BYTES_MAX: usize = 2_048;

/// Longest answer to a challenge, in characters. A longer value gets `422`.
pub const ANSWER_BYTES_MAX: usize = 8_192;

/// Longest access code as the buyer types it, in characters. A longer value gets `422`.
pub const ACCESS_CODE_CHARS_MAX: usize = 64;

/// The largest number of access codes that one request creates. A larger number gets `422`.
pub const CODES_AT_ONCE_MAX: u32 = 10_000;

/// The largest number of buyers who may use one access code. A larger number gets `422`.
pub const CODE_USES_MAX: u32 = 1_000_000;

/// Longest wait in `Prefer: wait=`, in seconds. A longer wait is ignored.
pub const WAIT_SECS_MAX: u32 = 30;

/// How many seconds a purchase waits for its verdict, if the request does not say how long.
pub const WAIT_SECS_DEFAULT: u32 = 2;

/// The largest `limit` of a list: the number of entries of a page. A larger number gets `422`.
pub const PAGE_MAX: u32 = 200;

/// Longest text in a search for sales, in characters. A longer text gets `422`.
pub const SEARCH_CHARS_MAX: usize = 64;
/// The number of entries of a page if `limit` is absent.
pub const PAGE_DEFAULT: u32 = 50;

/// Longest cursor, in bytes. A longer value gets `422`.
pub const CURSOR_BYTES_MAX: usize = 512;

/// The largest number of faults in one response. If a request has more faults, the last entry of
/// the list says that there are more.
pub const FAULTS_MAX: usize = 256;

/// The largest number of sales that one event stream may follow. A larger number gets `422`.
pub const EVENT_SALES_MAX: usize = 32;

/// The largest number of elements of `Accept`, `Prefer`, `If-Match` or `If-None-Match`. Further
/// elements are ignored.
pub const HEADER_ELEMENTS_MAX: usize = 64;

const _: () = assert!(PRICE_MINOR_MAX <= i64::MAX / UNITS_MAX as i64);
const _: () = assert!(LIMIT_PER_BUYER_MAX <= UNITS_MAX);
const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);
const _: () = assert!(WAIT_SECS_DEFAULT <= WAIT_SECS_MAX);
const _: () = assert!(BODY_BYTES_MAX < ADMIN_BODY_BYTES_MAX);

/// The longest value of a filter in a list of actions, in bytes. A longer value gets `422`.
pub const ACTION_FILTER_BYTES_MAX: usize = 128;
/// The possible step lengths of a sale's time series, in seconds.
pub const SERIES_STEPS: [u32; 3] = [1, 10, 60];
/// The largest number of steps of a sale's time series in one response. A request for more steps
/// gets `422`.
pub const SERIES_STEPS_MAX: u32 = 3_600;
