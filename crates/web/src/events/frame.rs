//! Writes and recognises the few WebSocket frames of idle connections. A library handles the frames
//! of active connections.

pub(super) const PING: [u8; 2] = [0x89, 0];
/// The length of a client's pong without content: a head of two bytes, and a mask.
pub(super) const PONG_BYTES: usize = 6;
/// The first two bytes of a client's pong without content.
const PONG: [u8; 2] = [0x8a, 0x80];
/// The first byte of a frame that contains a whole text message.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

fn is_pong(frame: &[u8]) -> bool {
    frame.len() == PONG_BYTES && frame.starts_with(&PONG)
}

/// Returns whether the bytes are one or more whole pongs without content, and nothing else.
pub(super) fn are_pongs(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.chunks(PONG_BYTES).all(is_pong)
}

/// Returns whether the bytes contain a close frame, at the start or after whole frames.
pub(super) fn is_close_frame(mut bytes: &[u8]) -> bool {
    loop {
        let held = match *bytes {
            [CLOSE, ..] => return true,
            // The bit 0x80 of the second byte says that the frame has a mask. This bit is set in
            // every frame of a client.
            [_, 0xfe, high, low, ..] => 2 + usize::from(u16::from_be_bytes([high, low])),
            // The server does not accept frames whose length needs more than two bytes.
            [_, 0xff, ..] => return false,
            [_, length, ..] => usize::from(length & 0x7f),
            _ => return false,
        };
        bytes = bytes.get(PONG_BYTES + held..).unwrap_or_default();
    }
}

pub(super) fn write_text_frame(text: &str, frame: &mut Vec<u8>) {
    write_frame(TEXT, text.as_bytes(), frame);
}

pub(super) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat(), &mut frame);
    frame
}

fn write_frame(kind: u8, held: &[u8], frame: &mut Vec<u8>) {
    frame.push(kind);
    let length = held.len() as u64;
    let bytes = length.to_be_bytes();
    match length {
        0..=125 => frame.extend(&bytes[7..]),
        126..=65_535 => {
            frame.push(126);
            frame.extend(&bytes[6..]);
        }
        _ => {
            frame.push(127);
            frame.extend(&bytes);
        }
    }
    frame.extend_from_slice(held);
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

    use super::*;

    #[test]
    fn frames_equal_those_of_the_library() {
        for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let text = "x".repeat(bytes);
            let mut theirs = Vec::new();
            let frame = Frame::message(text.clone(), OpCode::Data(Data::Text), true);
            frame.format(&mut theirs).expect("writing to memory succeeds");
            let mut ours = vec![7];
            write_text_frame(&text, &mut ours);
            assert_eq!(ours[1..], theirs, "{bytes} bytes");
        }
        let mut theirs = Vec::new();
        Frame::ping(Vec::new()).format(&mut theirs).expect("writing to memory succeeds");
        assert_eq!(theirs, PING);
        let mut theirs = Vec::new();
        let close = CloseFrame { code: 1001_u16.into(), reason: "the server is stopping".into() };
        Frame::close(Some(close)).format(&mut theirs).expect("writing to memory succeeds");
        assert_eq!(close_frame(1001, "the server is stopping"), theirs);
    }

    #[test]
    fn a_close_frame_is_found_first_or_after_other_frames() {
        let pong = [0x8a_u8, 0x80, 1, 2, 3, 4];
        let empty = [0x88_u8, 0x80, 1, 2, 3, 4];
        let long = [&[0x88_u8, 0xfd, 1, 2, 3, 4][..], &[7; 125]].concat();
        for close in [&empty[..], &long[..]] {
            for pongs in [0, 1, 7] {
                let said = [&pong.repeat(pongs)[..], close].concat();
                assert!(is_close_frame(&said), "{said:?}");
                // A close frame is recognised by its first byte, even if its other bytes have not
                // arrived.
                assert!(is_close_frame(&said[..6 * pongs + 1]), "{said:?}");
            }
        }
        let ping = [0x89, 0x82, 1, 2, 3, 4, 0x88, 0x88];
        let text = [&[0x81, 0xfe, 0, 200, 1, 2, 3, 4][..], &[0x88; 200]].concat();
        for first in [&ping[..], &text[..]] {
            assert!(
                !is_close_frame(first) && is_close_frame(&[first, &empty[..]].concat()),
                "{first:?}"
            );
        }
        let others: [&[u8]; 5] = [
            &[],
            &pong.repeat(3),
            &pong[..3],
            &text[..9],
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0x88, 0x88],
        ];
        for other in others {
            assert!(!is_close_frame(other), "{other:?}");
        }
    }

    #[test]
    fn only_whole_pongs_without_content_are_pongs() {
        let pong = [0x8a_u8, 0x80, 1, 2, 3, 4];
        assert!(are_pongs(&pong) && are_pongs(&pong.repeat(10)));
        let others: [&[u8]; 7] = [
            &[],
            &pong[..5],
            &[&pong[..], &pong[..1]].concat(),
            &[0x8a, 0x81, 1, 2, 3, 4, 5],
            &[0x89, 0x80, 1, 2, 3, 4],
            &[0x88, 0x80, 1, 2, 3, 4],
            &[&pong[..], &[0x89, 0x80, 1, 2, 3, 4]].concat(),
        ];
        for other in others {
            assert!(!are_pongs(other), "{other:?}");
        }
    }
}
