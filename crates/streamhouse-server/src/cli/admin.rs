//! What asks a server's admin port.
//!
//! One GET of a small page needs no HTTP library: HTTP/1.0 has neither chunks nor connections
//! that stay open.

use super::client::reachable;
use super::format::positive_duration;
use super::output::{Failure, OutputFlag};
use super::{Environment, server};
use crate::config::Secret;
use clap::Args;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// Where the admin port is.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminFlags {
    /// Address of the server's admin port [default: the configured admin.addr]; a token is taken
    /// from the configuration (admin.token)
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// How long a call may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    timeout: Duration,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

/// An admin port.
#[derive(Debug)]
pub(super) struct AdminPort {
    addr: SocketAddr,
    token: Option<Secret>,
    timeout: Duration,
}

/// Status and JSON of an answer.
pub(super) type Answer = (u16, Value);

impl AdminFlags {
    pub(super) fn port(&self, environment: &Environment) -> Result<AdminPort, Failure> {
        let flag = |addr: &String| ("--admin".to_owned(), "admin.addr".to_owned(), addr.clone());
        let flags = self.admin.iter().map(flag).collect();
        let config = server::load(environment, None, flags)?.config.admin;
        let addr = reachable(config.addr);
        Ok(AdminPort { addr, token: config.token, timeout: self.timeout })
    }
}

impl AdminPort {
    /// Asks for a page.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let addr = self.addr;
        let failed = |why: String| {
            let fix = "check that the server runs, and --admin";
            Failure::Failed(format!("cannot reach the admin port {addr}: {why}; {fix}"))
        };
        let raw = match tokio::time::timeout(self.timeout, self.exchange(path)).await {
            Ok(Ok(raw)) => raw,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no answer within {:?}", self.timeout))),
        };
        let (status, body) = parse(&raw).ok_or_else(|| {
            Failure::Failed(format!("what {addr} answers is no HTTP; check --admin"))
        })?;
        if status == 401 {
            let fix = "set STREAMHOUSE_ADMIN_TOKEN or admin.token";
            return Err(Failure::Failed(format!("the admin port {addr} wants its token; {fix}")));
        }
        let page = serde_json::from_slice(body).map_err(|_| {
            let fix = "check that --admin is the admin port of a server of this version";
            Failure::Failed(format!("{addr} answered {status} to {path}, without JSON; {fix}"))
        })?;
        Ok((status, page))
    }

    async fn exchange(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.addr).await?;
        let mut request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n", self.addr);
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {}\r\n", token.reveal()));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut raw = Vec::new();
        stream.take(MAX_ANSWER + 1).read_to_end(&mut raw).await?;
        if raw.len() as u64 > MAX_ANSWER {
            return Err(std::io::Error::other("the answer is longer than 64 MiB"));
        }
        Ok(raw)
    }
}

/// Status and body of an answer.
fn parse(raw: &[u8]) -> Option<(u16, &[u8])> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&raw[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, &raw[end + 4..]))
}

/// A name as a part of a path.
pub(super) fn encode(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(byte.into());
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_body_or_nothing() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\na: b\r\n\r\n{}"), Some((200, &b"{}"[..])));
        assert_eq!(parse(b"HTTP/1.0 404 Not Found\r\n\r\n"), Some((404, &b""[..])));
        for wrong in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1\r\n\r\n"] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(encode("billing-1.a_b"), "billing-1.a_b");
        assert_eq!(encode("a/b c\r\nä"), "a%2Fb%20c%0D%0A%C3%A4");
    }
}
