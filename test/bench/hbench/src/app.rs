//! A plain TCP application, for what stands in front of applications (a ztunnel's inbound side):
//! HTTP/1.1 GET, or on port 9000 a byte stream: 8-byte big-endian N -> N bytes.
use crate::h2::FILLER;
use crate::sink::{find_head_end, num};
use crate::util::Args;
use mio::{net::TcpStream, Events, Interest, Poll, Token};
use rustc_hash::FxHashMap;
use std::io::{ErrorKind, Read, Write};

struct Client {
    sock: TcpStream,
    bytes: bool,
    buf: Vec<u8>,
    out: Vec<u8>,
    filler: u64,
    ended: bool,
}

impl Client {
    fn take(&mut self) {
        loop {
            if self.bytes {
                if self.buf.len() < 8 {
                    return;
                }
                self.filler += u64::from_be_bytes(self.buf[..8].try_into().unwrap());
                self.buf.drain(..8);
            } else {
                let Some(e) = find_head_end(&self.buf) else { return };
                let size = self.buf[..e].windows(5).position(|w| w == b"size=").map(|p| num(self.buf[p + 5..].split(|&c| c == b' ' || c == b'&').next().unwrap())).unwrap_or(13);
                self.buf.drain(..e);
                let _ = write!(self.out, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-backend: app\r\ncontent-length: {size}\r\n\r\n");
                self.filler += size as u64;
                return;
            }
        }
    }
    /// False when the connection is done with.
    fn flush(&mut self) -> bool {
        loop {
            if self.out.is_empty() {
                if self.filler == 0 {
                    return !self.ended;
                }
                let n = self.filler.min(FILLER.len() as u64) as usize;
                match self.sock.write(&FILLER[..n]) {
                    Ok(n) => self.filler -= n as u64,
                    Err(e) => return e.kind() == ErrorKind::WouldBlock,
                }
            } else {
                match self.sock.write(&self.out) {
                    Ok(n) => {
                        self.out.drain(..n);
                    }
                    Err(e) => return e.kind() == ErrorKind::WouldBlock,
                }
            }
        }
    }
}

pub fn run(a: Args) {
    let mut poll = Poll::new().unwrap();
    let mut ev = Events::with_capacity(1024);
    let mut listeners = vec![];
    for (i, addr) in a.s("listen", "127.0.0.4:8080,127.0.0.4:9000").split(',').enumerate() {
        let addr: std::net::SocketAddr = addr.parse().unwrap();
        let mut l = mio::net::TcpListener::bind(addr).unwrap_or_else(|e| panic!("{addr}: {e}"));
        poll.registry().register(&mut l, Token(i), Interest::READABLE).unwrap();
        listeners.push((addr.port() == 9000, l));
    }
    let mut clients: FxHashMap<usize, Client> = FxHashMap::default();
    let mut next = 100usize;
    let mut scratch = vec![0u8; 1 << 18];
    println!("app ready pid {}", std::process::id());
    loop {
        if let Err(e) = poll.poll(&mut ev, None) {
            if e.kind() == ErrorKind::Interrupted {
                continue;
            }
            panic!("{e}");
        }
        for e in ev.iter() {
            let t = e.token().0;
            if t < listeners.len() {
                while let Ok((mut sock, _)) = listeners[t].1.accept() {
                    let _ = sock.set_nodelay(true);
                    poll.registry().register(&mut sock, Token(next), Interest::READABLE | Interest::WRITABLE).unwrap();
                    clients.insert(next, Client { sock, bytes: listeners[t].0, buf: vec![], out: vec![], filler: 0, ended: false });
                    next += 1;
                }
                continue;
            }
            let Some(c) = clients.get_mut(&t) else { continue };
            let mut alive = true;
            if e.is_readable() || e.is_read_closed() {
                loop {
                    match c.sock.read(&mut scratch) {
                        Ok(0) => {
                            c.ended = true;
                            break;
                        }
                        Ok(n) => {
                            c.buf.extend_from_slice(&scratch[..n]);
                            c.take();
                        }
                        Err(e) => {
                            alive = e.kind() == ErrorKind::WouldBlock;
                            break;
                        }
                    }
                }
            }
            if !alive || !c.flush() {
                clients.remove(&t);
            }
        }
    }
}
