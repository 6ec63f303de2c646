//! Access codes of a sale. The server shows the codes only once, in the response to the request
//! that creates them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::limits::{CODE_USES_MAX, CODES_AT_ONCE_MAX};
use crate::problem::Problem;

/// Access codes to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"count": 100, "uses": 1})))]
pub struct NewCodes {
    /// The number of codes.
    #[schema(minimum = 1, maximum = 10_000)]
    pub count: u32,
    /// How many buyers may use each code.
    #[schema(minimum = 1, maximum = 1_000_000, default = 1, required = false)]
    pub uses: u32,
}

impl NewCodes {
    /// Reads the body of `POST /v1/admin/sales/{sale}/access-codes`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["count", "uses"], |body| {
            let count = body.required("count", read::count(1..=CODES_AT_ONCE_MAX));
            let uses = body.optional("uses", 1, read::count(1..=CODE_USES_MAX));
            Some(Self { count: count?, uses: uses? })
        })
    }
}

/// Created codes. The server shows them only in this response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"codes": ["7K2M-Q0XA-93TN-ZE5H", "0QW4-VV1T-8MNC-2H6R"]})))]
pub struct CreatedCodes {
    /// The codes. The server stores only their hashes, so it cannot show the codes again.
    pub codes: Vec<String>,
}

/// How many access codes a sale has, and how many buyers used them. The codes are not shown,
/// because the server stores only their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"codes": 100, "uses": 100, "spent": 37})))]
pub struct CodeCounts {
    /// The number of created codes.
    pub codes: u64,
    /// How many buyers may use a code, summed over all codes.
    pub uses: u64,
    /// The number of buyers who used a code, summed over all codes.
    pub spent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_codes_and_uses_is_bounded() {
        let read = |body: &str| NewCodes::from_json(body.as_bytes());
        assert_eq!(read(r#"{"count":100}"#), Ok(NewCodes { count: 100, uses: 1 }));
        assert_eq!(
            read(r#"{"count":10000,"uses":1000000}"#),
            Ok(NewCodes { count: 10_000, uses: 1_000_000 })
        );
        for body in [
            r#"{"count":0}"#,
            r#"{"count":10001}"#,
            r#"{"count":1,"uses":0}"#,
            r#"{"uses":1}"#,
            "{}",
        ] {
            assert_eq!(read(body).expect_err(body).status(), 422, "{body}");
        }
    }
}
