//! GET and POST over plain HTTP, as small as the tests need them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer: status, headers as they came, body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All header lines.
    pub head: String,
    /// The body as text.
    pub body: String,
}

/// Sends `GET path` with extra header lines.
///
/// # Errors
/// Any error of the connection, and an answer that is not HTTP.
pub fn get_with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
    send(addr, &format!("GET {path}"), headers, b"")
}

/// Sends `POST path` with a body of JSON.
///
/// # Errors
/// As [`get_with`].
pub fn post(addr: SocketAddr, path: &str, json: &str) -> std::io::Result<Answer> {
    let length = json.len().to_string();
    let headers = [("Content-Type", "application/json"), ("Content-Length", &length)];
    send(addr, &format!("POST {path}"), &headers, json.as_bytes())
}

fn send(
    addr: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = format!("{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (key, value) in headers {
        request.push_str(&format!("{key}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    stream.write_all(body)?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    parse(&raw).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// Sends `GET path`.
///
/// # Errors
/// As [`get_with`].
pub fn get(addr: SocketAddr, path: &str) -> std::io::Result<Answer> {
    get_with(addr, path, &[])
}

/// Escapes what may stand in the value of a query.
pub fn encode(value: &str) -> String {
    let mut done = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            done.push(char::from(byte));
        } else {
            done.push_str(&format!("%{byte:02X}"));
        }
    }
    done
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let border = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..border]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &raw[border + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_vec() };
    Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&raw[..end]).ok();
        let size = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
        let data = end + 2;
        if size == 0 || raw.len() < data + size + 2 {
            break;
        }
        body.extend_from_slice(&raw[data..data + size]);
        raw = &raw[data + size + 2..];
    }
    body
}
