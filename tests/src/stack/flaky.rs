//! A way to an HTTP server that refuses on demand, as a busy object store does.

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is answered instead of the server.
const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>injected</Message></Error>";
/// How long a connection may be silent before its thread looks whether it should end.
const TICK: Duration = Duration::from_millis(200);
/// How long the rest of a message may take once it has begun.
const WHOLE: Duration = Duration::from_secs(60);

/// A listening port that passes requests on to a server; ends when dropped.
#[derive(Debug)]
pub struct Flaky {
    addr: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    /// Of this many PUT requests one is refused; 0 refuses none.
    every: AtomicU64,
    puts: AtomicU64,
    refused: AtomicU64,
    ending: AtomicBool,
}

impl Flaky {
    /// Listens on a free port of loopback for what `server` is to answer.
    ///
    /// # Errors
    /// No free port.
    pub fn before(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            server,
            every: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        });
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.ending.load(Ordering::Acquire) {
                    break;
                }
                let state = shared.clone();
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || pass_on(stream, &state).is_ok());
            }
        });
        Ok(Self { addr, state, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers one of `every` PUT requests with 503 SlowDown from now on; 0 ends that.
    pub fn refuse_puts(&self, every: u64) {
        self.state.every.store(every, Ordering::Release);
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Acquire)
    }
}

impl Drop for Flaky {
    fn drop(&mut self) {
        self.state.ending.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn refuses(&self, request: &Message) -> bool {
        let every = self.every.load(Ordering::Acquire);
        if every == 0 || request.method() != "PUT" {
            return false;
        }
        let refuses = self.puts.fetch_add(1, Ordering::AcqRel).is_multiple_of(every);
        self.refused.fetch_add(u64::from(refuses), Ordering::AcqRel);
        refuses
    }
}

/// Serves one connection until either side ends it.
fn pass_on(client: TcpStream, state: &State) -> Result<()> {
    let mut from_client = BufReader::new(client);
    let mut from_server = None;
    while is_there(&mut from_client, state)? {
        let request = Message::read(&mut from_client, false)?;
        if state.refuses(&request) {
            let length = SLOW_DOWN.len();
            let head = format!("HTTP/1.1 503 Slow Down\r\nContent-Length: {length}\r\n\r\n");
            from_client.get_mut().write_all(&[head.as_bytes(), SLOW_DOWN.as_bytes()].concat())?;
            continue;
        }
        let server = match &mut from_server {
            Some(server) => server,
            None => {
                let server = TcpStream::connect(state.server)?;
                server.set_read_timeout(Some(WHOLE))?;
                from_server.insert(BufReader::new(server))
            }
        };
        server.get_mut().write_all(&request.bytes)?;
        let answer = Message::read(server, request.method() == "HEAD")?;
        from_client.get_mut().write_all(&answer.bytes)?;
        if answer.is_last {
            break;
        }
    }
    Ok(())
}

/// Waits for the first byte of a request; `false` when the connection or this server ends.
fn is_there(from: &mut BufReader<TcpStream>, state: &State) -> Result<bool> {
    from.get_mut().set_read_timeout(Some(TICK))?;
    loop {
        match from.fill_buf() {
            Ok(bytes) => {
                let is_there = !bytes.is_empty();
                // What has begun comes whole, however slow this machine is.
                from.get_mut().set_read_timeout(Some(WHOLE))?;
                return Ok(is_there);
            }
            Err(error) if is_timeout(&error) => {
                if state.ending.load(Ordering::Acquire) {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// A request or an answer, byte for byte.
struct Message {
    bytes: Vec<u8>,
    /// Whether its sender closes the connection behind it.
    is_last: bool,
}

impl Message {
    /// Reads one whole message; the answer to HEAD has no body, whatever its length says.
    fn read(from: &mut BufReader<TcpStream>, is_bodiless: bool) -> Result<Self> {
        let (mut bytes, mut length) = (Vec::new(), 0);
        let (mut chunked, mut is_last) = (false, false);
        loop {
            let start = bytes.len();
            if from.read_until(b'\n', &mut bytes)? == 0 {
                return Err(Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            let line = String::from_utf8_lossy(&bytes[start..]).to_ascii_lowercase();
            if line.trim_end().is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(Error::other)?;
            }
            is_last |= line.starts_with("connection:") && line.contains("close");
            chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        if is_bodiless {
            return Ok(Self { bytes, is_last });
        }
        read_exactly(from, &mut bytes, length)?;
        while chunked {
            let start = bytes.len();
            from.read_until(b'\n', &mut bytes)?;
            let size = String::from_utf8_lossy(&bytes[start..]).trim().to_owned();
            let size = usize::from_str_radix(&size, 16).map_err(Error::other)?;
            read_exactly(from, &mut bytes, size + 2)?;
            chunked = size > 0;
        }
        Ok(Self { bytes, is_last })
    }

    fn method(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == b' ').unwrap_or_default();
        std::str::from_utf8(&self.bytes[..end]).unwrap_or_default()
    }
}

fn read_exactly(from: &mut impl Read, into: &mut Vec<u8>, length: usize) -> Result<()> {
    let start = into.len();
    into.resize(start + length, 0);
    from.read_exact(&mut into[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;
    use crate::stack::Sink;

    #[test]
    fn one_of_two_puts_is_refused_and_the_rest_arrives_as_it_was_sent() {
        let sink = Sink::listen().expect("a server");
        let addr = sink.url()["http://".len()..].split('/').next().map(str::to_owned);
        let flaky = Flaky::before(addr.expect("an address").parse().expect("one")).expect("a port");
        let post = || http::post(flaky.addr(), "/alerts", "{\"a\":1}").expect("an answer").status;
        assert_eq!(post(), 200);
        flaky.refuse_puts(2);
        assert_eq!(post(), 200, "only PUT is refused");
        let put = |stream: &mut TcpStream| {
            let text = "PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(text.as_bytes()).expect("sent");
            let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
            let answer = Message::read(&mut reader, false).expect("an answer");
            String::from_utf8_lossy(&answer.bytes).split(' ').nth(1).map(str::to_owned)
        };
        let mut stream = TcpStream::connect(flaky.addr()).expect("a connection");
        assert_eq!(put(&mut stream).as_deref(), Some("503"));
        assert_eq!(put(&mut stream).as_deref(), Some("200"), "on the same connection");
        assert_eq!(flaky.refused(), 1);
        assert_eq!(sink.received().len(), 3);
    }
}
