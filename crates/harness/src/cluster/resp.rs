//! Sends one command to a Redis server and reads its reply. Supports only the kinds of replies that
//! the harness's commands cause.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::error::{ClusterError, ClusterErrorContext};
use super::limits::{ANSWER_WITHIN, CONNECT_WITHIN};

/// The largest size of a reply, in bytes. A longer reply is an error.
const BULK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sends the command and returns the reply as text. If the reply is a list, each entry is one line.
pub(super) fn run_command(addr: SocketAddr, words: &[&str]) -> Result<String, ClusterError> {
    let what = || format!("sending {} to Redis at {addr}", words.join(" "));
    let stream = TcpStream::connect_timeout(&addr, CONNECT_WITHIN).with_operation(what)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).with_operation(what)?;
    let mut connection = BufReader::new(stream);
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    connection.get_mut().write_all(&bytes).with_operation(what)?;
    read(&mut connection).with_operation(what)
}

fn read(connection: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut line = String::new();
    connection.read_line(&mut line).map_err(|error| error.to_string())?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or("the server closed the connection")?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return Ok(String::new()) };
            if length > BULK_BYTES_MAX {
                return Err(format!("the answer has {length} bytes, which is too long"));
            }
            let mut bytes = vec![0; length + 2];
            connection.read_exact(&mut bytes).map_err(|error| error.to_string())?;
            bytes.truncate(length);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" => {
            let length: usize = rest.parse().unwrap_or(0);
            let entries: Result<Vec<String>, String> =
                (0..length).map(|_| read(connection)).collect();
            Ok(entries?.join("\n"))
        }
        _ => Err(rest.to_owned()),
    }
}
