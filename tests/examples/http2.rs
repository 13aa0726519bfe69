//! Just enough HTTP/2 to send requests that no proper client would: frames and header fields as
//! they are given.
//!
//! A connection is opened with prior knowledge (RFC 9113, 3.3). On it goes the request in question,
//! and then a plain one, whose answer shows that the connection survived the first.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The name and the value of a header field, sent as they are.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// The answer on a stream.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Whether `:status` was 200. Other statuses are encoded in more than one way.
    pub(crate) ok: bool,
    pub(crate) body: Vec<u8>,
    ended: bool,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` in the static table (RFC 7541, appendix A), as servers encode it.
const STATUS_200: u8 = 0x88;

/// The bytes of a connection with one request on stream 1 and a plain `GET last` on stream 3.
pub(crate) fn connection(fields: &[Field<'_>], body: Option<&[u8]>, last: &[u8]) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(SETTINGS, 0, 0, &[]));
    out.extend(request(1, fields, body));
    let plain: [Field<'_>; 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", last),
    ];
    out.extend(request(3, &plain, None));
    out
}

/// Sends the bytes, and reads until both streams have ended or the server hangs up.
pub(crate) async fn exchange(addr: SocketAddr, connection: &[u8]) -> [Answer; 2] {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // The server may hang up before it has read everything.
    let _ = socket.write_all(connection).await;
    let mut answers = [Answer::default(), Answer::default()];
    while !answers.iter().all(|answer| answer.ended) {
        let Some((kind, flags, stream, payload)) = next_frame(&mut socket).await else {
            break;
        };
        let answer = match stream {
            1 => &mut answers[0],
            3 => &mut answers[1],
            _ => continue,
        };
        match kind {
            HEADERS => answer.ok = payload.first() == Some(&STATUS_200),
            DATA => answer.body.extend(payload),
            RST_STREAM => answer.ended = true,
            _ => {}
        }
        answer.ended |= matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
    }
    answers
}

async fn next_frame(socket: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    socket.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(stream), payload))
}

fn request(stream: u32, fields: &[Field<'_>], body: Option<&[u8]>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal without indexing, with a new name (RFC 7541, 6.2.2).
        block.push(0);
        string(name, &mut block);
        string(value, &mut block);
    }
    let mut out = Vec::new();
    let frames = block.chunks(16_384); // what a server takes at least
    let last = frames.len() - 1;
    for (number, part) in frames.enumerate() {
        let (kind, end_stream) = match (number, body) {
            (0, None) => (HEADERS, END_STREAM),
            (0, Some(_)) => (HEADERS, 0),
            _ => (CONTINUATION, 0),
        };
        let end_headers = if number == last { END_HEADERS } else { 0 };
        out.extend(frame(kind, end_stream | end_headers, stream, part));
    }
    if let Some(body) = body {
        out.extend(frame(DATA, END_STREAM, stream, body));
    }
    out
}

/// A string without Huffman coding: its length with a 7-bit prefix, then its bytes (RFC 7541, 5.1
/// and 5.2).
fn string(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(rest as u8);
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend(text);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}
