//! Compresses files, and chooses the coding that a client accepts.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Quality 9 of 11 takes about 20 ms for a page's file. Quality 11 takes ten times as long and
/// saves only 3 %. A debug build needs ten times as long for the same quality, so it uses a lower
/// quality.
const BROTLI_QUALITY: i32 = if cfg!(debug_assertions) { 5 } else { 9 };

/// The codings, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    pub(super) const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// Compresses the bytes. Returns `None` if the result is not smaller.
    pub(super) fn pack(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let packed = match self {
            Self::Brotli => {
                let mut packed = Vec::new();
                let quality = BrotliEncoderParams { quality: BROTLI_QUALITY, ..Default::default() };
                brotli::BrotliCompress(&mut &*bytes, &mut packed, &quality).map(|_| packed)
            }
            Self::Gzip => {
                let mut packer = GzEncoder::new(Vec::new(), Compression::default());
                packer.write_all(bytes).and_then(|()| packer.finish())
            }
        };
        packed.ok().filter(|packed| packed.len() < bytes.len())
    }
}

pub(super) fn accepted(headers: &HeaderMap) -> Option<Coding> {
    Coding::ALL.into_iter().find(|coding| accepts(headers, coding.name()))
}

fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|element| {
        let (coding, weight) = element.split_once(';').unwrap_or((element, "q=1"));
        let refused = weight
            .trim()
            .strip_prefix("q=0")
            .is_some_and(|rest| rest.trim_matches(['.', '0']).is_empty());
        coding.trim().eq_ignore_ascii_case(wanted) && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_client_gets_the_best_coding_that_it_accepts() {
        let check = |value: &'static str, expected: Option<Coding>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepted(&headers), expected, "{value}");
        };
        check("gzip, deflate, br", Some(Coding::Brotli));
        check("br;q=0, GZIP;q=0.5", Some(Coding::Gzip));
        check("gzip", Some(Coding::Gzip));
        check("gzip;q=0", None);
        check("gzip; q=0.000", None);
        check("identity", None);
        check("", None);
    }

    #[test]
    fn each_coding_shrinks_a_long_text_and_refuses_to_grow_a_short_text() {
        let long = "a line of a page\n".repeat(200);
        for coding in Coding::ALL {
            let packed = coding.pack(long.as_bytes()).expect("a repetitive text must shrink");
            assert!(packed.len() < 200, "{coding:?}: {}", packed.len());
            assert_eq!(coding.pack(b"x"), None);
        }
        let mut plain = Vec::new();
        let packed = Coding::Brotli.pack(long.as_bytes()).expect("a repetitive text must shrink");
        brotli::BrotliDecompress(&mut &*packed, &mut plain).expect("the text must decompress");
        assert_eq!(plain, long.as_bytes());
    }
}
